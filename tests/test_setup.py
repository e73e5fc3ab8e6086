"""The lists of packages against the environment, and scripts/setup.sh run for real on small packages."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from functools import partial
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PYTHON = Path(sys.base_prefix) / "bin" / "python3.11"  # what the environment of these tests was made from
# pip comes with Python; the others come with a CUDA build of torch and differ from build to build.
NOT_LISTED = re.compile(r"pip$|nvidia-|cuda-|(pytorch-)?triton$")
WITHOUT_DEPENDENCIES = {"salesforce-lavis", "fairscale"}  # as scripts/setup.sh installs them


def pins(file: str) -> dict[str, str]:
    """Normalised name -> version, in the order of the list. Each line is `name==version` or a comment."""
    lines = [line.split("#")[0].strip() for line in (ROOT / file).read_text(encoding="utf-8").splitlines()]
    matches = [(line, re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][0-9a-z.]*)", line)) for line in lines if line]
    assert [line for line, match in matches if not match] == []
    return {canonicalize_name(match[1]): match[2] for _, match in matches if match}


def installed() -> dict[str, str]:
    """Normalised name -> version without its local part (2.13.0+cpu is 2.13.0), of what is listed."""
    found = {canonicalize_name(d.metadata["Name"]): d.version.split("+")[0] for d in metadata.distributions()}
    return {name: version for name, version in found.items() if not NOT_LISTED.match(name)}


def test_the_environment_is_what_the_lists_say() -> None:
    assert installed() == pins("requirements.installed.txt") | pins("requirements.dev.txt")


def test_every_choice_is_in_the_tested_list() -> None:
    assert pins("requirements.txt").items() <= pins("requirements.installed.txt").items()


def test_the_packages_for_traces_are_those_that_the_tests_have() -> None:
    assert pins("requirements.tracing.txt").items() <= pins("requirements.dev.txt").items()


@pytest.mark.parametrize("which", ["installed", "dev", "tracing"])
def test_a_tested_list_is_sorted(which: str) -> None:
    listed = list(pins(f"requirements.{which}.txt"))
    assert listed == sorted(listed)


def test_no_package_is_listed_twice() -> None:
    assert pins("requirements.installed.txt").keys() & pins("requirements.dev.txt").keys() == set()


def test_every_listed_package_is_chosen_or_needed_by_one_that_is() -> None:
    needed, waiting = set[str](), list(pins("requirements.txt"))
    while waiting:
        name = waiting.pop()
        if name in needed or NOT_LISTED.match(name):
            continue
        needed.add(name)
        if name in WITHOUT_DEPENDENCIES:
            continue
        requirements = [Requirement(text) for text in metadata.requires(name) or []]
        applying = [r for r in requirements if not r.marker or r.marker.evaluate({"extra": ""})]
        waiting += [canonicalize_name(requirement.name) for requirement in applying]
    assert needed == pins("requirements.installed.txt").keys()


# --- scripts/setup.sh ---


def publish(index: Path, name: str, version: str, *requires: str) -> None:
    """Put a wheel of one empty module into a package index of files at `index`."""
    folder = index / name
    folder.mkdir(parents=True, exist_ok=True)
    module = name.replace("-", "_")
    stem = f"{module}-{version}"
    facts = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {needed}" for needed in requires), ""]
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{module}.py", "")
        wheel.writestr(f"{stem}.dist-info/METADATA", "\n".join(["Metadata-Version: 2.1", *facts]))
        wheel.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{stem}.dist-info/RECORD", "")
    links = "".join(f'<a href="{wheel.name}">{wheel.name}</a>\n' for wheel in folder.glob("*.whl"))
    (folder / "index.html").write_text(links, encoding="utf-8")


class Checkout:
    """A small project with the real set-up script, and the indexes that pip finds for it."""

    def __init__(self, root: Path) -> None:
        self.root = root / "project"
        self.usual_index, self.cpu_index = root / "usual", root / "cpu"
        (self.root / "scripts").mkdir(parents=True)
        shutil.copy(ROOT / "scripts" / "setup.sh", self.root / "scripts")
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(root),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": self.usual_index.as_uri(),
            "PYTHON": str(PYTHON),
        }
        publish(self.usual_index, "torch", "2.13.0", "nvidia-cuda==1.0")
        publish(self.usual_index, "nvidia-cuda", "1.0")
        publish(self.usual_index, "torchvision", "0.28.0", "torch==2.13.0")
        publish(self.usual_index, "fairscale", "0.4.4", "torch==1.0")
        publish(self.usual_index, "salesforce-lavis", "1.0.2", "nowhere-to-be-found==1.0")
        publish(self.usual_index, "checker", "1.0")
        publish(self.cpu_index, "torch", "2.13.0+cpu")
        publish(self.cpu_index, "torchvision", "0.28.0+cpu", "torch==2.13.0")
        self.write_lists("checker==1.0\n")

    def write_lists(self, development: str) -> None:
        runtime = "fairscale==0.4.4\nsalesforce-lavis==1.0.2\ntorch==2.13.0\ntorchvision==0.28.0\n"
        (self.root / "requirements.installed.txt").write_text(runtime, encoding="utf-8")
        (self.root / "requirements.dev.txt").write_text(development, encoding="utf-8")

    def start(self, **environment: str) -> subprocess.Popen[str]:
        """Like `make setup`, without a terminal or an input, in a process group of its own."""
        return subprocess.Popen(
            ["sh", "scripts/setup.sh"],
            cwd=self.root, env=self.environment | environment, start_new_session=True, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            # who runs the tests in the background of a shell has Ctrl-C ignored, and that is inherited
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads here
        )  # fmt: skip

    def set_up(self, **environment: str) -> tuple[int, str]:
        """(exit status, all output) of one run."""
        with self.start(**environment) as process:
            output, _ = process.communicate(timeout=300)
            return process.returncode, output

    def packages(self) -> set[str]:
        (site,) = (self.root / ".venv" / "lib").glob("python*/site-packages")
        names = {f"{d.name}=={d.version}" for d in metadata.distributions(path=[str(site)])}
        return {name for name in names if not name.startswith(("pip==", "setuptools=="))}


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


CUDA_NOTE = "there is no NVIDIA device here"
HAS_NVIDIA_DEVICE = Path("/proc/driver/nvidia/version").exists() or any(Path("/dev").glob("nvidia[0-9]*"))
AS_LISTED = {"fairscale==0.4.4", "salesforce-lavis==1.0.2", "checker==1.0"}
WITH_CUDA = AS_LISTED | {"torch==2.13.0", "torchvision==0.28.0", "nvidia-cuda==1.0"}
WITHOUT_CUDA = AS_LISTED | {"torch==2.13.0+cpu", "torchvision==0.28.0+cpu"}
NO_NETWORK = {"PIP_INDEX_URL": "http://127.0.0.1:9/"}  # nothing answers there


@pytest.mark.slow
def test_set_up_once_and_again_when_the_lists_change(checkout: Checkout) -> None:
    status, output = checkout.set_up()
    assert (status, checkout.packages()) == (0, WITH_CUDA), output
    assert (CUDA_NOTE in output) == (not HAS_NVIDIA_DEVICE and sys.platform == "linux")

    assert checkout.set_up(**NO_NETWORK) == (0, "")

    publish(checkout.usual_index, "other-checker", "2.0")
    checkout.write_lists("other-checker==2.0\n")
    status, output = checkout.set_up()
    assert (status, checkout.packages()) == (0, WITH_CUDA - {"checker==1.0"} | {"other-checker==2.0"}), output


@pytest.mark.slow
def test_torch_from_an_index_of_its_own(checkout: Checkout) -> None:
    status, output = checkout.set_up(TORCH_INDEX=checkout.cpu_index.as_uri())
    assert (status, checkout.packages()) == (0, WITHOUT_CUDA), output
    assert CUDA_NOTE not in output
    # the other commands set up first, too, without naming the index
    assert checkout.set_up(**NO_NETWORK) == (0, "")


@pytest.mark.slow
def test_an_interrupted_set_up_is_repaired_by_the_next(checkout: Checkout) -> None:
    """And where pip finds a CPU build by itself, that is taken, without a word about CUDA."""
    process = checkout.start()
    with process:
        while not (checkout.root / ".venv" / "pyvenv.cfg").exists():
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) != 0
    publish(checkout.usual_index, "torch", "2.13.0+cpu")

    status, output = checkout.set_up()
    expected = WITHOUT_CUDA - {"torchvision==0.28.0+cpu"} | {"torchvision==0.28.0"}
    assert (status, checkout.packages()) == (0, expected), output
    assert CUDA_NOTE not in output


@pytest.mark.slow
def test_a_failed_set_up_is_no_set_up(checkout: Checkout) -> None:
    status, output = checkout.set_up(**NO_NETWORK, PIP_RETRIES="0")
    assert status == 1
    assert "pip failed; what it says is above" in output
    status, output = checkout.set_up()
    assert (status, checkout.packages()) == (0, WITH_CUDA), output


def executable(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def without_python(tmp_path: Path) -> str:
    """A PATH with the commands that the script uses, and no Python."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "dirname", "sed", "tr", "head", "cat", "grep", "uname", "ls", "rm", "mkdir", "mv"):
        (tools / name).symlink_to(shutil.which(name) or name)
    return str(tools)


def test_no_python_3_11_is_said_with_the_cure(checkout: Checkout, without_python: str) -> None:
    status, output = checkout.set_up(PYTHON="", PATH=without_python)
    assert status == 1
    for cure in ("apt-get install python3.11 ", "brew install python@3.11", "pyenv install 3.11", "PYTHON=/path"):
        assert cure in output
    assert not (checkout.root / ".venv").exists()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 3.9", "is Python 3.9. Python 3.11 is needed."),
        ("exit 127", "does not run. Python 3.11 is needed."),
    ],
)
def test_a_wrong_python_is_named(checkout: Checkout, tmp_path: Path, script: str, said: str) -> None:
    python = executable(tmp_path / "bin" / "python", script)
    status, output = checkout.set_up(PYTHON=str(python))
    assert status == 1
    assert f"PYTHON={python} {said}" in output


def test_a_python_without_venv(checkout: Checkout, tmp_path: Path, without_python: str) -> None:
    """Debian's, without python3.11-venv. A name earlier on the PATH that only fails (pyenv's) is passed over."""
    shims = executable(tmp_path / "shims" / "python3.11", "echo 'pyenv: not found' >&2; exit 127").parent
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "ensurepip.py").write_text("raise ImportError", encoding="utf-8")
    python = executable(tmp_path / "bin" / "python3", f'PYTHONPATH={tmp_path}/bare exec {PYTHON} "$@"')
    status, output = checkout.set_up(PYTHON="", PATH=f"{shims}:{python.parent}:{without_python}")
    assert status == 1
    assert f"{python} is Python 3.11, but cannot make virtual environments" in output
    assert "apt-get install python3.11-venv" in output
