"""What a request asks for: which one image, of which model, within which time."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.errors import ConflictingInput, InvalidParameter, NoInput
from services.pipeline import BytesSource, FileSource, ImageSource, UrlSource
from services.web.base64_text import decode_base64
from services.web.body import RAW_BODY, read_body
from services.web.request import ApiRequest

NOTHING_GIVEN = "Must provide either url or file parameter, or POST a file"
NO_FILE_CHOSEN = "No file selected"

_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


@dataclass(frozen=True)
class Candidate:
    name: str  # for the message, when there is more than one
    source: ImageSource


@dataclass(frozen=True)
class Inputs:
    source: ImageSource
    models: Sequence[str]  # the names that are asked for; none: whatever is served
    options: Sequence[tuple[str, Any]]  # name and value of what says how to caption it


def read_inputs(request: ApiRequest, max_image_bytes: int) -> Inputs:
    """The one image that the query or the body names or holds. An empty text counts as not given.

    Raises NoInput, ConflictingInput, InvalidParameter, BadRequest, and werkzeug's RequestEntityTooLarge.
    """
    body = read_body(request, max_image_bytes)
    texts = [(name, text) for name, text in [*request.args.items(multi=True), *body.texts] if text]
    candidates = [
        *(Candidate(name, UrlSource(text)) for name, text in texts if name == "url"),
        *(Candidate(name, FileSource(text)) for name, text in texts if name == "file"),
        *(Candidate(name, BytesSource(data)) for name, data in body.pictures),
    ]
    if len(candidates) > 1:
        # Some clients name a content type with every request; without content it is no input of its own.
        nothing = Candidate(RAW_BODY, BytesSource(b""))
        candidates = [candidate for candidate in candidates if candidate != nothing]
    missing = NO_FILE_CHOSEN if body.has_unselected_file else NOTHING_GIVEN
    return Inputs(
        source=the_only(candidates, missing),
        models=[text for name, text in texts if name == "model"],
        options=[*request.args.items(multi=True), *body.options],
    )


def the_only(candidates: Sequence[Candidate], missing: str) -> ImageSource:
    """Raises ConflictingInput for more than one candidate, and NoInput with the text `missing` for none."""
    if not candidates:
        raise NoInput(missing)
    if len(candidates) == 1:
        return candidates[0].source
    names = sorted({candidate.name for candidate in candidates}, reverse=True)  # url before file
    if len(names) == 1:
        raise ConflictingInput(f"Cannot provide {names[0]} more than once")
    what = f"{names[0]} and {names[1]}"
    raise ConflictingInput(f"Cannot provide both {what}{' parameters' if what == 'url and file' else ''}")


def picture_at(url: str, name: str) -> ImageSource:
    """What many APIs call the URL of a picture: http(s), or a data: URI that holds it.

    Raises BadRequest; `name` is what the URL is called in its message.
    """
    url = url.strip()
    return BytesSource(decode_base64(url, name)) if url[:5].lower() == "data:" else UrlSource(url)


def read_timeout_s(request: ApiRequest, most_s: float) -> float:
    """The time that the request gives itself (X-Request-Timeout), but `most_s` at most.

    Raises InvalidParameter.
    """
    text = request.headers.get("X-Request-Timeout")
    if text is None:
        return most_s
    if not _SECONDS.fullmatch(text) or float(text) == 0:
        raise InvalidParameter(f"X-Request-Timeout must be a number of seconds, above 0 and up to {most_s:g}")
    return min(float(text), most_s)
