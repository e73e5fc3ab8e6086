"""Where a map comes from: a file of this machine, or an address it is published at; our layout or the old one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from services.emoji.legacy import MAPPINGS, PHRASES, load_legacy, parse_legacy
from services.emoji.map_file import EmojiMap, load_map, parse_map

# The raw URL of this project's own published map: what a service that is told of no other follows. Empty until
# there is one, and then nothing is fetched.
PUBLISHED_MAP_URL = ""


class FetchError(Exception):
    """A file could not be fetched. status: what the server said, None when it said nothing of use."""

    def __init__(self, message: str, *, status: int | None = None, retry_after_s: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s  # how long the server asks to be left alone


@dataclass(frozen=True)
class FetchedFile:
    """content: the bytes as published. etag: the server's name for them, "" when it gave none."""

    content: bytes
    etag: str


@dataclass(frozen=True)
class PublishedMap:
    """A map at a URL. One that ends with emoji_mappings.json is of the old layout, with mwe.txt beside it."""

    url: str

    @property
    def urls(self) -> tuple[str, ...]:
        """The files that make up the map. The second, where there is one, may be missing."""
        return (self.url, urljoin(self.url, PHRASES)) if self._is_legacy else (self.url,)

    @property
    def name(self) -> str:
        """The URL for people to read: without its query, which may hold a token."""
        return without_query(self.url)

    def compile(self, files: Sequence[FetchedFile | None]) -> EmojiMap:
        """Check and compile what `urls` gave, None for a file that is missing. Raises MapFileError."""
        contents = [file.content if file else None for file in files]
        if self._is_legacy:
            return parse_legacy(contents[0] or b"", contents[1], self.name)
        return parse_map(contents[0] or b"", self.name)

    @property
    def _is_legacy(self) -> bool:
        return urlsplit(self.url).path.endswith(f"/{MAPPINGS}")


def load_map_file(path: Path) -> EmojiMap:
    """The map of a file, of either layout. Raises MapFileError."""
    return load_legacy(path) if path.name == MAPPINGS else load_map(path)


def github_url(file: str) -> str:
    """owner/repo@ref:path -> the URL of the file's raw content; ref is a branch, a tag or a commit.

    >>> github_url("owner/repo@main:maps/emoji_map.yaml")
    'https://raw.githubusercontent.com/owner/repo/main/maps/emoji_map.yaml'
    """
    repository, _, rest = file.partition("@")
    ref, _, path = rest.partition(":")
    return f"https://raw.githubusercontent.com/{repository}/{quote(ref)}/{quote(path)}"


def without_query(url: str) -> str:
    return urlunsplit((*urlsplit(url)[:3], "", ""))
