"""How many requests one caller may make in a while."""

import ipaddress
import math
import threading
import time

from limits import parse
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

# Addresses share this many counts, so that those of the whole internet take no more memory than these: about
# 5 MB. Two that happen to share one share its limit.
ADDRESS_COUNTS = 16_384


class RateLimit:
    """text: as in the setting RATE_LIMIT, like "60/minute". A window begins with the first request in it."""

    def __init__(self, text: str) -> None:
        self._limit = parse(text)
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._lock = threading.Lock()  # the storage reads, adds and reads again

    def hit(self, caller: str) -> int | None:
        """Count one request. The seconds after which to try again where it is one too many, else None."""
        with self._lock:
            if self._limiter.hit(self._limit, caller):
                return None
            reset = self._limiter.get_window_stats(self._limit, caller).reset_time
        return max(1, math.ceil(reset - time.time()))


def of_key(name: str) -> str:
    """The caller with the key of that name."""
    return f"key {name}"


def of_address(address: str) -> str:
    """The caller at an address. A single machine has 2⁶⁴ addresses of version 6 (a /64): they count as one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:  # a connection without one
        return "address unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        parsed = parsed.ipv4_mapped or ipaddress.IPv6Address(int(parsed) >> 64 << 64)
    return f"address {hash(str(parsed)) % ADDRESS_COUNTS}"  # Python's hash of texts differs in each process
