"""The whole of it with nothing arranged inside of Python: a machine with a public address, and another one."""

import json
import shutil
import subprocess
import sys

import pytest

from config.values import CHECKOUT

ISOLATED = ["unshare", "--user", "--map-root-user", "--mount", "--net"]
FETCHED = ["http://public.test/picture", "http://93.184.216.34/picture", "http://public.test/redirect?3/picture"]
REFUSED = [
    "http://own.test/picture",  # this machine's public address
    "http://93.184.216.1/picture",
    "http://inside.test/picture",
    "http://127.0.0.1/picture",
    "http://localhost/picture",
    "http://public.test/redirect_to?http://own.test/picture",
    "http://public.test/redirect_to?http://127.0.0.1/picture",
]


def allowed() -> bool:
    """Whether this system lets a user have networks of their own; containers often do not."""
    if not (shutil.which("unshare") and shutil.which("ip")):
        return False
    attempt = "ip link set lo up && ip link add here type veth peer name there && mount -t tmpfs none /mnt"
    return subprocess.run([*ISOLATED, "sh", "-c", attempt], capture_output=True, check=False).returncode == 0


def test_public_addresses_are_fetched_from_and_own_ones_never_connected_to() -> None:
    if not allowed():
        pytest.skip("needs a network namespace of its own")
    done = subprocess.run(
        [*ISOLATED, sys.executable, "-m", "tests.images.own_network", *FETCHED, *REFUSED],
        cwd=CHECKOUT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    flipping = report["fetches"].pop("http://rebind.test/picture")
    assert set(flipping) == {"picture", "UrlNotAllowed"}
    assert report["fetches"] == {url: ["picture"] for url in FETCHED} | {url: ["UrlNotAllowed"] for url in REFUSED}
    assert report["connects"] == 0
