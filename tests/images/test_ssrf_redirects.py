"""Redirects of hostile web servers, with each TCP connection of the fetcher counted at the socket."""

import re
import ssl
from urllib.parse import quote

import pytest

from services.errors import CaptioningError
from tests.images.internet import A, B, MakeInternet, public_names
from tests.images.servers import CERTIFICATE_OF_PHOTOS, PICTURE, pictures, raw, sends


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1/",  # R01
        "http://169.254.169.254/latest/meta-data/",  # R02
        "http://[::ffff:127.0.0.1]/",  # R03
        "file:///etc/passwd",  # R04
        "gopher://127.0.0.1:6379/_x",
        "ftp://b.test/a.jpg",
        "data:image/png;base64,AAAA",
        "//10.0.0.1/",  # R05
        "//b.test:6379/",  # R12
        "//b.test:22/",
        "//b.test:25/",
        "http://b.test@10.0.0.1/",
        "http://2130706433/",
        "http://localhost/",
        "http://private.test/",
    ],
)
def test_a_redirect_inwards_ends_at_the_server_that_sent_it(internet: MakeInternet, target: str) -> None:
    def script(name: str, kind: str, times: int) -> list[str]:
        return ["A 10.0.0.1"] if name == "private.test" and kind == "A" else public_names(name, kind, times)

    assert internet(script).refusal(f"http://a.test/redirect_to?{quote(target)}") == [(A, 80)]


@pytest.mark.parametrize(
    ("url", "hops"),
    [
        ("http://a.test/redirect_to?/picture", [A, A]),  # R06
        ("http://a.test/redirect_to?picture", [A, A]),
        ("http://a.test/redirect_to?//b.test/picture", [A, B]),
        ("http://a.test/redirect?3/picture", [A] * 4),  # R07
    ],
)
def test_redirects_to_public_servers_are_followed(internet: MakeInternet, url: str, hops: list[str]) -> None:
    world = internet()
    assert world.fetch(url) == PICTURE
    assert world.wire.connects == [(address, 80) for address in hops]


def test_a_chain_that_is_too_long_ends_at_the_limit(internet: MakeInternet) -> None:
    """R08."""
    world = internet()
    assert world.failure("http://a.test/redirect?4/picture") == "more than 3 redirects"
    assert world.wire.connects == [(A, 80)] * 4


def test_a_loop_ends_at_the_limit(internet: MakeInternet) -> None:
    """R09: from a.test to b.test and back, again and again."""
    to = b"HTTP/1.1 302 Found\r\nLocation: http://%b.test/\r\n\r\n"
    with raw(sends(to % b"b")) as a, raw(sends(to % b"a")) as b:
        world = internet()
        world.wire.carries |= {A: a, B: b}
        assert world.failure("http://a.test/") == "more than 3 redirects"
        assert world.wire.connects == [(A, 80), (B, 80)] * 2


def test_from_https_to_http_is_allowed_but_judged(internet: MakeInternet) -> None:
    """R10."""
    with pictures(CERTIFICATE_OF_PHOTOS) as secure:
        world = internet(
            lambda name, kind, times: [f"A {B if name == 'photos.test' else A}"] if kind == "A" else [],
            tls=ssl.create_default_context(cafile=str(CERTIFICATE_OF_PHOTOS)),
        )
        world.wire.carries[B] = secure
        assert world.fetch("https://photos.test/redirect_to?http://a.test/picture") == PICTURE
        assert world.wire.connects == [(B, 443), (A, 80)]
        world.wire.connects.clear()
        assert world.refusal("https://photos.test/redirect_to?http://10.0.0.1/picture") == [(B, 443)]


@pytest.mark.parametrize(
    "location", [b"", b"Location: \r\n", b"Location:\r\n", b"Location: /" + b"a" * 64_000 + b"\r\n"]
)
def test_a_redirect_without_a_usable_target_is_an_error(internet: MakeInternet, location: bytes) -> None:
    """R11."""
    with raw(sends(b"HTTP/1.1 302 Found\r\n" + location + b"Content-Length: 0\r\n\r\n")) as port:
        world = internet()
        world.wire.carries[A] = port
        with pytest.raises(CaptioningError):
            world.fetch("http://a.test/")
        assert world.wire.connects == [(A, 80)]


def test_nothing_is_carried_from_host_to_host(internet: MakeInternet) -> None:
    """R13: what the first host sets, the second does not get."""
    head = b"HTTP/1.1 302 Found\r\nSet-Cookie: a=b\r\nWWW-Authenticate: Basic\r\nLocation: http://b.test/echo\r\n\r\n"
    with raw(sends(head)) as port:
        world = internet()
        world.wire.carries[A] = port
        request = world.fetch("http://a.test/secret?token=1").decode()
    assert "Host: b.test" in request
    assert not re.search("cookie|authorization|referer|secret", request, re.IGNORECASE)
