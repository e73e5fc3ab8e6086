"""A key for tests, and the line that the file of keys has for it."""

import hashlib

from services.web.keys import ApiKeys

KEY = "kEy-of-anna_0123456789"
KEYS = ApiKeys({"anna": hashlib.sha256(KEY.encode()).digest(), "bob": hashlib.sha256(b"key of bob").digest()})
BEARER = {"Authorization": f"Bearer {KEY}"}


def line_for(name: str, key: str) -> str:
    return f"{name} sha256:{hashlib.sha256(key.encode()).hexdigest()}"
