"""A hostile internet on this machine: a real name server, real web servers, and each TCP connection counted."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from services.errors import UrlNotAllowed, UrlUnreachable
from services.images.fetch import UrlFetcher
from services.images.policy import UrlPolicy
from tests.images.name_server import NameServer, Script, name_server
from tests.images.servers import pictures
from tests.images.wire import Wire, counted

MAX_BYTES = 20_000
A, B = "93.184.216.34", "93.184.216.35"  # two public addresses: a.test and b.test, when nothing else is said


def public_names(name: str, kind: str, times: int) -> list[str]:
    return [f"A {B if name == 'b.test' else A}"] if kind == "A" else []


def answers(*lines: str) -> Script:
    """The same lines for every name, each for its own kind of question."""
    return lambda name, kind, times: list(lines)


class Internet:
    """A name server on `script`, web servers behind A and B, and a fetcher that knows no others."""

    def __init__(
        self, stack: ExitStack, site: int, script: Script, policy: UrlPolicy | None, tls: ssl.SSLContext | None
    ) -> None:
        self.names: NameServer = stack.enter_context(name_server(script))
        self.wire: Wire = stack.enter_context(counted())
        self.wire.carries |= {A: site, B: site}
        self.fetcher = UrlFetcher(MAX_BYTES, policy, tls=tls, look_up=self.names.look_up)

    def fetch(self, url: str, timeout_s: float = 5) -> bytes:
        return self.fetcher.fetch(url, timeout_s)

    def refusal(self, url: str) -> list[tuple[str, int]]:
        """Who was connected to until the URL was refused, with the one text of all refusals."""
        with pytest.raises(UrlNotAllowed) as raised:
            self.fetch(url)
        assert raised.value.message == UrlNotAllowed().message
        return self.wire.connects

    def failure(self, url: str, timeout_s: float = 5) -> str:
        with pytest.raises(UrlUnreachable) as raised:
            self.fetch(url, timeout_s)
        return raised.value.message.removeprefix("Failed to download image: ")


@pytest.fixture(scope="module")
def site() -> Iterator[int]:
    with pictures() as port:
        yield port


MakeInternet = Callable[..., Internet]


@pytest.fixture
def internet(site: int) -> Iterator[MakeInternet]:
    with ExitStack() as stack:

        def make(
            script: Script = public_names, policy: UrlPolicy | None = None, tls: ssl.SSLContext | None = None
        ) -> Internet:
            return Internet(stack, site, script, policy, tls)

        yield make
