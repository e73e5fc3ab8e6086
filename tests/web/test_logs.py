"""What the log says of a request, and what it must not say."""

import json
import logging
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from config.values import CHECKOUT
from tests.fakes import make_app, wait_for
from tests.service.running import free_port, service
from tests.web.answers import TEAL_BASE64, TEAL_PNG
from tests.web.api_keys import KEY, KEYS, line_for
from tests.web.test_sockets import answers

SECRET = "s3cr3t-0123456789"
DATA_URI = f"data:image/png;base64,{TEAL_BASE64}"

# Requests with a secret wherever one can be: a key, a password in a URL, the picture itself.
WITH_SECRETS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/analyze", {"headers": {"Authorization": f"Bearer {KEY}"}, "data": TEAL_PNG}),
    ("POST", "/analyze", {"headers": {"X-API-Key": SECRET}, "data": TEAL_PNG}),
    ("GET", f"/v1/models?api_key={SECRET}", {"headers": {"X-API-Key": KEY}}),
    ("GET", "/analyze", {"headers": {"X-API-Key": KEY}, "query_string": {"url": f"http://u:{SECRET}@a.example/"}}),
    ("POST", "/analyze", {"headers": {"X-API-Key": KEY}, "json": {"url": f"https://u:{SECRET}@a.example/a.png"}}),
    ("POST", "/v3/analyze", {"headers": {"X-API-Key": KEY}, "json": {"image": DATA_URI}}),
    ("POST", "/v3/analyze", {"headers": {"X-API-Key": KEY}, "json": {"model": DATA_URI, "image": DATA_URI}}),
    ("GET", f"/v3/analyze/https://u:{SECRET}@a.example/a.png", {"headers": {"X-API-Key": KEY}}),
    ("GET", f"/image2caption/https://{SECRET}@a.example/a.png", {}),
    ("GET", f"/v3/analyze/{DATA_URI}", {"headers": {"X-API-Key": KEY}}),
    ("POST", f"/image2caption/{DATA_URI}", {"headers": {"X-API-Key": KEY}}),
    ("GET", "/analyze", {"headers": {"Cookie": f"session={SECRET}", "X-Request-ID": f"a {SECRET}"}}),
]


def is_clean(text: str) -> bool:
    return not any(secret in text for secret in (SECRET, KEY, TEAL_BASE64[:40], TEAL_BASE64[-40:]))


@pytest.mark.parametrize(("method", "path", "args"), WITH_SECRETS)
def test_no_secret_in_a_line(
    caplog: pytest.LogCaptureFixture, method: str, path: str, args: dict[str, Any]
) -> None:
    caplog.set_level(logging.DEBUG)
    with make_app(api_keys=KEYS) as app:
        client: FlaskClient = app.test_client()
        response = client.open(path, method=method, **args)
    lines = [record.getMessage() for record in caplog.records if record.name == "services.web.app"]
    assert len(lines) == 1
    assert lines[0].startswith(f"{response.headers['X-Request-ID']} 127.0.0.1 {method} /")
    assert f" {response.status_code} " in lines[0]
    assert is_clean(caplog.text)


def test_a_long_path_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with make_app() as app:
        app.test_client().get("/" + "a" * 5000)
    lines = [record.getMessage() for record in caplog.records if record.name == "services.web.app"]
    assert ["a" * 150 in line and len(line) < 300 for line in lines] == [True]


REJECTED = [
    b"GET /analyze?key=%b\r\n\r\n",
    b"GET /analyze HTTP/1.1\r\nHost: x\r\nAuthorization Bearer %b\r\n\r\n",
    b"GET /analyze?key=%b HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET /analyze?key=%b" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"%b / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /analyze HTTP/1.1\r\nHost: x\r\nX-API-Key: %b\r\nContent-Le",  # and gone
    b"POST /analyze HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nX-API-Key: %b\r\n\r\n%b\r\n",
]


def exchange(port: int, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer


def test_the_log_of_the_real_process(tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text(f"{line_for('anna', KEY)}\n")
    settings = {"API_KEYS_FILE": str(keys), "TRUSTED_PROXIES": "127.0.0.1", "RATE_LIMIT": "3/day"}
    with service(MODEL="demo", LOG_LEVEL="debug", **settings) as running:
        port = running.port
        wait_for(lambda: answers(port), timeout_s=60)
        answered = b"GET /v1/models?k=%b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-ID: the-id\r\n"
        answered += b"X-Forwarded-For: 203.0.113.7\r\nX-API-Key: %b\r\n\r\n"
        assert exchange(port, answered % (SECRET.encode(), KEY.encode())).startswith(b"HTTP/1.1 200 ")
        assert exchange(port, answered % (SECRET.encode(), SECRET.encode())).startswith(b"HTTP/1.1 401 ")
        ids = [
            json.loads(answer.partition(b"\r\n\r\n")[2]) and re.search(rb"X-Request-ID: (\w{32})\r\n", answer)
            for sent in REJECTED
            if (answer := exchange(port, sent.replace(b"%b", SECRET.encode())))
        ]
        anna = [exchange(port, answered % (b"", KEY.encode())).split(b" ")[1] for _ in range(3)]
        assert anna == [b"200", b"200", b"429"]
        log = running.log.read_text()
    assert re.search(r"the-id 203\.0\.113\.7 GET /v1/models 200 \d+ ms ok\n", log)
    assert re.search(r"the-id 203\.0\.113\.7 GET /v1/models 401 \d+ ms unauthorized\n", log)
    assert len(ids) >= 6
    assert all(found and f"{found[1].decode()} 127.0.0.1 " in log for found in ids)
    assert is_clean(log)


def test_a_broken_file_of_keys_stops_the_start(tmp_path: Path) -> None:
    keys = tmp_path / "keys.txt"
    keys.write_text(f"{line_for('anna', KEY)}\n{SECRET}\n")
    for command in (["REST.py"], ["-m", "gunicorn", "-c", "config/gunicorn.conf.py", "REST:create_app()"]):
        ended = subprocess.run(
            [sys.executable, *command],
            cwd=CHECKOUT,
            env={**os.environ, "MODEL": "demo", "API_KEYS_FILE": str(keys), "PORT": str(free_port())},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert ended.returncode != 0
        assert f"API_KEYS_FILE {keys} line 2 cannot be understood: write NAME sha256:HEX" in ended.stderr
        assert is_clean(ended.stderr)
