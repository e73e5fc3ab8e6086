"""API keys: the file that lists who has one, and the comparison of what a request sent with it.

    python -m services.web.keys NAME        makes a key: prints it, and the line for the file

A line of the file is `NAME sha256:HEX`, the hash being that of the key; blank lines and lines that begin with #
are skipped. It is read once, when the service starts.

One round of SHA-256 is enough, for a key is 256 random bits: nobody can guess it, however fast a guess is. Slow
hashes protect passwords, which people think up; here one would only make every request cost more.
"""

import argparse
import hashlib
import hmac
import re
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_HOW = "write NAME sha256:HEX, as printed by: python -m services.web.keys NAME"


class KeysFileError(ValueError):
    """The file of keys cannot be used; says which file and line, and what to do. Never quotes a line."""


class ApiKeys:
    """The keys that are let in. digests: name -> SHA-256 of the key."""

    def __init__(self, digests: Mapping[str, bytes]) -> None:
        self._digests = tuple(digests.items())

    def name_of(self, key: str) -> str | None:
        """Whose key this is; None where it is nobody's. How long that takes does not depend on how near it is."""
        sent = _digest(key)
        found = None
        for name, digest in self._digests:  # to the end, whichever it is
            if hmac.compare_digest(sent, digest):
                found = name
        return found


def read_keys(path: Path) -> ApiKeys:
    """Raises KeysFileError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise KeysFileError(f"API_KEYS_FILE {path} cannot be read: {reason}") from None
    digests: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, rest = line.strip().partition(" ")
        written = _DIGEST.fullmatch(rest.strip())
        if not _NAME.fullmatch(name) or not written:  # the line may be a key that somebody pasted: do not show it
            raise KeysFileError(f"API_KEYS_FILE {path} line {number} cannot be understood: {_HOW}")
        if name in digests:
            raise KeysFileError(f"API_KEYS_FILE {path} line {number} has a name that stands above: choose another")
        digests[name] = bytes.fromhex(written[1])
    if not digests:
        raise KeysFileError(f"API_KEYS_FILE {path} holds no key, so nobody could be let in: {_HOW}")
    return ApiKeys(digests)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError("allowed: 1 to 64 letters, digits, dots, dashes and underscores")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m services.web.keys", description="Make an API key. It is shown once and stored nowhere."
    )
    parser.add_argument("name", type=_name, help="whose key it is")
    name = parser.parse_args().name
    key = secrets.token_urlsafe(32)
    sys.stdout.write(f"The key, for whoever calls the service (it cannot be shown again):\n{key}\n\n")
    sys.stdout.write(f"The line for API_KEYS_FILE; restart the service after adding it:\n{name} ")
    sys.stdout.write(f"sha256:{_digest(key).hex()}\n")


if __name__ == "__main__":
    main()
