"""Base64, bare or as a data: URI -> bytes. As tolerant as one can be without guessing."""

import base64
import binascii
import re
from urllib.parse import unquote

from services.errors import BadRequest

_DATA_URI = re.compile(r"data:[^,]*,", re.IGNORECASE)
_URL_SAFE = str.maketrans("-_", "+/")


def decode_base64(text: str, name: str) -> bytes:
    """The bytes in `text`; white space, missing padding and the URL-safe alphabet are accepted.

    Raises BadRequest; `name` is what the text is called in its message.
    """
    text = text.strip()
    head = _DATA_URI.match(text)
    if head:
        if not head[0].lower().endswith(";base64,"):
            raise BadRequest(f"{name} is a data: URI without base64: write data:image/png;base64,…")
        text = text[head.end() :]
        text = unquote(text) if "%" in text else text
    text = "".join(text.split()).rstrip("=").translate(_URL_SAFE)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"{name} is not valid base64") from None
