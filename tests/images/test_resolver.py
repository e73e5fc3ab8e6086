import socket
import threading
import time
from ipaddress import ip_address

import pytest

from services.images import resolver
from services.images.deadline import Deadline
from services.images.resolver import Resolver


def test_the_system_is_asked() -> None:
    assert ip_address("127.0.0.1") in Resolver().resolve("localhost", Deadline(5))


def test_answers_keep_their_order_and_are_given_once() -> None:
    found = Resolver(lambda host: ["10.0.0.2", "10.0.0.1", "10.0.0.2", "::1"]).resolve("a.test", Deadline(5))
    assert [str(address) for address in found] == ["10.0.0.2", "10.0.0.1", "::1"]


def test_no_answer_is_an_unknown_name() -> None:
    with pytest.raises(socket.gaierror):
        Resolver(lambda host: []).resolve("a.test", Deadline(5))


@pytest.mark.parametrize("answer", ["a.test", "127.1", "0x7f000001", "", "10.0.0.1/8"])
def test_an_answer_that_is_no_address_is_an_error(answer: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        Resolver(lambda host: [answer]).resolve("a.test", Deadline(5))


def test_what_hangs_is_left_behind_at_the_deadline_and_only_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "MAX_LOOK_UPS", 2)
    answered = threading.Event()
    started = []

    def hangs(host: str) -> list[str]:
        started.append(host)
        answered.wait(30)
        return ["10.0.0.1"]

    slow = Resolver(hangs)
    for host in ("a.test", "b.test", "c.test"):
        with pytest.raises(TimeoutError):
            slow.resolve(host, Deadline(0.5))
    assert started == ["a.test", "b.test"]
    answered.set()
    for _ in range(3):  # the places are free again
        assert slow.resolve("d.test", Deadline(30)) == [ip_address("10.0.0.1")]


def test_a_deadline_that_is_over_starts_nothing() -> None:
    deadline = Deadline(0)
    time.sleep(0.001)
    with pytest.raises(TimeoutError):
        Resolver(lambda host: pytest.fail("asked")).resolve("a.test", deadline)
