"""A host name -> its addresses, in bounded time."""

import queue
import socket
import threading
from collections.abc import Callable, Iterable
from ipaddress import ip_address

from services.images.addresses import IPAddress
from services.images.deadline import Deadline

MAX_LOOK_UPS = 128  # at once; those that were left behind count

LookUp = Callable[[str], Iterable[str]]


def system_look_up(host: str) -> list[str]:
    """All addresses, in the order in which they should be tried. Raises socket.gaierror."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


class Resolver:
    """Runs `look_up`, which takes no time-out, in a thread of its own. Thread-safe."""

    def __init__(self, look_up: LookUp = system_look_up) -> None:
        self._look_up = look_up
        self._places = threading.BoundedSemaphore(MAX_LOOK_UPS)

    def resolve(self, host: str, deadline: Deadline) -> list[IPAddress]:
        """At least one address. Raises socket.gaierror, TimeoutError, and ValueError for an answer that is none.

        A look-up that hangs is left behind in its thread until the system gives it up.
        """
        if not self._places.acquire(timeout=deadline.remaining_s()):
            raise TimeoutError
        answers: queue.SimpleQueue[list[IPAddress] | OSError | ValueError] = queue.SimpleQueue()

        def look_up() -> None:
            try:
                answers.put([ip_address(text) for text in dict.fromkeys(self._look_up(host))])
            except (OSError, ValueError) as exc:
                answers.put(exc)
            finally:
                self._places.release()

        threading.Thread(target=look_up, name="look-up", daemon=True).start()
        try:
            answer = answers.get(timeout=deadline.remaining_s())
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(answer, Exception):
            raise answer
        if not answer:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        return answer
