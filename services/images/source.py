"""What a request names (a URL, a file of the server, or the bytes themselves) -> bytes."""

from dataclasses import dataclass, field
from typing import Protocol

from services.errors import UnreadableImage
from services.images.limits import check_size


@dataclass(frozen=True)
class UrlSource:
    url: str


@dataclass(frozen=True)
class FileSource:
    path: str


@dataclass(frozen=True)
class BytesSource:
    data: bytes = field(repr=False)  # a log line must not carry the picture


ImageSource = UrlSource | FileSource | BytesSource


class Fetcher(Protocol):
    def fetch(self, url: str, timeout_s: float) -> bytes: ...


class Files(Protocol):
    def read(self, path: str) -> bytes: ...


class SourceReader:
    """Turns any source into the bytes of an image file, at most `max_bytes` of them."""

    def __init__(self, fetcher: Fetcher, files: Files, max_bytes: int) -> None:
        self._fetcher = fetcher
        self._files = files
        self._max_bytes = max_bytes

    def read(self, source: ImageSource, timeout_s: float) -> bytes:
        """The bytes that `source` names; a download may take `timeout_s` in all.

        Raises TooLarge, UnreadableImage (no bytes at all), and what the fetcher (UrlNotAllowed,
        UrlUnreachable) and the file reader (FileNotAllowed, FileMissing) raise.
        """
        match source:
            case UrlSource(url):
                data = self._fetcher.fetch(url, timeout_s)
            case FileSource(path):
                data = self._files.read(path)
            case BytesSource(data):
                pass
        check_size(len(data), self._max_bytes)
        if not data:
            raise UnreadableImage("Failed to load image: the file is empty")
        return data
