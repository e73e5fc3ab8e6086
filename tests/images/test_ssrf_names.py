"""Answers of hostile name servers, with each TCP connection of the fetcher counted at the socket."""

import pytest

from services.errors import UrlNotAllowed
from services.images import fetch
from services.images.policy import UrlPolicy
from tests.images.internet import A, MakeInternet, answers
from tests.images.name_server import Script
from tests.images.servers import PICTURE

SERVFAIL, NXDOMAIN = 2, 3


def test_an_answer_that_changes_after_it_was_judged_changes_nothing(internet: MakeInternet) -> None:
    """D01: public when judged, this machine a moment later."""
    world = internet(lambda name, kind, times: [f"A {'127.0.0.1' if times else A}"] if kind == "A" else [])
    assert world.fetch("http://rebind.test/picture") == PICTURE
    assert world.wire.connects == [(A, 80)]
    assert world.names.asked.count(("rebind.test", "A")) == 1


def test_a_name_that_flips_at_every_question_never_leads_inside(internet: MakeInternet) -> None:
    """D02."""
    world = internet(lambda name, kind, times: [f"A {'127.0.0.1' if times % 2 else A}"] if kind == "A" else [])
    fetched = 0
    for _ in range(50):
        try:
            fetched += world.fetch("http://rebind.test/picture") == PICTURE
        except UrlNotAllowed:
            continue
    assert fetched == 25
    assert world.wire.connects == [(A, 80)] * 25


@pytest.mark.parametrize(
    "script",
    [
        answers("A 8.8.8.8", "A 10.0.0.1"),  # D03
        answers("A 10.0.0.1", "A 8.8.8.8"),
        answers(f"A {A}", "AAAA ::1"),  # D04
        answers(f"A {A}", "AAAA ::ffff:10.0.0.1"),  # D05
        answers(f"A {A}", "AAAA 64:ff9b::a00:1"),
        answers(f"A {A}", "AAAA 2002:7f00:1::"),
        answers("CNAME b.test.", "CNAME c.test.", "A 10.0.0.1"),  # D06
        answers(*(f"A 93.184.216.{n}" for n in range(99)), "A 10.0.0.1"),  # D11
    ],
)
def test_one_answer_that_leads_inside_is_enough(internet: MakeInternet, script: Script) -> None:
    assert internet(script).refusal("http://a.test/picture") == []


@pytest.mark.parametrize("script", [answers(), lambda *_: NXDOMAIN, lambda *_: SERVFAIL])
def test_a_name_without_an_address_is_an_error(internet: MakeInternet, script: Script) -> None:
    """D07."""
    assert internet(script).failure("http://a.test/") == "no such host"


def test_a_name_server_that_never_answers_is_left(internet: MakeInternet, monkeypatch: pytest.MonkeyPatch) -> None:
    """D08."""
    world = internet(lambda *_: None)
    assert world.failure("http://a.test/", timeout_s=0.3) == "timed out after 0.3 s"
    monkeypatch.setattr(fetch, "LOOK_UP_TIMEOUT_S", 0.2)
    assert world.failure("http://a.test/") == "its name was not found within 0.2 s"


@pytest.mark.parametrize("name", ["a" * 64 + ".test", "a." * 125 + "test", "a" * 1024 + ".test"])
def test_a_name_that_is_too_long_is_not_asked_for(internet: MakeInternet, name: str) -> None:
    """D09."""
    world = internet()
    assert world.refusal(f"http://{name}/") == []
    assert world.names.asked == []


def test_a_name_is_judged_again_at_every_hop(internet: MakeInternet) -> None:
    """D10: public at the first hop, private at the second, under the same name."""
    world = internet(lambda name, kind, times: [f"A {'10.0.0.1' if times else A}"] if kind == "A" else [])
    assert world.refusal("http://rebind.test/redirect_to?/picture") == [(A, 80)]
    assert world.names.asked.count(("rebind.test", "A")) == 2


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("localhost", "127.0.0.1"),  # D12
        ("localhost.localdomain", "127.0.0.1"),
        ("metadata.google.internal", "169.254.169.254"),
        ("any.internal", "10.0.0.1"),
        ("x.localtest.me", "127.0.0.1"),
        ("127.0.0.1.nip.io", "127.0.0.1"),
        ("intranet", A),
    ],
)
def test_names_that_lead_inside_are_refused(internet: MakeInternet, name: str, address: str) -> None:
    assert internet(answers(f"A {address}")).refusal(f"http://{name}/") == []


def test_a_listed_name_may_lead_inside(internet: MakeInternet, site: int) -> None:
    script = answers("A 127.0.0.1")
    world = internet(script, UrlPolicy(ports=[site], hosts=["photos.home"]))
    assert world.fetch(f"http://photos.home:{site}/picture") == PICTURE
    assert world.wire.connects == [("127.0.0.1", site)]
    world.wire.connects.clear()
    assert world.refusal(f"http://other.home:{site}/picture") == []
