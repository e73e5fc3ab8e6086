"""A path inside the image folders -> bytes.

Whatever lies outside gives one and the same answer, whether it exists or not, so that nothing can be probed.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from services.errors import FileMissing, FileNotAllowed
from services.images.limits import check_size

# O_NONBLOCK: opening a pipe that nobody writes to must not hang. O_NOFOLLOW: the path was resolved before, so
# a link in its place now was put there since.
_OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY


class FileReader:
    """Reads regular files inside `roots`; no roots means that file input is switched off."""

    def __init__(self, roots: Sequence[Path], max_bytes: int) -> None:
        self._roots = tuple(roots)
        self._max_bytes = max_bytes

    def read(self, path: str) -> bytes:
        """The bytes of the file at `path`: absolute, or relative to a root or to the working directory.

        Raises FileNotAllowed, FileMissing and TooLarge.
        """
        if not self._roots:
            raise FileNotAllowed("Reading files of the server is switched off: send the image or a URL")
        # Resolved at every call: a folder may be mounted, or a link changed, while the service runs.
        real_roots = [os.path.realpath(root) for root in self._roots]
        places = _places_inside(path, self._roots, real_roots)
        if not places:
            raise _outside()
        for resolved in places:
            fd = _open(resolved, path)
            if fd is not None:
                return self._read_opened(fd, resolved, real_roots, path)
        raise _missing(path)

    def _read_opened(self, fd: int, resolved: str, real_roots: Sequence[str], path: str) -> bytes:
        with os.fdopen(fd, "rb") as file:
            # Between resolving and opening, a folder on the way may have become a link that leads out: only
            # what is open now counts.
            if not _is_inside(opened_path(fd, resolved), real_roots):
                raise _outside()
            check_size(os.fstat(fd).st_size, self._max_bytes)
            try:
                data = file.read(self._max_bytes + 1)  # it may be growing
            except OSError:
                raise _unreadable(path) from None
        check_size(len(data), self._max_bytes)
        return data


def opened_path(fd: int, resolved: str, fd_links: str = "/proc/self/fd") -> str:
    """Where the file behind `fd`, opened as `resolved`, really lies; "" when that cannot be told.

    `fd_links` is the folder in which the system shows open files as links. Where there is none (macOS), the
    path is resolved once more and must still lead to the same file.
    """
    try:
        return str(Path(fd_links, str(fd)).readlink())
    except OSError:
        pass
    again = os.path.realpath(resolved)
    try:
        same = os.path.samestat(Path(again).lstat(), os.fstat(fd))
    except OSError:
        return ""
    return again if same else ""


def _places_inside(path: str, roots: Sequence[Path], real_roots: Sequence[str]) -> list[str]:
    """Where `path` may lead, links and `..` resolved, without what leads out of the roots.

    `..` is taken as it is written, and only what then lies in a root is resolved: resolving the rest would tell,
    by what comes of it, which folders and links there are outside.
    """
    names_of_roots = [*map(str, roots), *real_roots]
    try:
        candidates = [Path(path)] if Path(path).is_absolute() else [base / path for base in (*roots, Path.cwd())]
        written = [os.path.normpath(candidate) for candidate in candidates]
        places = [os.path.realpath(place) for place in written if _is_inside(place, names_of_roots)]
    except (ValueError, OSError):  # what no path can hold, a NUL for one; or a deleted working directory
        return []
    return [place for place in places if _is_inside(place, real_roots)]


def _open(resolved: str, path: str) -> int | None:
    """A file descriptor, or None when there is no such regular file."""
    try:
        fd = os.open(resolved, _OPEN_FLAGS)
    except PermissionError:
        raise _unreadable(path) from None
    except OSError:  # missing, a file where a folder should be, a name too long, a loop of links, a socket
        return None
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)  # a folder, a pipe, a device
    return None


def _is_inside(resolved: str, roots: Sequence[str]) -> bool:
    return any(Path(resolved).is_relative_to(root) for root in roots)


def _outside() -> FileNotAllowed:
    return FileNotAllowed("This file is not allowed: only files inside the server's image folders are read")


def _missing(path: str) -> FileMissing:
    return FileMissing(f"File not found: {path}")


def _unreadable(path: str) -> FileNotAllowed:
    return FileNotAllowed(f"The server has no permission to read this file: {path}")
