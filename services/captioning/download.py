"""One large file over HTTP: whole under its name or not there, resumed where it broke off, once for all processes.

    NAME.part        what has come so far; locked by the process that writes it
    NAME.part.etag   which version of the file that is the beginning of (RFC 9110, 13.1.5: If-Range)
    NAME             the file, once it is complete and was looked at

requests honours HTTPS_PROXY, NO_PROXY and REQUESTS_CA_BUNDLE.
"""

import contextlib
import errno
import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from http import HTTPStatus
from io import FileIO
from pathlib import Path

import requests
from tqdm import tqdm

from services.captioning.captioner import LoadProgress, ReportProgress
from services.errors import innermost

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 60
CHUNK_BYTES = 1 << 16  # of a connection that breaks, less than this is lost
ATTEMPTS = 10  # each after one that brought something

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)

logger = logging.getLogger(__name__)


class DownloadError(Exception):
    """The file could not be had; the message says why, and what to do."""


def download(url: str, path: Path, report: ReportProgress, check: Callable[[Path], None]) -> None:
    """Put what is at `url` under `path`, unless another process does so in the meantime.

    check: gets the complete file before it has its name; what it raises is passed on, and the file removed.
    Raises DownloadError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_name(f"{path.name}.part")) as part:
            if not path.exists():  # else another process has made it while this one waited
                part.fill(url, report)
                part.forget()  # what fails the check is not to be gone on from
                check(part.path)
                part.path.replace(path)
    except (OSError, requests.RequestException) as exc:
        raise DownloadError(
            f"{path} could not be downloaded from {url}: {_cause(exc)}. {_cure(exc, path)}"
        ) from exc


class _Part:
    """The unfinished file, open for appending."""

    def __init__(self, path: Path, file: FileIO) -> None:
        self.path = path
        self._file = file
        self._etag = path.with_name(f"{path.name}.etag")

    @property
    def n_bytes(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    @property
    def resumable(self) -> bool:
        return self.n_bytes > 0 and self._etag.exists()

    def etag(self, url: str) -> str | None:
        """Of the version at `url` that this is the beginning of; None if that cannot be told."""
        with contextlib.suppress(OSError, ValueError):
            source, etag = self._etag.read_text(encoding="utf-8").split("\n")
            return etag if source == url and self.n_bytes else None
        return None

    def begin(self, url: str, etag: str) -> None:
        """Empty it; it is going to be the version `etag`. A weak one (W/"…") does not tell versions apart."""
        self.forget()
        self._file.truncate(0)
        if etag.startswith('"'):
            self._etag.write_text(f"{url}\n{etag}", encoding="utf-8")

    def forget(self) -> None:
        self._etag.unlink(missing_ok=True)

    def fill(self, url: str, report: ReportProgress) -> None:
        """Bring it to its full length. A connection that breaks is made again while that helps."""
        for attempt in range(1, ATTEMPTS + 1):
            before = self.n_bytes
            try:
                self._receive(url, report)
                break
            except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as exc:
                if attempt == ATTEMPTS or self.n_bytes <= before or not self.etag(url):
                    raise
                logger.warning("The download of %s broke off and goes on: %s", url, _cause(exc))
        os.fsync(self._file.fileno())  # the name must not outlive a power cut that the content does not

    def _receive(self, url: str, report: ReportProgress) -> None:
        headers = {"Accept-Encoding": "identity"}
        if etag := self.etag(url):
            headers |= {"Range": f"bytes={self.n_bytes}-", "If-Range": etag}
        timeouts = (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
        with requests.get(url, headers=headers, stream=True, timeout=timeouts) as response:
            if response.status_code == HTTPStatus.OK:  # all: no rest was asked for, or there is another version
                self.begin(url, response.headers.get("ETag", ""))
            elif etag and not self._goes_on(response, etag):
                self.begin(url, "")
                self._receive(url, report)
                return
            response.raise_for_status()
            wanted = {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT} if etag else {HTTPStatus.OK}
            if response.status_code not in wanted:
                raise OSError(f"the server answered {response.status_code}")
            self._write(response, report)

    def _goes_on(self, response: requests.Response, etag: str) -> bool:
        """Whether the answer to a Range is the rest of what is here, or an error that says nothing about it."""
        if response.status_code != HTTPStatus.PARTIAL_CONTENT:
            return response.status_code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        begins_here = response.headers.get("Content-Range", "").startswith(f"bytes {self.n_bytes}-")
        return begins_here and response.headers.get("ETag", etag) == etag

    def _write(self, response: requests.Response, report: ReportProgress) -> None:
        length, here = int(response.headers.get("Content-Length", 0)), self.n_bytes
        if length > (free := shutil.disk_usage(self.path.parent).free):
            raise OSError(errno.ENOSPC, f"{length:,} bytes are to come, and {free:,} are free")
        total = here + length if length else None
        with tqdm(total=total, initial=here, unit="B", unit_scale=True, desc=self.path.stem) as bar:
            for chunk in response.iter_content(CHUNK_BYTES):
                left = memoryview(chunk)
                while left:  # a disk that fills up takes a part of it first
                    left = left[self._file.write(left) :]
                bar.update(len(chunk))
                here += len(chunk)
                report(LoadProgress("downloading", here, total))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[_Part]:
    """The part file at `path`, for this process alone; another one's is waited for.

    The lock is the system's, on the open file: it ends with its process. At the end the file stays only if a
    later download can go on from it.
    """
    while True:
        with path.open("ab", buffering=0) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("Another process is downloading %s; waiting for it", path)
                fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_at(file, path):  # it was renamed or removed by the process that had the lock
                continue
            part = _Part(path, file)
            try:
                yield part
            finally:
                if not part.resumable and _is_at(file, path):
                    path.unlink()
                    part.forget()
            return


def _is_at(file: FileIO, path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def _cure(exc: OSError, path: Path) -> str:
    if exc.errno in _FULL:
        return "The disk is full: make room, or set TORCH_HOME to a folder on another disk; then start again"
    if exc.errno in _NOT_WRITABLE:
        return (
            f"{path.parent} cannot be written: make it writable, set TORCH_HOME to a folder that is, or put the "
            "file there yourself; then start again"
        )
    return "Check the network, or put the file there yourself; then start again"


def _cause(exc: BaseException) -> str:
    inner = innermost(exc)
    return str(inner) or type(inner).__name__
