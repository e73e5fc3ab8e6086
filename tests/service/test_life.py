"""Start, overload, failure and stop of the real process."""

import json
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from config.values import CHECKOUT
from tests.service.conftest import DrawnFile
from tests.service.running import REQUEST_TIMEOUT_S, Service, free_port, service

# one picture after another, and slowly: a queue that fills
SLOW = {"MODEL": "demo", "DEVICE": "cpu", "ENGINE": "lavis", "MAX_BATCH": "1"}


def test_a_burst_is_refused_in_part_and_health_goes_on_answering(scenes: list[DrawnFile]) -> None:
    done = threading.Event()
    with service(**SLOW, QUEUE_CAPACITY="8") as small, ThreadPoolExecutor(65) as pool:
        small.wait_until("loaded")

        def ask_for_health() -> list[requests.Response]:
            answers = []
            while not done.is_set():
                answers.append(small.get("/health"))
                time.sleep(0.05)
            return answers

        health = pool.submit(ask_for_health)
        burst = [scene.data for scene in scenes[:64]]
        try:
            answers = list(pool.map(lambda data: small.post("/v3/analyze", files={"file": data}), burst))
        finally:
            done.set()
        assert small.get("/ready").status_code == 200
    assert {answer.status_code for answer in health.result()} == {200}
    # it did not wait for the queue
    assert [answer for answer in health.result() if answer.json()["queue"]["depth"] >= 4]
    served = [answer for answer in answers if answer.status_code == 200]
    assert len(served) >= 9  # the queue, and the one that ran
    assert len(served) < 64
    for answer in answers:
        if answer.status_code != 200:
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "overloaded"
            assert int(answer.headers["Retry-After"]) >= 1


def test_weights_that_cannot_be_downloaded(tmp_path: Path, scenes: list[DrawnFile]) -> None:
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    with service(MODEL="blip_caption/large_coco", DEVICE="cpu", TORCH_HOME=str(tmp_path), **nowhere) as failing:
        health = failing.wait_until("failed")
        assert health["status"] == "unhealthy"
        assert "model_large_caption.pth" in health["error"]
        assert "Connection refused" in health["error"]
        assert failing.get("/health").status_code == 503
        assert failing.get("/ready").status_code == 503
        assert failing.get("/v2/health/live").status_code == 200
        answer = failing.post("/v3/analyze", files={"file": scenes[0].data})
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "model_not_ready"
        assert health["error"] in answer.json()["error"]["message"]
        assert "Retry-After" not in answer.headers


@pytest.mark.parametrize("whole_group", [False, True], ids=["master", "process group"])
def test_sigterm_drains(scenes: list[DrawnFile], whole_group: bool) -> None:
    """Docker signals the first process; systemd, by default, all of them."""
    with service(**SLOW, DRAIN_SECONDS="10") as draining:
        draining.wait_until("loaded")
        with ThreadPoolExecutor(49) as pool:
            running = [
                pool.submit(draining.post, "/v3/analyze", files={"file": scene.data}) for scene in scenes[:48]
            ]
            while draining.get("/health").json()["queue"]["depth"] < 10:
                assert not all(future.done() for future in running), "too fast to be caught"
            stopped = pool.submit(draining.terminate, whole_group)
            wait_for_status(draining, "/ready", 503)
            # the port is open, and says no in words
            refused = draining.post("/v3/analyze", files={"file": scenes[0].data})
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "overloaded")
            assert draining.get("/v2/health/live").status_code == 200
            answers = [future.result() for future in running]
            assert stopped.result() == 0
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert [answer.status_code for answer in answers].count(200) >= 10
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", draining.port), timeout=REQUEST_TIMEOUT_S).close()


@pytest.mark.parametrize("whole_group", [False, True], ids=["master", "process group"])
def test_a_second_sigterm_does_not_wait(whole_group: bool) -> None:
    with service(MODEL="demo", DEVICE="cpu", DRAIN_SECONDS="600", GRACE_SECONDS="600") as draining:
        draining.wait_until("loaded")
        with ThreadPoolExecutor(1) as pool:
            stopped = pool.submit(draining.terminate, whole_group)
            wait_for_status(draining, "/ready", 503)
            time.sleep(1.5)
            assert not stopped.done()
            assert draining.terminate(whole_group) == 0


def wait_for_status(running: Service, path: str, status: int) -> None:
    for _ in range(100):
        if running.get(path).status_code == status:
            return
        time.sleep(0.02)
    raise AssertionError(f"{path} never answered {status}")


def test_gunicorns_own_command_starts_the_same(scenes: list[DrawnFile]) -> None:
    command = ("-m", "gunicorn", "-c", "config/gunicorn.conf.py", "REST:create_app()")
    with service(command, MODEL="demo", DEVICE="cpu", IMAGE_ROOTS=str(scenes[0].path.parent)) as started:
        started.wait_until("loaded")
        answer = started.get("/v3/analyze", file=str(scenes[0].path))
        assert answer.json()["status"] == "success"


def test_private_listens_on_this_machine_and_refuses_foreign_hosts() -> None:
    with service(MODEL="demo", DEVICE="cpu", PRIVATE="true") as private:
        private.wait_until("loading")
        answer = requests.get(f"{private.url}/health", headers={"Host": "evil.example"}, timeout=REQUEST_TIMEOUT_S)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "host_not_allowed")
        listeners = Path("/proc/net/tcp")
        if listeners.exists():
            bound = [line.split()[1] for line in listeners.read_text().splitlines()[1:] if line.split()[3] == "0A"]
            assert f"0100007F:{private.port:04X}" in bound
            assert f"00000000:{private.port:04X}" not in bound


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400, "bad_request"),
        (b"nonsense\r\n\r\n", 400, "bad_request"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "uri_too_long"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431, "headers_too_large"),
    ],
)
def test_what_the_parser_rejects_is_answered_in_json(demo: Service, raw: bytes, status: int, code: str) -> None:
    with socket.create_connection(("127.0.0.1", demo.port), timeout=REQUEST_TIMEOUT_S) as connection:
        connection.sendall(raw)
        answer = b""
        while data := connection.recv(65536):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == str(status).encode()
    assert b"X-Request-ID" in head
    assert json.loads(body)["error"]["code"] == code


@pytest.mark.parametrize(
    ("name", "value"), [("PORT", "http"), ("PRIVATE", "maybe"), ("QUEUE_CAPACITY", "0"), ("MODEL", "large")]
)
def test_a_bad_setting_stops_the_start_and_is_named(name: str, value: str) -> None:
    for command in (["REST.py"], ["-m", "gunicorn", "-c", "config/gunicorn.conf.py", "REST:create_app()"]):
        environment = {"PATH": "/usr/bin:/bin", "PORT": str(free_port()), name: value}
        ended = subprocess.run(
            [sys.executable, *command], cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode != 0
        assert f"{name}='{value}'" in ended.stderr
        assert "allowed:" in ended.stderr
        assert "Traceback" not in ended.stderr
