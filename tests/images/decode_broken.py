"""`python -m tests.images.decode_broken`: decodes every broken picture, prints what came of it as JSON.

A process of its own, so that a crash, a hang or too much memory shows.
"""

import collections
import json
import resource
import time

from services.errors import TooLarge, UnreadableImage, UnsupportedFormat
from services.images.decode import decode
from tests.images.bombs import MAX_PIXELS
from tests.images.broken import Broken, all_broken
from tests.images.memory import address_space_bytes, peak_bytes

MAX_BYTES_ADDED = 1_200_000_000  # to the address space, for one picture of any kind at the default limits


def outcome_of(broken: Broken) -> str:
    """The class of the error, "ok", or what is wrong."""
    try:
        picture = decode(broken.data, MAX_PIXELS)
    except (UnsupportedFormat, UnreadableImage, TooLarge) as exc:
        if isinstance(exc.__cause__, MemoryError):
            return f"{broken.name}: too little memory"
        return type(exc).__name__
    except Exception as exc:  # noqa: BLE001 what this is to find
        return f"{broken.name}: {exc!r}"
    if picture.mode != "RGB" or not 0 < picture.width * picture.height <= MAX_PIXELS:
        return f"{broken.name}: {picture.mode} {picture.size}"
    if broken.whole and picture.tobytes() != decode(broken.whole, MAX_PIXELS).tobytes():
        return f"{broken.name}: another picture than the whole file"
    return "ok"


def main() -> None:
    limit = address_space_bytes() + MAX_BYTES_ADDED
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    outcomes: collections.Counter[str] = collections.Counter()
    slowest = (0.0, "")
    for broken in all_broken():
        began = time.thread_time()
        outcomes[outcome_of(broken)] += 1
        slowest = max(slowest, (time.thread_time() - began, broken.name))
    print(json.dumps({"outcomes": outcomes, "slowest": slowest, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
