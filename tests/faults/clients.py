"""Clients of the service, each request on a connection of its own; some leave before they have their answer."""

import http.client
import json
import random
import socket
import struct
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from enum import Enum

from tests.fakes import Colour, colour_caption, picture

WAIT_S = 60.0  # longer counts as hung


class Leaves(Enum):
    """Where a client hangs up."""

    IN_ITS_HEAD = "in its head"
    IN_ITS_BODY = "in its body"
    AFTER_IT = "after it"
    LATER = "while it waits"


@dataclass(frozen=True)
class Outcome:
    """What became of a request: the answer, or where its client left."""

    colour: Colour
    left: Leaves | None = None
    status: int = 0
    code: str = "ok"  # of the error
    text: str = ""  # the caption
    retry_after: str | None = None

    @property
    def is_own_caption(self) -> bool:
        return self.status == 200 and self.text == colour_caption(self.colour)

    @property
    def is_refusal(self) -> bool:
        in_words = (self.status, self.code) == (503, "overloaded")
        return in_words and self.retry_after is not None and int(self.retry_after) >= 1


def colour_of(number: int) -> Colour:
    """Another one for each number below 65,536; none of them is one of the faults."""
    return (number % 5, number >> 8, number & 255)


def request_of(colour: Colour) -> tuple[bytes, bytes]:
    """Head and body of an upload."""
    body = picture(colour)
    head = "POST /v3/analyze HTTP/1.1\r\nHost: test\r\nContent-Type: image/png\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode(), body


def upload(
    port: int,
    colour: Colour,
    leaves: Leaves | None = None,
    chance: random.Random | None = None,
    wait: Callable[[float], object] = time.sleep,
) -> Outcome:
    """Send a picture, and read the answer unless the client leaves. chance: of what a client does that leaves.
    wait: what one does that leaves later; it gets a number of seconds.

    Raises OSError (TimeoutError among them) and http.client.HTTPException where there is no answer.
    """
    chance = chance or random.Random(0)
    head, body = request_of(colour)
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as connection:
        if not leaves:
            connection.sendall(head + body)
            return answer(connection, colour)
        whole = head + body
        most = {Leaves.IN_ITS_HEAD: len(head) - 1, Leaves.IN_ITS_BODY: len(whole) - 1}.get(leaves, len(whole))
        least = {Leaves.IN_ITS_HEAD: 0, Leaves.IN_ITS_BODY: len(head)}.get(leaves, len(whole))
        connection.sendall(whole[: chance.randint(least, most)])
        if leaves is Leaves.LATER:
            wait(chance.uniform(0.0, 0.3))
        if chance.random() < 0.5:  # a reset in place of a farewell
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return Outcome(colour, leaves)


def answer(connection: socket.socket, colour: Colour) -> Outcome:
    with closing(http.client.HTTPResponse(connection)) as response:
        response.begin()
        body = json.loads(response.read())
        text = body["predictions"][0]["text"] if response.status == 200 else ""
        code = body["error"]["code"] if response.status != 200 else "ok"
        return Outcome(colour, None, response.status, code, text, response.getheader("Retry-After"))
