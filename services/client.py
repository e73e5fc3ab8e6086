"""A client of the service, for programs and for the command line. It needs requests and nothing else of ours.

    from services.client import caption
    print(caption("photo.jpg").text)

    python -m services.client photo.jpg https://example.org/other.jpg
"""

import argparse
import io
import os
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

SERVER = "http://localhost:7777"
MAX_WAIT_S = 30  # for one Retry-After
URL_SCHEMES = ("http://", "https://")

Picture = str | os.PathLike[str] | bytes


@dataclass(frozen=True)
class Emoji:
    emoji: str
    word: str  # of the caption, lower case, several words joined by _


@dataclass(frozen=True)
class Caption:
    text: str
    emojis: tuple[Emoji, ...]
    confidence: float | None  # 0..1; None where the engine has none
    model: str  # that made it


class ServiceError(Exception):
    """The service refused, or did not answer. code: its error code, or `unreachable`, `bad_answer`."""

    def __init__(self, code: str, message: str, status: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status  # HTTP; None without an answer


def caption(
    picture: Picture,
    server: str = SERVER,
    key: str | None = None,
    timeout_s: float = 130.0,
    retries: int = 3,
    **options: str | float,
) -> Caption:
    """The likeliest caption of a file (by its path), of bytes, or of an http(s) URL that the service fetches.

    timeout_s: for each try. retries: how often a 503 that says when to come back is tried again, after that long
    (30 s at most). options: `model`, `prompt`, `num_beams` and what else the service takes. Raises ServiceError,
    and OSError for a file that cannot be read.
    """
    form, files = _body(picture, options)
    for tries_left in range(max(0, retries), -1, -1):
        answer = _post(f"{server.rstrip('/')}/v3/analyze", form, files, _headers(key), timeout_s)
        wait_s = _retry_after_s(answer)
        if wait_s is None or not tries_left:
            break
        time.sleep(wait_s)
    return _read(answer)


def _body(picture: Picture, options: Mapping[str, str | float]) -> tuple[dict[str, str], dict[str, Any] | None]:
    form = {name: str(value) for name, value in options.items()}
    if isinstance(picture, str) and picture.lower().startswith(URL_SCHEMES):
        return {**form, "url": picture}, None
    if isinstance(picture, bytes):
        return form, {"file": ("picture", picture)}
    return form, {"file": ("picture", Path(picture).read_bytes())}


def _headers(key: str | None) -> dict[str, str]:
    return {"X-API-Key": key} if key else {}  # requests would replace Authorization by what ~/.netrc says


def _post(
    url: str, form: dict[str, str], files: dict[str, Any] | None, headers: dict[str, str], timeout_s: float
) -> requests.Response:
    try:
        # a redirect could lead key and picture to anybody
        return requests.post(
            url, data=form, files=files, headers=headers, timeout=timeout_s, allow_redirects=False
        )
    except requests.Timeout:
        raise ServiceError("unreachable", f"{url} did not answer within {timeout_s:g} s") from None
    except requests.RequestException as exc:
        raise ServiceError("unreachable", f"{url} cannot be reached: is the service running? ({exc})") from exc


def _retry_after_s(answer: requests.Response) -> float | None:
    """How long to wait before the next try; None where there is none to make."""
    text = answer.headers.get("Retry-After", "")
    return min(int(text), MAX_WAIT_S) if answer.status_code == 503 and text.isdecimal() else None


def _read(answer: requests.Response) -> Caption:
    try:
        body = answer.json()
        if body["status"] != "success":
            raise ServiceError(body["error"]["code"], body["error"]["message"], answer.status_code)
        model = body["metadata"]["model_info"]["model"]
        best = body["predictions"][0]
        emojis = tuple(Emoji(pair["emoji"], pair["word"]) for pair in best["emoji_mappings"])
        return Caption(best["text"], emojis, best["confidence"], model)
    except (ValueError, KeyError, TypeError, IndexError):
        text = f"status {answer.status_code}, but no answer of this service: is the address right?"
        raise ServiceError("bad_answer", text, answer.status_code) from None


def print_captions(pictures: Iterable[str], server: str, key: str | None) -> bool:
    """A line for each; what went wrong goes to standard error. Whether all went well."""
    is_good = True
    for picture in pictures:
        try:
            found = caption(picture, server, key)
        except (ServiceError, OSError) as error:
            is_good = False
            print(f"{picture}: {error}", file=sys.stderr)
        else:
            print(f"{picture}: {found.text}", *(pair.emoji for pair in found.emojis))
    return is_good


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m services.client", description="Print captions and emojis.")
    parser.add_argument("pictures", nargs="+", metavar="FILE", help="a file, or an http(s) URL")
    parser.add_argument("--server", default=SERVER, help="where the service is (default: %(default)s)")
    parser.add_argument("--key", default=os.environ.get("CAPTIONS_KEY"), help="API key (default: $CAPTIONS_KEY)")
    args = parser.parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files need not be text, nor a terminal know emojis
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(0 if print_captions(args.pictures, args.server, args.key) else 1)


if __name__ == "__main__":
    main()
