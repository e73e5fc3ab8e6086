"""Every URL of a collection of hostile and harmless ones, on the default policy: who is connected to."""

import re
from collections.abc import Iterator

import pytest

from config.values import CHECKOUT
from services.errors import CaptioningError, UrlNotAllowed, UrlUnreachable
from services.images.fetch import UrlFetcher
from services.images.urls import parse_url
from tests.images.name_server import name_server
from tests.images.wire import Wire, counted

CASES = CHECKOUT.parent / "shared" / "data" / "ssrf_cases.tsv"
PUBLIC = "93.184.216.34"
# Names that anybody may register and let lead to private networks. The others of the list are public ones.
PRIVATE_NAMES = {
    "lvh.me": "127.0.0.1",
    "10.0.0.1.nip.io": "10.0.0.1",
    "192.168.1.250.sslip.io": "192.168.1.250",
    "metadata.google.internal": "169.254.169.254",
    "foobar.x": "10.1.1.1",
}


def cases(verdict: str) -> list[str]:
    """The URLs of the rows with this verdict. A few URLs stand under both: block wins."""
    lines = CASES.read_text(encoding="utf-8").splitlines() if CASES.exists() else []
    return [url for url, found in (line.split("\t") for line in lines) if found == verdict]


HOSTILE, HARMLESS = cases("block"), cases("allow")


def refused_though_harmless() -> set[str]:
    """The `allow` rows that the policy refuses, as docs/security.md lists them."""
    text = (CHECKOUT / "docs" / "security.md").read_text(encoding="utf-8")
    block = text.partition("<!-- refused -->")[2].partition("<!-- /refused -->")[0]
    return set(re.findall(r"`(https?://[^`]+)`", block, re.IGNORECASE))


def readings(url: str) -> set[str]:
    r"""The list writes control characters as \n, \r and \t; both readings have to be refused."""
    return {url, url.replace(r"\n", "\n").replace(r"\r", "\r").replace(r"\t", "\t")}


pytestmark = pytest.mark.skipif(not CASES.exists(), reason="the collection lies beside the checkout")


@pytest.fixture(scope="module")
def fetcher() -> Iterator[UrlFetcher]:
    def script(name: str, kind: str, times: int) -> list[str]:
        return [f"A {PRIVATE_NAMES.get(name, PUBLIC)}"] if kind == "A" else []

    with name_server(script) as server:
        yield UrlFetcher(10_000, look_up=server.look_up)


@pytest.fixture
def wire() -> Iterator[Wire]:
    with counted() as wire:
        yield wire


def test_the_collection_is_whole() -> None:
    assert (len(HOSTILE), len(HARMLESS)) == (557, 67)
    assert refused_though_harmless() <= set(HARMLESS)  # and the documentation lists no others


@pytest.mark.parametrize("url", HOSTILE)
def test_a_hostile_url_is_refused_and_nobody_connected_to(fetcher: UrlFetcher, wire: Wire, url: str) -> None:
    for reading in readings(url):
        with pytest.raises(UrlNotAllowed):
            fetcher.fetch(reading, timeout_s=10)
    assert wire.connects == []


@pytest.mark.parametrize("url", HARMLESS)
def test_a_harmless_url_is_stopped_by_the_network_only(fetcher: UrlFetcher, wire: Wire, url: str) -> None:
    refused = url in refused_though_harmless()
    with pytest.raises(CaptioningError) as raised:
        fetcher.fetch(url, timeout_s=10)
    assert isinstance(raised.value, UrlNotAllowed if refused else UrlUnreachable)
    if refused:
        assert wire.connects == []
    else:
        target = parse_url(url)
        assert wire.connects == [(str(target.address or PUBLIC), target.port)]
