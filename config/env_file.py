"""`.env`: what it says, which of its names belong to somebody else, and which to nobody.

The process environment is full of foreign names, so only here can a misspelt setting be found. Four groups
of foreign names are known and only warned of, because people bring their files along; any other name is a
problem that stops the start.
"""

import difflib
import io
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from dotenv.parser import parse_stream

# Names of the services that this one replaces, of settings that are gone, and of tools that would change what it
# needs to keep.
_REPLACED = {
    "API_HOST": "emojis come from a file now (EMOJI_MAP); the address to listen on is set by PRIVATE",
    "API_PORT": "emojis come from a file now (EMOJI_MAP); the port to listen on is set by PORT",
    "API_URL": "emojis come from a file now (EMOJI_MAP)",
    "API_TIMEOUT": "emojis come from a file now (EMOJI_MAP); time limits are set by REQUEST_TIMEOUT_SECONDS "
    "and URL_TIMEOUT_SECONDS",
    "ALLOW_PRIVATE_URLS": "name what URLs may lead to by URL_ALLOWED_NETWORKS or URL_ALLOWED_HOSTS, and other "
    "ports than 80 and 443 by URL_ALLOWED_PORTS",
    "MODEL_DIR": "downloaded weights are looked for in hub/checkpoints below TORCH_HOME: set that",
    "DISCORD_*": "this service has no Discord bot",
    "MYSQL_*": "this service has no database",
    "WEB_CONCURRENCY": "one process holds the model; start more containers to scale out",
}

_COMPOSE = ("COMPOSE_*", "DOCKER_*")

# Read when a process starts, by Python or the system: setting them from inside would come too late.
_PROCESS = ("PYTHON*", "LD_*", "PATH", "HOME", "TZ", "LANG", "LC_*")

_LIBRARY = (
    *("HF_*", "HUGGINGFACE_*", "HUGGING_FACE_*", "TRANSFORMERS_*", "TOKENIZERS_*", "XDG_*"),
    *("TORCH_*", "PYTORCH_*", "CUDA_*", "CUBLAS_*", "CUDNN_*", "NVIDIA_*"),
    *("OMP_*", "MKL_*", "KMP_*", "OPENBLAS_*"),
    *("*_PROXY", "*_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("GUNICORN_*", "FLASK_*", "OTEL_*"),
)


@dataclass(frozen=True)
class EnvFile:
    """values: name -> text of every good line, foreign names too. The rest: sentences for a person."""

    values: dict[str, str]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read_env_file(path: Path, known: Collection[str]) -> EnvFile:
    """Read `path` and sort its names; `known` are the names of our settings. No file: no values.

    Never raises: problems are returned, to be reported together with bad values.
    """
    parsed = _parse(path)
    problems, warnings = list(parsed.problems), []
    for name in parsed.values:
        if name in known:
            continue
        if remark := _foreign(name):
            warnings.append(f"{name} in {path.name} is not a setting of this service: {remark}")
        else:
            problems.append(f"{name} in {path.name} is unknown: {_suggestion(name, known)}")
    return EnvFile(parsed.values, tuple(problems), tuple(warnings))


def export_library_settings(path: Path) -> None:
    """Put the names of libraries (HF_*, OMP_*, *_PROXY, …) into os.environ, where it does not have them yet.

    To be called before torch and its relatives are imported: they read the environment then. Values are
    handed on as written, empty ones too (`CUDA_VISIBLE_DEVICES=` hides every GPU). Never raises: what is
    wrong with the file is for `read_env_file` to say.
    """
    for name, text in _parse(path).values.items():
        if _is_any(name, _LIBRARY):
            os.environ.setdefault(name, text)


def _parse(path: Path) -> EnvFile:
    """The file's lines by python-dotenv's parser, without interpolation. A name given twice: the last counts.

    `dotenv_values` is not enough: it drops what it cannot parse and only logs it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return EnvFile({})
    except UnicodeDecodeError:
        return EnvFile({}, (f"{path.name} cannot be read: it is not UTF-8 text",))
    except OSError as error:  # a folder: Docker makes one when it mounts a file that is not there
        return EnvFile({}, (f"{path.name} cannot be read: {error.strerror}",))
    if "\0" in text:
        return EnvFile({}, (f"{path.name} cannot be read: it holds a null byte",))
    values, problems = {}, []
    for binding in parse_stream(io.StringIO(text)):
        if binding.key is not None and binding.value is not None:
            values[binding.key] = binding.value
        elif binding.key is not None or binding.error:
            # The parser counts blank lines before a statement to it. The text stays out of the message: it
            # may be a piece of a secret.
            statement = binding.original.string
            blank = statement[: len(statement) - len(statement.lstrip())]
            line = binding.original.line + blank.count("\n")
            problems.append(f"{path.name} line {line} cannot be understood: write NAME=value")
    return EnvFile(values, tuple(problems))


def _foreign(name: str) -> str | None:
    """What becomes of a name that belongs to somebody else; None when it belongs to nobody."""
    for pattern, remark in _REPLACED.items():
        if _is_any(name, (pattern,)):
            return remark
    if _is_any(name, _COMPOSE):
        return "it is for Docker Compose and has no effect here"
    if _is_any(name, _PROCESS):
        return "it works only when it is set in the environment before the start"
    if _is_any(name, _LIBRARY):
        return "it is handed on to the libraries"
    return None


def _is_any(name: str, patterns: Collection[str]) -> bool:
    # python-dotenv allows quoted names with anything in them; os.environ does not.
    return re.fullmatch(r"\w+", name, re.ASCII) is not None and any(fnmatchcase(name, p) for p in patterns)


def _suggestion(name: str, known: Collection[str]) -> str:
    nearest = difflib.get_close_matches(name.upper(), known, n=1)
    return f"did you mean {nearest[0]}?" if nearest else f"the settings are {', '.join(sorted(known))}"
