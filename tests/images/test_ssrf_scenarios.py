"""Whole fetches against a hostile internet: bodies, TLS and the surroundings.

Scenarios have letters: R, redirects (test_ssrf_redirects.py); D, names (test_ssrf_names.py); B, bodies and heads
(test_fetch.py, and here); T, TLS, and P, the surroundings (here).
"""

import gzip
import re
import ssl
from pathlib import Path

import pytest

from config.values import CHECKOUT
from services.errors import UnsupportedFormat, UrlNotAllowed
from services.images.decode import decode
from tests.images.internet import A, B, MakeInternet, answers
from tests.images.servers import CERTIFICATE_OF_PHOTOS, EXPIRED_CERTIFICATE, PICTURE, pictures, raw, sends
from tests.images.tricky import TRICKY

SCENARIOS = CHECKOUT.parent / "shared" / "data" / "ssrf_scenarios.tsv"


def test_every_scenario_has_a_test() -> None:
    if not SCENARIOS.exists():
        pytest.skip("the list of scenarios lies beside the checkout")
    files = [Path(__file__).with_name("test_fetch.py"), *Path(__file__).parent.glob("test_ssrf_*.py")]
    here = "".join(file.read_text(encoding="utf-8") for file in files)
    listed = [line.split("\t")[0] for line in SCENARIOS.read_text(encoding="utf-8").splitlines()]
    assert len(listed) == 43
    assert [name for name in listed if not re.search(rf"\b{name}\b", here)] == []


# --- bodies: the others are in test_fetch.py ---


def test_what_is_no_picture_is_refused_by_its_bytes_whatever_its_type(internet: MakeInternet) -> None:
    """B10. B05: a compressed body that does not say so is no picture either, and nobody unpacks it."""
    jpeg = next(case.data for case in TRICKY if case.data.startswith(b"\xff\xd8"))
    bodies = {
        b"text/html": b"<html></html>",
        b"image/svg+xml": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"image/png": gzip.compress(bytes(10_000_000)),
    }
    for kind, body in bodies.items():
        with raw(sends(b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n\r\n%b" % (kind, body))) as port:
            world = internet()
            world.wire.carries[A] = port
            with pytest.raises(UnsupportedFormat):
                decode(world.fetch("http://a.test/"), max_pixels=1000)
    with raw(sends(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + jpeg)) as port:
        world = internet()
        world.wire.carries[A] = port
        assert decode(world.fetch("http://a.test/"), max_pixels=1_000_000)


def test_no_connection_is_used_twice(internet: MakeInternet) -> None:
    """B12."""
    world = internet()
    assert "Connection: close" in world.fetch("http://a.test/echo").decode()
    assert "Host: b.test" in world.fetch("http://b.test/echo").decode()
    assert world.wire.connects == [(A, 80), (B, 80)]


# --- TLS ---


@pytest.mark.parametrize(
    ("certificate", "host", "trusts", "why"),
    [
        (CERTIFICATE_OF_PHOTOS, "photos.test", CERTIFICATE_OF_PHOTOS, None),  # T01
        (CERTIFICATE_OF_PHOTOS, "other.test", CERTIFICATE_OF_PHOTOS, "Hostname mismatch"),
        (CERTIFICATE_OF_PHOTOS, A, CERTIFICATE_OF_PHOTOS, "IP address mismatch"),
        (CERTIFICATE_OF_PHOTOS, "photos.test", None, "self-signed certificate"),  # T02
        (EXPIRED_CERTIFICATE, "photos.test", EXPIRED_CERTIFICATE, "certificate has expired"),
    ],
)
def test_the_certificate_has_to_be_the_names(
    internet: MakeInternet, certificate: Path, host: str, trusts: Path | None, why: str | None
) -> None:
    sni: list[str | None] = []
    with pictures(certificate, sni) as secure:
        world = internet(tls=ssl.create_default_context(cafile=str(trusts)) if trusts else None)
        world.wire.carries[A] = secure
        if why is None:
            assert world.fetch(f"https://{host}/picture") == PICTURE
            assert world.fetch(f"https://{host}./picture") == PICTURE
        else:
            assert why in world.failure(f"https://{host}/picture")
    assert set(sni) == {None if host == A else host}
    assert set(world.wire.connects) == {(A, 443)}


# --- the surroundings ---


def test_proxies_and_passwords_of_the_environment_are_not_used(
    internet: MakeInternet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """P01 and P02."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "b.test")
    (tmp_path / ".netrc").write_text("machine a.test login user password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    world = internet()
    assert "authorization" not in world.fetch("http://a.test/echo").decode().lower()
    assert world.wire.connects == [(A, 80)]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:7777", "[::1]:7777", "0.0.0.0:7777", f"{A}:7777"])
def test_the_services_own_port_is_refused(internet: MakeInternet, host: str) -> None:
    """P03; the machine's public address is in test_own_network.py."""
    assert internet().refusal(f"http://{host}/analyze?url=http://{host}/") == []


def test_all_refusals_read_the_same(internet: MakeInternet, site: int) -> None:
    """P04: open port or closed, there or not, as an address, a name or after a redirect."""
    world = internet(answers("A 127.0.0.1"))
    urls = [f"http://127.0.0.1:{site}/", "http://127.0.0.1:9/", "http://10.255.255.1/", "http://a.test/", "http://["]
    messages = set()
    for url in urls:
        with pytest.raises(UrlNotAllowed) as raised:
            world.fetch(url)
        messages.add(raised.value.message)
    assert len(messages) == 1
    assert not re.search(r"\d", messages.pop())
    assert world.wire.connects == []
