"""How much memory this process has used. Linux only; elsewhere the figures are not there."""

import re
from pathlib import Path


def peak_bytes() -> int:
    """The most resident memory so far. Not `ru_maxrss`, which counts the process that started this one too."""
    return _kibibytes(r"VmHWM:\s+(\d+) kB")


def address_space_bytes() -> int:
    return _kibibytes(r"VmSize:\s+(\d+) kB")


def _kibibytes(pattern: str) -> int:
    match = re.search(pattern, Path("/proc/self/status").read_text())
    assert match
    return int(match[1]) * 1024
