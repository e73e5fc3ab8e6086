"""Base64, bare or as a data: URI -> bytes. As tolerant as one can be without guessing."""

import base64
import binascii
import re
import string

from services.errors import BadRequest

_DATA_URI = re.compile(r"data:[^,]*,", re.IGNORECASE)
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_WHITE_SPACE = string.whitespace.encode() + b"\x1c\x1d\x1e\x1f"
# What a URI may have to escape of base64 and its line breaks. Any other escape is none of base64's.
_ESCAPED = {b"%2B": b"+", b"%2F": b"/", b"%3D": b"=", b"%0D": b"", b"%0A": b"", b"%20": b""}


def decode_base64(text: str, name: str) -> bytes:
    """The bytes in `text`; white space, missing padding and the URL-safe alphabet are accepted.

    Whatever the text, it becomes a few texts of its length and never a list of its parts: it may be very long.
    Raises BadRequest; `name` is what the text is called in its message.
    """
    text = text.strip()
    head = _DATA_URI.match(text)
    if head:
        if not head[0].lower().endswith(";base64,"):
            raise BadRequest(f"{name} is a data: URI without base64: write data:image/png;base64,…")
        text = text[head.end() :]
    try:
        data = text.encode("ascii")
        if head and b"%" in data:
            data = _unescaped(data)
        data = data.translate(_URL_SAFE, _WHITE_SPACE).rstrip(b"=")
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"{name} is not valid base64") from None


def _unescaped(data: bytes) -> bytes:
    for escape, sign in _ESCAPED.items():
        data = data.replace(escape, sign).replace(escape.lower(), sign)
    return data
