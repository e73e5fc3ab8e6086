"""A JPEG file -> only those of its segments that make its picture.

Pillow reads a header in Python, byte by byte and segment by segment, and copies all EXIF data for each part of
it: a file of a few megabytes could keep it busy for minutes. libjpeg in turn goes over the whole picture once for
every scan, however short. Here both are counted first.
Source: ITU-T T.81, B.1.1 (markers and segments).
"""

import re
from io import BytesIO

from PIL import JpegImagePlugin

from services.errors import UnreadableImage

MAX_SEGMENTS = 10_000  # a picture needs some twenty; large metadata take a few hundred
# libjpeg's own progression has 10 scans, 18 for CMYK. Of small pictures there may be more.
MAX_SCANS = 500
MAX_SCANS_OF_ANY_SIZE = 24
MAX_SCANNED_PIXELS = 1_000_000_000  # pixels × scans, beyond the 24
# 0xFF repeated in or behind a scan: allowed, and of no use. libjpeg goes over all of it again for each 64 KiB that
# it is given.
MAX_FILL_BYTES = 1024

_MARKER = re.compile(rb"\xff([^\x00\xff])")  # what else lies between two segments is skipped
_MARKER_AFTER_SCAN = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")  # 0xFF00 and restarts belong to the scan
_WINDOW = 2**18  # bytes searched at once: other threads wait meanwhile
_TOO_MUCH_FILL = b"\xff" * (MAX_FILL_BYTES + 1)

_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_WITHOUT_LENGTH = {0x01, _START, _END, *range(0xD0, 0xD8)}
_FRAMES_AND_TABLES = {*range(0xC0, 0xD0), 0xDB, 0xDD}
_JFIF, _EXIF, _ADOBE = 0xE0, 0xE1, 0xEE


def read_jpeg(data: bytes) -> JpegImagePlugin.JpegImageFile:
    """The first picture in `data`, not decoded yet; its EXIF data, if any, as `info["exif"]`.

    Raises UnreadableImage, ValueError for a header that is cut, and what Pillow raises for damaged ones.
    """
    header, exif, scans_at = _header(data)
    picture = _JpegImageFile(BytesIO(header + data[scans_at:]))
    _check_scans(data, scans_at, picture.width * picture.height)
    if exif:
        picture.info["exif"] = exif
    return picture


class _JpegImageFile(JpegImagePlugin.JpegImageFile):
    """The first picture of a JPEG file; phones put more behind it (MPO), which do not matter here."""

    def _read_dpi_from_exif(self) -> None:
        """Left out: nobody needs the resolution."""


def _header(data: bytes) -> tuple[bytes, bytes, int]:
    """What is needed of all that stands before the first scan, the EXIF data, and where that scan begins."""
    kept, exif, at = [data[:2]], b"", 2
    for _ in range(MAX_SEGMENTS):
        marker, start, end = _segment(data, at, _MARKER)
        if marker == _SCAN:
            return b"".join(kept), exif, start
        if marker == _END:
            raise ValueError("no picture")
        content = data[start + 4 : end]
        if marker in _FRAMES_AND_TABLES or _tells_colours(marker, content):
            kept.append(data[start:end])
        elif marker == _EXIF and content.startswith(b"Exif\0\0") and not exif:
            exif = content  # the first part; the orientation stands near its beginning
        at = end
    raise _too_many(f"{MAX_SEGMENTS:,} segments")


def _check_scans(data: bytes, scans_at: int, n_pixels: int) -> None:
    """Raises UnreadableImage when decoding the scans from `scans_at` on would take too long."""
    most_scans = min(MAX_SCANS, max(MAX_SCANS_OF_ANY_SIZE, MAX_SCANNED_PIXELS // n_pixels))
    n_scans, at = 0, scans_at
    for _ in range(MAX_SEGMENTS):
        scan_at = at
        try:
            marker, start, at = _segment(data, scan_at, _MARKER_AFTER_SCAN)
        except ValueError:  # libjpeg will find out whether the picture is whole
            marker, start = _END, len(data)
        if data.find(_TOO_MUCH_FILL, scan_at, start) >= 0:
            raise _too_many(f"{MAX_FILL_BYTES:,} empty bytes in a row")
        if marker == _END:
            return
        n_scans += marker == _SCAN
        if n_scans > most_scans:
            raise _too_many(f"{most_scans} scans, at this size,")
    raise _too_many(f"{MAX_SEGMENTS:,} segments")


def _segment(data: bytes, at: int, pattern: re.Pattern[bytes]) -> tuple[int, int, int]:
    """The next segment from `at` on: its marker, where it begins, where it ends.

    Raises ValueError when the file ends before.
    """
    windows = range(at, len(data), _WINDOW)  # the second byte of a marker may lie in the next
    match = next(filter(None, (pattern.search(data, start, start + _WINDOW + 1) for start in windows)), None)
    if match is None:
        raise ValueError("no further segment")
    marker, start = match[1][0], match.start()
    length = 0 if marker in _WITHOUT_LENGTH else int.from_bytes(data[start + 2 : start + 4])
    end = start + 2 + length
    if end > len(data):
        raise ValueError("a segment is cut")
    return marker, start, end


def _tells_colours(marker: int, content: bytes) -> bool:
    """Whether a segment says what the numbers of the picture mean: YCbCr, RGB, CMYK, YCCK."""
    name = {_JFIF: b"JFIF\0", _ADOBE: b"Adobe"}.get(marker)
    return name is not None and content.startswith(name)


def _too_many(what: str) -> UnreadableImage:
    return UnreadableImage(f"Failed to load image: a JPEG file of more than {what} is not read")
