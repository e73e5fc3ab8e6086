"""Ten thousand broken requests through raw sockets: each answer is one of the contract's, and the service lives.

Of one that fails: `odd_request(number, SEED)` is the same bytes again.
"""

import json
import re
import select
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.clients import colour_of, upload
from tests.faults.faulty import STALL_S, faulty_service, worker_of
from tests.faults.mutations import odd_request

SEED = 5_010
REQUESTS = 10_000
WARM_UP = 1_000  # requests, before memory is looked at
MAX_GROWTH_BYTES = 64 * 2**20
AT_ONCE = 12
QUIET_S = 0.5  # without an answer for so long: the service waits for more, and is told that there is none
WAIT_S = 120.0

# CONTRACTS, without 500; 204 answers OPTIONS
ALLOWED = {200, 204, 400, 401, 403, 404, 405, 408, 413, 414, 415, 422, 429, 431, 503, 504}
STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3}) [ -~]*")


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes


def exchange(port: int, sent: bytes) -> bytes:
    """Whatever comes back, until the service closes the connection, or has answered and waits for more."""
    received, told = b"", False
    until = time.monotonic() + WAIT_S
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as connection:
        try:
            connection.sendall(sent)
            while time.monotonic() < until:
                if select.select([connection], [], [], QUIET_S)[0]:
                    piece = connection.recv(65536)
                    if not piece:
                        return received
                    received += piece
                elif received and told:
                    return received
                elif not told:
                    connection.shutdown(socket.SHUT_WR)
                    told = True
        except (ConnectionResetError, BrokenPipeError):  # it hung up on what it did not want to read
            return received
    raise AssertionError("the service neither answered nor hung up")


def responses(received: bytes) -> list[Response]:
    """All of a connection's. Raises AssertionError for what is no HTTP."""
    found = []
    while received:
        head, end, rest = received.partition(b"\r\n\r\n")
        line, *lines = head.split(b"\r\n")
        matched = STATUS_LINE.fullmatch(line)
        assert end, head
        assert matched, line
        pairs = [one.decode().partition(":") for one in lines]
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = b""
        if headers.get("transfer-encoding") == "chunked":
            body, _, rest = rest.partition(b"0\r\n\r\n")
        elif not STATUS_LINE.match(rest):  # the answer to HEAD has no body
            length = int(headers.get("content-length", len(rest)))
            body, rest = rest[:length], rest[length:]
        found.append(Response(int(matched[1]), headers, body))
        received = rest
    return found


def complaint(response: Response) -> str:
    """What is wrong about it; empty for nothing."""
    if response.status == 100:
        return ""
    if response.status not in ALLOWED:
        return "a status that the contract does not have"
    if "x-request-id" not in response.headers:
        return "no X-Request-ID"
    kind = response.headers.get("content-type", "")
    if not response.body or kind.startswith("text/event-stream"):
        return ""
    try:
        json.loads(response.body)
    except ValueError:
        return "no JSON"
    return "" if kind == "application/json" else f"content type {kind}"


def resident_bytes(process: int) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmRSS:")))


@pytest.mark.slow
def test_10000_broken_requests() -> None:
    statuses: Counter[int] = Counter()
    wrong: list[str] = []

    def ask(number: int) -> None:
        sent = odd_request(number, SEED)
        try:
            answers = responses(exchange(running.port, sent))
        except (AssertionError, UnicodeDecodeError) as exc:
            wrong.append(f"{number}: {exc!r}")
            return
        statuses.update(answer.status for answer in answers)
        wrong.extend(f"{number}: {why}: {one.body[:300]!r}" for one in answers if (why := complaint(one)))

    # a port that no URL of a broken request names: all are refused before a name is looked up
    settings = {"URL_ALLOWED_PORTS": "65535", "LOG_LEVEL": "error", STALL_S: "5"}
    with faulty_service(0.0, "", **settings) as running, ThreadPoolExecutor(AT_ONCE) as pool:
        worker = worker_of(running)
        list(pool.map(ask, range(WARM_UP)))
        before = resident_bytes(worker)
        list(pool.map(ask, range(WARM_UP, REQUESTS)))
        growth = resident_bytes(worker) - before
        assert upload(running.port, colour_of(7)).is_own_caption
        assert worker_of(running) == worker, "the process ended, and another began"
        log = running.log.read_text()
    print(f"{statuses.most_common()}, {growth / 2**20:.1f} MiB more")
    assert not wrong, "\n".join([*wrong[:20], log[-3_000:]])
    assert growth < MAX_GROWTH_BYTES
    assert statuses[200] >= REQUESTS // 20  # not all are so broken that nothing is behind the parser
    assert len(statuses) >= 8
