"""A real name server on this machine, whose answers a test scripts, and a client that asks it and nobody else."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.rcode
import dns.resolver
import dns.rrset

# (name without its last dot, "A" or "AAAA", how often it was asked that before) -> lines "TYPE data"; a line
# "CNAME b.test." says that the lines after it are b.test's. None: no answer ever. A number: that RCODE.
Script = Callable[[str, str, int], list[str] | int | None]


@dataclass
class NameServer:
    script: Script
    port: int
    asked: list[tuple[str, str]] = field(default_factory=list)

    def look_up(self, host: str) -> list[str]:
        """What the system's look-up does, on this server: addresses of both kinds, or socket.gaierror."""
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.port = ["127.0.0.1"], self.port
        resolver.lifetime = resolver.timeout = 60  # asked once: the script counts
        found: list[str] = []
        for kind in ("A", "AAAA"):
            try:
                answer = resolver.resolve(host + ".", kind, raise_on_no_answer=False)
            except dns.resolver.LifetimeTimeout:
                raise TimeoutError from None
            except (dns.resolver.NXDOMAIN, dns.resolver.NoNameservers):
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
            found += [record.to_text() for record in answer.rrset or ()]
        return found

    def answer(self, wire: bytes) -> bytes | None:
        query = dns.message.from_wire(wire)
        name, kind = query.question[0].name, dns.rdatatype.to_text(query.question[0].rdtype)
        asked = (name.to_text(omit_final_dot=True), kind)
        lines = self.script(*asked, self.asked.count(asked))
        self.asked.append(asked)
        if lines is None:
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        if isinstance(lines, int):
            response.set_rcode(dns.rcode.Rcode(lines))
            return response.to_wire()
        for line in lines:
            record_kind, _, data = line.partition(" ")
            if record_kind in ("CNAME", kind):
                response.answer.append(dns.rrset.from_text(name, 0, "IN", record_kind, data))
            if record_kind == "CNAME":
                name = dns.name.from_text(data)
        return response.to_wire(max_size=65535)


@contextmanager
def name_server(script: Script, port: int = 0) -> Iterator[NameServer]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", port))
        server = NameServer(script, listener.getsockname()[1])

        def serve() -> None:
            while True:
                wire, client = listener.recvfrom(4096)
                if not wire:  # the test is over
                    return
                if answer := server.answer(wire):
                    listener.sendto(answer, client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
                end.sendto(b"", ("127.0.0.1", server.port))
            thread.join()
