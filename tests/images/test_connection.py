import socket
import time

import pytest

from services.images.connection import Deadline, PinnedConnection, resolve
from tests.images.servers import PICTURE, pictures


def get(host: str, addresses: list[str], port: int, path: str) -> str:
    connection = PinnedConnection(
        host, port, addresses=addresses, tls=None, connect_timeout_s=2, deadline=Deadline(5)
    )
    try:
        connection.request("GET", path)
        with connection.getresponse() as response:
            return response.read().decode("latin-1")
    finally:
        connection.close()


def test_the_connection_goes_to_the_address_in_the_name_of_the_host() -> None:
    with pictures() as port:
        request = get("no-such-name.invalid", ["127.0.0.1"], port, "/echo")
    assert f"Host: no-such-name.invalid:{port}" in request


def test_addresses_are_tried_in_turn() -> None:
    with pictures() as port:
        answer = get("pictures", ["127.0.0.2", "127.0.0.3", "127.0.0.1"], port, "/picture")
    assert answer.encode("latin-1") == PICTURE


def test_the_last_reason_counts_when_no_address_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        get("pictures", ["127.0.0.2", "127.0.0.1"], port, "/")


@pytest.mark.parametrize(
    ("host", "addresses"), [("127.0.0.1", ["127.0.0.1"]), ("127.1", ["127.0.0.1"]), ("::1", ["::1"])]
)
def test_each_address_is_resolved_once(host: str, addresses: list[str]) -> None:
    assert resolve(host, 80, Deadline(5)) == addresses


def test_a_deadline_runs_out() -> None:
    deadline = Deadline(0.05)
    assert 0 < deadline.remaining_s() <= 0.05
    assert not deadline.is_over
    time.sleep(0.06)
    assert deadline.is_over
    with pytest.raises(TimeoutError):
        deadline.remaining_s()
    with pytest.raises(TimeoutError):
        resolve("127.0.0.1", 80, deadline)
