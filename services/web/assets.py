"""Files that browsers load from this service: answered with an ETag, and a policy against all others."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from flask import Response
from werkzeug.exceptions import NotFound

from services.web.request import current_request

# Own files only: no inline script or style, no eval, no other host, no frame around it. Pictures that a person
# chose are shown from memory (blob:), and Swagger UI draws with data: images.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".jpg": "image/jpeg",
}


@dataclass(frozen=True)
class Asset:
    content: bytes
    content_type: str
    etag: str

    @classmethod
    def of(cls, content: bytes, content_type: str) -> "Asset":
        return cls(content, content_type, hashlib.sha256(content).hexdigest()[:32])

    @classmethod
    def read(cls, path: Path) -> "Asset":
        return cls.of(path.read_bytes(), TYPES[path.suffix])


def answer_asset(asset: Asset | None) -> Response:
    """The asset, or 304 where the client has it. Its name tells no version, so it is asked for each time.

    Raises NotFound for None.
    """
    if asset is None:
        raise NotFound
    response = Response(asset.content, content_type=asset.content_type)
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.set_etag(asset.etag)
    response.make_conditional(current_request())
    return response
