"""`unshare --user --map-root-user --mount --net python -m tests.images.own_network`: an internet of two machines.

    this one: the fetcher, a name server, a web server         the other one: a web server
    127.0.0.1, 93.184.216.1 ──────────── a cable ──────────── 93.184.216.34

Nothing is arranged inside of Python: the system's own resolver, real addresses, port 80. Prints what became of
each fetch, and how often this machine's own web server was connected to, as JSON.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable

from services.errors import CaptioningError
from services.images.fetch import UrlFetcher
from tests.images.name_server import name_server
from tests.images.servers import PICTURE, Pictures, Server, serving

HERE, OTHER = "93.184.216.1", "93.184.216.34"


def script(name: str, kind: str, times: int) -> list[str]:
    if kind != "A":
        return []
    flips = "127.0.0.1" if times % 2 else OTHER
    return [f"A {({'own.test': HERE, 'rebind.test': flips, 'inside.test': '127.0.0.1'}).get(name, OTHER)}"]


def outcomes(urls: Iterable[str]) -> dict[str, list[str]]:
    """URL -> what became of each of its fetches, by a fetcher as the service has it."""
    fetcher = UrlFetcher(100_000)
    found: dict[str, list[str]] = {}
    for url in urls:
        try:
            outcome = "picture" if fetcher.fetch(url, timeout_s=10) == PICTURE else "something else"
        except CaptioningError as error:
            outcome = type(error).__name__
        found.setdefault(url, []).append(outcome)
    return found


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


def other_machine() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()  # until the cable is there
    ip(f"addr add {OTHER}/24 dev there")
    ip("link set there up")
    with serving(Server(("", 80), Pictures)):
        sys.stdout.write("serving\n")
        sys.stdout.flush()
        sys.stdin.readline()


def this_machine() -> None:
    ip("link set lo up")
    command = ["unshare", "--net", sys.executable, "-m", __spec__.name, "other"]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other,
        tempfile.NamedTemporaryFile("w") as resolv_conf,
    ):
        assert other.stdin
        assert other.stdout
        other.stdout.readline()
        ip(f"link add here type veth peer name there netns {other.pid}")
        ip(f"addr add {HERE}/24 dev here")
        ip("link set here up")
        other.stdin.write("go\n")
        other.stdin.flush()
        other.stdout.readline()
        resolv_conf.write("nameserver 127.0.0.1\n")
        resolv_conf.flush()
        subprocess.run(["mount", "--bind", resolv_conf.name, "/etc/resolv.conf"], check=True)
        with serving(Server(("", 80), Pictures)) as own, name_server(script, port=53):
            urls = [*sys.argv[1:], *["http://rebind.test/picture"] * 20]
            report = {"fetches": outcomes(urls), "connects": own.accepted}
        other.stdin.write("end\n")
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    other_machine() if sys.argv[1:] == ["other"] else this_machine()
