"""The real service in a process of its own, as `python REST.py` starts it."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from config.settings_docs import env_example
from config.values import CHECKOUT

START_TIMEOUT_S = 240  # importing LAVIS on a busy machine
STOP_TIMEOUT_S = 60
REQUEST_TIMEOUT_S = 120


@dataclass
class Service:
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, **params: str) -> requests.Response:
        return self._ask("GET", path, params=params)

    def post(self, path: str, **body: Any) -> requests.Response:
        return self._ask("POST", path, **body)

    def _ask(self, method: str, path: str, **what: Any) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False  # no proxy on the way to this machine
            return session.request(method, self.url + path, timeout=REQUEST_TIMEOUT_S, **what)

    def wait_until(self, model_status: str) -> dict[str, Any]:
        """The /health that first shows `model_status`."""
        health: dict[str, Any] = {}
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                health = self.get("/health").json()
            except requests.ConnectionError:
                health = {}
            if health.get("model_status") == model_status:
                return health
            time.sleep(0.1)
        raise AssertionError(f"never {model_status}: {health}\n{self.log.read_text()}")

    def terminate(self, whole_group: bool = False) -> int:
        """SIGTERM; the exit status."""
        if whole_group:
            os.killpg(self.process.pid, signal.SIGTERM)
        else:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_TIMEOUT_S)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@contextmanager
def service(command: tuple[str, ...] = ("REST.py",), /, **settings: str) -> Iterator[Service]:
    """A service on `settings` (environment names). Ended by SIGTERM without a drain, by SIGKILL at last."""
    port = int(settings.setdefault("PORT", str(free_port())))
    environment = {**os.environ, **_defaults(), "DRAIN_SECONDS": "0", **settings}
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=CHECKOUT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a process group of its own, to be signalled as a whole
        )
        started = Service(port, process, Path(log.name))
        try:
            yield started
        finally:
            if process.poll() is None:
                try:
                    started.terminate()
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(STOP_TIMEOUT_S)


def _defaults() -> dict[str, str]:
    """Every setting at its default, so that neither the shell nor a .env of the checkout has a say."""
    lines = [line.removeprefix("#") for line in env_example().splitlines() if line.startswith("#")]
    settings = [line.partition("=") for line in lines if line.partition("=")[0].isidentifier()]
    return {name: value for name, _, value in settings}
