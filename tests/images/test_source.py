import pytest

from services.errors import TooLarge, UnreadableImage
from services.images.source import BytesSource, FileSource, ImageSource, SourceReader, UrlSource


class Web:
    def fetch(self, url: str, timeout_s: float) -> bytes:
        return f"{url} within {timeout_s:g} s".encode()


class Disk:
    def __init__(self, data: bytes | None = None) -> None:
        self._data = data

    def read(self, path: str) -> bytes:
        return path.encode() if self._data is None else self._data


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (UrlSource("http://a/b.png"), b"http://a/b.png within 2.5 s"),
        (FileSource("/images/c.png"), b"/images/c.png"),
        (BytesSource(b"\x89PNG"), b"\x89PNG"),
        (BytesSource(b"x" * 40), b"x" * 40),
    ],
)
def test_each_kind_of_source_is_read_by_its_own_reader(source: ImageSource, expected: bytes) -> None:
    assert SourceReader(Web(), Disk(), max_bytes=40).read(source, timeout_s=2.5) == expected


def test_the_limit_on_bytes_holds_for_uploads() -> None:
    with pytest.raises(TooLarge, match="larger than 40 bytes"):
        SourceReader(Web(), Disk(), max_bytes=40).read(BytesSource(b"x" * 41), timeout_s=1)


@pytest.mark.parametrize("source", [BytesSource(b""), FileSource("/images/empty.png")])
def test_no_bytes_at_all_are_no_image(source: ImageSource) -> None:
    with pytest.raises(UnreadableImage, match="Failed to load image: the file is empty"):
        SourceReader(Web(), Disk(b""), max_bytes=40).read(source, timeout_s=1)


def test_a_source_does_not_show_its_bytes_in_logs() -> None:
    assert "secret" not in repr(BytesSource(b"secret"))
