#!/bin/sh
# Makes .venv from Python 3.11 with the packages of requirements.installed.txt and requirements.dev.txt.
#
#     make setup [PYTHON=/path/to/python3.11] [TORCH_INDEX=<PyTorch's own CPU index>]
#
#     .venv is as the lists say                        -> nothing to do: no network, well under a second
#     .venv was left unfinished, or is of other lists  -> made anew, for pip removes nothing that a list lost
#     .venv was made by hand (no stamp)                -> kept, and given what it lacks
#
# POSIX sh: it has to run before there is anything else to rely on.
set -eu
cd "$(dirname "$0")/.."

readonly lists="requirements.installed.txt requirements.dev.txt"
readonly stamp=.venv/set-up  # line 1: fingerprint of what is installed; line 2: TORCH_INDEX it came from

die() {
    printf '\nsetup: %s\n' "$*" >&2
    exit 1
}

# Every file that might be a Python 3.11, best first.
candidates() {
    if [ -n "${PYTHON:-}" ]; then
        echo "$PYTHON"
        return
    fi
    for name in python3.11 python3 python; do
        echo "$PATH" | tr ':' '\n' | sed "s|\$|/$name|"
    done
    # pyenv's, when switched off by `pyenv global`
    for python in "${PYENV_ROOT:-${HOME:-}/.pyenv}"/versions/3.11.*/bin/python3.11; do echo "$python"; done
}

# "3.11", if $1 runs and can import the modules $2. A file of that name is not enough: pyenv leaves one on the
# PATH (a shim) for versions that are switched off, and it only fails.
version_of() {
    "$1" -c "import sys, $2; print('%d.%d' % sys.version_info[:2])" 2>/dev/null </dev/null || true
}

# The first Python 3.11 that can import the modules $1; nothing if there is none.
find_python() {
    candidates | while IFS= read -r python; do
        if [ "$(version_of "$python" "$1")" = 3.11 ]; then
            echo "$python"
            break
        fi
    done
}

explain_missing_python() {
    if [ -n "${PYTHON:-}" ] && [ -z "$(find_python sys)" ]; then
        found=$(version_of "$PYTHON" sys)
        if [ -n "$found" ]; then found="is Python $found"; else found="does not run"; fi
        die "PYTHON=$PYTHON $found. Python 3.11 is needed."
    fi
    bare=$(find_python sys)
    if [ -n "$bare" ]; then
        die "$bare is Python 3.11, but cannot make virtual environments (no venv or ensurepip).
  Debian, Ubuntu:  apt-get install python3.11-venv
Then run make setup again."
    fi
    die "Python 3.11 is needed (LAVIS and its stack run on no later one) and was not found.
  Debian 12:       apt-get install python3.11 python3.11-venv
  Ubuntu:          add-apt-repository ppa:deadsnakes/ppa && apt-get install python3.11 python3.11-venv
  macOS:           brew install python@3.11
  any, with pyenv: pyenv install 3.11
Then run make setup again. If it is somewhere else: make setup PYTHON=/path/to/python3.11"
}

fingerprint() {
    { .venv/bin/python -V && echo "$torch_index" && cat $lists; } |
        .venv/bin/python -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())'
}

write_stamp() {
    printf '%s\n%s\n' "$1" "$torch_index" >"$stamp.new" && mv "$stamp.new" "$stamp"
}

make_venv() {
    python=$(find_python 'ensurepip, venv')
    [ -n "$python" ] || explain_missing_python
    echo "setup: making .venv with $python"
    rm -rf .venv
    mkdir .venv
    write_stamp unfinished  # first of all, so that it stands there whatever interrupts
    "$python" -m venv .venv
}

pip() {
    .venv/bin/python -m pip --disable-pip-version-check --no-input "$@"
}

# The lines of the packages $1 (a|b|c), as the list pins them.
pinned() {
    grep -E "^($1)==" requirements.installed.txt
}

has_nvidia_device() {
    ls /dev/nvidia[0-9]* >/dev/null 2>&1 || [ -e /proc/driver/nvidia/version ] || nvidia-smi -L >/dev/null 2>&1
}

# Whether pip, as it is set up here, takes a CPU build of torch by itself. It prefers a local version (2.13.0+cpu)
# to the plain one. Reads only the lists of files; if this pip lacks the command, the note is shown for nothing.
finds_cpu_torch() {
    cpu_version=$(pinned torch | sed 's/.*==//')+cpu
    pip index versions torch --timeout 10 --retries 1 2>/dev/null | tr ', ' '\n\n' | grep -qxF "$cpu_version"
}

# Sizes: the wheels nvidia-*, cuda-* and triton that `pip install torch==2.13.0` takes on Linux, packed and unpacked.
warn_of_cuda_packages() {
    if [ -n "$torch_index" ] || [ "$(uname -s)" != Linux ] || has_nvidia_device || finds_cpu_torch; then return; fi
    cat <<'NOTE'
setup: there is no NVIDIA device here, and the usual build of torch brings its CUDA packages along: 2.2 GB to
       download, 3.6 GB on disk. It works all the same. To do without them, stop this (Ctrl-C) and run
           make setup TORCH_INDEX=<PyTorch's own CPU index>
       (its address: pytorch.org/get-started, choose Linux, Pip, CPU; it follows --index-url)
NOTE
}

install_packages() {
    quiet=-qq  # errors only: the names of 90 packages help nobody in a log; a person sees the downloads move
    if [ -t 1 ]; then quiet=; fi
    if [ -n "$torch_index" ]; then
        echo "setup: installing torch and torchvision from TORCH_INDEX" &&
            pip install $quiet --no-deps --index-url "$torch_index" $(pinned 'torch|torchvision') || return
    fi
    # LAVIS's declared dependencies cannot be met together, and fairscale's build would fetch another torch.
    without_dependencies='salesforce-lavis|fairscale'
    grep -vE "^($without_dependencies)==" requirements.installed.txt >.venv/with-dependencies.txt || return
    echo "setup: installing the packages (some minutes the first time)"
    pip install $quiet -r .venv/with-dependencies.txt -r requirements.dev.txt &&
        pip install $quiet --no-deps --no-build-isolation $(pinned "$without_dependencies")
}

# Without TORCH_INDEX: the one of last time, so that `make setup TORCH_INDEX=…` holds for `make test` after it.
torch_index=${TORCH_INDEX:-$(sed -n 2p "$stamp" 2>/dev/null || true)}

if [ "$(version_of .venv/bin/python pip)" != 3.11 ]; then
    make_venv
elif [ -e "$stamp" ]; then
    [ "$(head -n 1 "$stamp")" != "$(fingerprint)" ] || exit 0
    echo "setup: .venv is unfinished, or of other lists or another TORCH_INDEX"
    make_venv
fi
warn_of_cuda_packages
install_packages || die "pip failed; what it says is above. make setup begins again, with what is downloaded.
The pinned packages are made for Linux on x86-64; this is $(uname -s) on $(uname -m)."
write_stamp "$(fingerprint)"
echo "setup: .venv is ready"
