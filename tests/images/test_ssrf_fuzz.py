"""Hostile URLs that nobody wrote down: pieces of the known tricks, put together at random, with seeds."""

import ipaddress
import random
from collections.abc import Iterator

import pytest

from services.errors import CaptioningError
from services.images.fetch import UrlFetcher
from tests.images.wire import Wire, counted

SCHEMES = ["http://"] * 12 + ["https://", "HTTP://", "http:", "http:/", "http:///", "http:\\\\", "//", "ftp://", "file://"]
HOSTS = [
    "127.0.0.1", "10.0.0.1", "169.254.169.254", "2130706433", "0x7f000001", "0177.1", "127.1", "0", "0.0.0.0",
    "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:a9fe:a9fe]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    "[fd00:ec2::254]", "[fe80::1%25lo]", "[2001:0:7f00:1::]", "[2606:4700::5efe:a00:1]",
    "localhost", "localhost.", "inside.test", "a.inside.test.", "xn--a.test", "①②⑦.0.0.1", "127。0。0。1",
    "ⓛocalhost", "1.1.1.1", "8.8.8.8", "[2606:4700::1111]",
]  # fmt: skip
GLUE = [
    "@", ":", "#", "?", "/", "\\", ".", "%00", "%2e", "%40", "\t", "\n", "\r\n", "\0", " ", "[", "]", ";", ",",
    "&", ":80", ":443", ":22", "\u200b", "\u3002", "\uff0e", "u:p@", "//", "..", "-", "_",
]  # fmt: skip


def urls(seed: int, count: int) -> Iterator[str]:
    rng = random.Random(seed)
    for _ in range(count):
        pieces = [rng.choice(SCHEMES), rng.choice(HOSTS)]
        for _ in range(rng.choice([0, 0, 1, 1, 2, 3])):
            pieces += [rng.choice(GLUE), rng.choice([*HOSTS, "", "a", "80"])]
        url = "".join(pieces)
        if rng.random() < 0.3:  # one character more, less, or another
            at, new = rng.randrange(len(url)), rng.choice(["", *GLUE, *"0123456789abcdefx"])
            url = url[:at] + new + url[at + rng.randint(0, 1) :]
        yield url


@pytest.fixture
def wire() -> Iterator[Wire]:
    with counted() as wire:
        yield wire


def test_whatever_is_put_together_only_public_addresses_are_connected_to(wire: Wire) -> None:
    fetcher = UrlFetcher(10_000, look_up=lambda host: ["127.0.0.1"])  # every name leads inside
    for url in urls(seed=5, count=5_000):
        with pytest.raises(CaptioningError):
            fetcher.fetch(url, timeout_s=10)
    addresses = {address for address, _ in wire.connects}
    assert addresses >= {"1.1.1.1", "8.8.8.8", "2606:4700::1111"}
    assert all(ipaddress.ip_address(address).is_global for address in addresses)
    assert {port for _, port in wire.connects} <= {80, 443}
