"""Text of a setting -> its typed value. Each kind says what it allows, beside the code that checks it.

A parser gets the trimmed text and returns the value, or raises ValueError: the caller knows the name of the
setting and adds `allowed` to the message. Relative paths start at the folder of the checkout, because the
service may be started from anywhere (systemd, cron).
"""

import ipaddress
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

CHECKOUT = Path(__file__).resolve().parent.parent

_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})

# What browsers send as Origin: never a path, not even a last slash. Apps have schemes of their own.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\s/,*?#@]+")


_MODEL = r"demo|[\w.-]+/[\w.-]+"

# The last label starts with a letter, or it would be an IP address, which has a network of its own.
_HOST_NAME = r"([a-z0-9-]{1,63}\.)*[a-z][a-z0-9-]{0,62}"


@dataclass(frozen=True)
class Kind:
    """`parse` raises ValueError for what `allowed` does not cover; `allowed` completes "allowed: …"."""

    parse: Callable[[str], Any]
    allowed: str


@dataclass(frozen=True)
class Spec:
    """One row of the table of settings. empty_counts: an empty text is a value, not the same as not set."""

    env: str
    kind: Kind
    about: str
    unit: str
    empty_counts: bool

    @property
    def allowed(self) -> str:
        return self.kind.allowed + (f" ({self.unit})" if self.unit else "")


def setting(
    env: str, default: object, kind: Kind, about: str, *, unit: str = "", empty_counts: bool = False
) -> Any:
    """A dataclass field that carries its `Spec` in `metadata["spec"]`."""
    return field(default=default, metadata={"spec": Spec(env, kind, about, unit, empty_counts)})


def whole_number(minimum: int, maximum: int) -> Kind:
    """Decimal digits only: `int()` alone would also take `1_000`, `+5` and digits of other scripts."""

    def parse(text: str) -> int:
        return int(_in_range(_matched(text, r"[0-9]{1,15}"), minimum, maximum))

    return Kind(parse, f"a whole number from {minimum} to {maximum}")


def number(minimum: float, maximum: float) -> Kind:
    """Plain decimals only: `float()` alone would also take `nan`, `inf` and `1e3`."""

    def parse(text: str) -> float:
        return float(_in_range(_matched(text, r"[0-9]{1,15}(\.[0-9]{1,15})?"), minimum, maximum))

    return Kind(parse, f"a number from {minimum:g} to {maximum:g}")


def one_of(*choices: str) -> Kind:
    """One of lower-case words, written in any case."""

    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(text)
        return text.lower()

    return Kind(parse, f"{', '.join(choices[:-1])} or {choices[-1]}")


def _devices(text: str) -> tuple[str, ...]:
    if "," not in text:
        return (_matched(text, r"auto|cpu|cuda(:[0-9]{1,3})?"),)
    devices = tuple(_matched(part.strip(), r"cuda:(0|[1-9][0-9]{0,2})") for part in text.split(","))
    if len(set(devices)) < len(devices):
        raise ValueError(text)
    return devices


def _matched(text: str, pattern: str) -> str:
    if not re.fullmatch(pattern, text, re.ASCII):
        raise ValueError(text)
    return text


def _in_range(text: str, minimum: float, maximum: float) -> str:
    if not minimum <= float(text) <= maximum:
        raise ValueError(text)
    return text


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise ValueError(text)


def _printable(text: str) -> str:
    if not text.isprintable() or len(text) > 64:
        raise ValueError(text)
    return text


def _path(text: str) -> Path:
    try:
        return CHECKOUT / Path(text).expanduser()
    except RuntimeError as error:  # `~name` of a user who does not exist
        raise ValueError(text) from error


def _existing_file(text: str) -> Path:
    path = _path(text)
    try:
        found = path.is_file()
    except OSError as error:  # a folder on the way that may not be searched
        raise ValueError(text) from error
    if not found:
        raise ValueError(text)
    return path


def _optional_file(text: str) -> Path | None:
    return _existing_file(text) if text else None


def _existing_folders(text: str) -> tuple[Path, ...]:
    # Empty parts (a separator at the end) are dropped: as a path, "" would open the whole checkout.
    folders = tuple(_path(part.strip()) for part in text.split(os.pathsep) if part.strip())
    try:
        found = all(folder.is_dir() for folder in folders)
    except OSError as error:
        raise ValueError(text) from error
    if not found:
        raise ValueError(text)
    return folders


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _models(text: str) -> tuple[str, ...]:
    models = tuple(_matched(part, _MODEL) for part in _parts(text))
    if len(set(models)) < len(models):
        raise ValueError(text)
    return models


def _ports(text: str) -> tuple[int, ...]:
    return tuple(whole_number(1, 65535).parse(part) for part in _parts(text))


def _host_names(text: str) -> tuple[str, ...]:
    return tuple(_matched(part.lower(), _HOST_NAME) for part in _parts(text))


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(part) for part in _parts(text))


def _proxy(text: str) -> str:
    if not text:
        return text
    port = _matched(text, r"http://([\w.-]+|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}").rpartition(":")[2]
    _in_range(port, 1, 65535)
    return text


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(part.lower() for part in _parts(text))
    if origins != ("*",) and not all(_ORIGIN.fullmatch(origin) for origin in origins):
        raise ValueError(text)
    return origins


BOOLEAN = Kind(_boolean, "true, false, 1, 0, yes, no, on or off")
NAME = Kind(_printable, "1 to 64 printable characters")
MODEL = Kind(lambda text: _matched(text, _MODEL), "demo, or name/type of a captioning model of LAVIS")
MODELS = Kind(_models, "different models, each as in MODEL, with commas between them")
DEVICES = Kind(
    lambda text: _devices(text.lower()),
    "auto, cpu, cuda or cuda:N (N: the number of the GPU, from 0), or several cuda:N with commas between them",
)
EXISTING_FILE = Kind(_existing_file, "an existing file")
OPTIONAL_FILE = Kind(_optional_file, "an existing file, or empty (none)")
EXISTING_FOLDERS = Kind(
    _existing_folders, f"existing folders with `{os.pathsep}` between them, or empty (no file input)"
)
ORIGINS = Kind(
    _origins,
    "`*`, or origins like https://example.org (no path, no slash at the end) with commas between them, "
    "or empty (same origin only)",
)

PORTS = Kind(_ports, "whole numbers from 1 to 65535 with commas between them")
HOST_NAMES = Kind(
    _host_names, "whole host names (letters outside of ASCII as xn--…) with commas between them, no addresses"
)
NETWORKS = Kind(_networks, "networks like 192.168.1.0/24 or fd00::/8, or addresses, with commas between them")
RATE = Kind(
    lambda text: _matched(text, r"|[1-9][0-9]{0,5}/(second|minute|hour|day)"),
    "N/second, N/minute, N/hour or N/day (N: 1 to 999999), or empty (no limit)",
)
PROXY = Kind(_proxy, "http://host:port, or empty (none)")


HTTPS_URL = Kind(
    lambda text: _matched(text, r"|https://[\w.-]+(:[0-9]{1,5})?/[!-~]+"),
    "an https:// URL of a file, without a user name; or empty",
)
GITHUB_FILE = Kind(
    lambda text: _matched(text, r"|[\w.-]+/[\w.-]+@[^\s:~^?*\[\\]+:[^/\s].*"),
    "owner/repo@ref:path, with ref a branch, a tag or a commit; or empty",
)


def as_text(value: object) -> str:
    """The text that parses to `value`; paths inside the checkout are written relative to it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Path):
        return (value.relative_to(CHECKOUT) if value.is_relative_to(CHECKOUT) else value).as_posix()
    if isinstance(value, tuple):
        separator = os.pathsep if value and isinstance(value[0], Path) else ","
        return separator.join(as_text(item) for item in value)
    return str(value)
