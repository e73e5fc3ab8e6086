"""The real service in a process of its own, as `python REST.py` starts it."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

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
        return requests.get(self.url + path, params=params, timeout=REQUEST_TIMEOUT_S)

    def post(self, path: str, **body: Any) -> requests.Response:
        return requests.post(self.url + path, timeout=REQUEST_TIMEOUT_S, **body)

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

    def terminate(self) -> int:
        """SIGTERM, as Docker and systemd send it; the exit status."""
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
    environment = {**_without_settings(os.environ), "DRAIN_SECONDS": "0", **settings}
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=CHECKOUT, env=environment, stdout=log, stderr=subprocess.STDOUT
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


def _without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """What a shell has, less what would change the service under test."""
    ours = {"MODEL", "DEVICE", "PORT", "PRIVATE", "IMAGE_ROOTS", "QUEUE_CAPACITY", "LOG_LEVEL"}
    return {name: value for name, value in environment.items() if name not in ours}
