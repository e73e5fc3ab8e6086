import socket
import time
from ipaddress import ip_address

import pytest

from services.images.connection import PinnedConnection
from services.images.deadline import Deadline
from tests.images.servers import PICTURE, pictures


def get(host: str, addresses: list[str], port: int, path: str) -> str:
    connection = PinnedConnection(
        host,
        port,
        addresses=[ip_address(address) for address in addresses],
        tls=None,
        connect_timeout_s=2,
        deadline=Deadline(5),
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


def test_a_deadline_runs_out() -> None:
    deadline = Deadline(0.5)
    assert 0 < deadline.remaining_s() <= 0.5
    assert not deadline.is_over
    time.sleep(0.6)
    assert deadline.is_over
    with pytest.raises(TimeoutError):
        deadline.remaining_s()
    with pytest.raises(TimeoutError):
        deadline.at_most(1)
    assert Deadline(60).at_most(0.5).timeout_s == 0.5
    assert 59 < Deadline(60).at_most(600).timeout_s <= 60
