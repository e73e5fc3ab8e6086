"""services/client.py against the application, and against servers that are in trouble."""

import dataclasses
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.client import Caption, Emoji, ServiceError, caption
from tests.client.conftest import CAPTION
from tests.images.servers import raw, sends
from tests.web.answers import TEAL_PNG
from tests.web.listening import CONFIDENCE, ListeningCaptioner

ROOT = Path(__file__).parents[2]
FOUND = Caption(CAPTION, (Emoji("🛹", "skateboard"),), CONFIDENCE, "fake/colours")


@contextmanager
def answering(*answers: tuple[int, dict[str, str], bytes]) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A server that gives these answers, one after the other; its URL, and the headers of what it was asked."""
    left, asked = list(answers), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(dict(self.headers))
            status, headers, body = left.pop(0)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def failure(code: str) -> bytes:
    return json.dumps({"status": "error", "error": {"code": code, "message": "so it is"}}).encode()


SUCCESS = json.dumps(
    {
        "status": "success",
        "predictions": [{"text": "a dog", "emoji_mappings": [], "confidence": None}],
        "metadata": {"model_info": {"model": "some"}},
    }
).encode()
BUSY = (503, {"Retry-After": "7"}, failure("overloaded"))


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds: list[float] = []
    monkeypatch.setattr("services.client.time.sleep", seconds.append)
    return seconds


def test_what_a_picture_may_be(server: str, tmp_path: Path) -> None:
    file = tmp_path / "Фото 1.png"
    file.write_bytes(TEAL_PNG)
    assert [caption(one, server) for one in (file, str(file), TEAL_PNG)] == [FOUND] * 3


def test_a_url_is_fetched_by_the_service(server: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(TEAL_PNG)}\r\nConnection: close\r\n\r\n".encode()
    with raw(sends(head + TEAL_PNG)) as port:
        assert caption(f"http://127.0.0.1:{port}/a.png", server + "/") == FOUND


def test_options_are_handed_on(server: str, captioner: ListeningCaptioner) -> None:
    assert caption(TEAL_PNG, server, prompt="a photo of", num_beams=5).text == f"a photo of {CAPTION}"
    asked = captioner.asked[-1]
    assert asked is not None
    assert asked.num_beams == 5


def test_a_caption_cannot_be_changed(server: str) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        caption(TEAL_PNG, server).text = "else"  # type: ignore[misc]


def test_a_refusal_has_the_code_and_message_of_the_service(server: str) -> None:
    with pytest.raises(ServiceError) as caught:
        caption(b"no picture", server)
    error = caught.value
    assert (error.code, error.message, error.status) == ("unsupported_format", "File type not allowed", 415)


def test_the_key_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))  # requests would send that in Authorization
    with answering((200, {}, SUCCESS), (200, {}, SUCCESS)) as (url, asked):
        assert caption(TEAL_PNG, url, key="secret") == Caption("a dog", (), None, "some")
        caption(TEAL_PNG, url)
    assert [headers.get("X-API-Key") for headers in asked] == ["secret", None]


def test_the_key_follows_no_redirect() -> None:
    with answering((200, {}, SUCCESS)) as (elsewhere, asked):
        away = (307, {"Location": elsewhere}, b"")
        with answering(away) as (url, _), pytest.raises(ServiceError, match="status 307"):
            caption(TEAL_PNG, url, key="secret")
    assert asked == []


def test_fewer_than_no_retries_are_none(waited: list[float]) -> None:
    with answering(BUSY) as (url, _), pytest.raises(ServiceError, match="overloaded"):
        caption(TEAL_PNG, url, retries=-1)
    assert waited == []


def test_it_comes_back_when_it_is_told_to(waited: list[float]) -> None:
    with answering(BUSY, (503, {"Retry-After": "9999"}, failure("overloaded")), (200, {}, SUCCESS)) as (url, _):
        assert caption(TEAL_PNG, url).text == "a dog"
    assert waited == [7, 30]


def test_it_does_not_come_back_for_ever(waited: list[float]) -> None:
    with answering(BUSY, BUSY, BUSY) as (url, asked), pytest.raises(ServiceError, match="overloaded: so it is"):
        caption(TEAL_PNG, url, retries=2)
    assert (len(asked), waited) == (3, [7, 7])


@pytest.mark.parametrize(
    "trouble", [(503, {}, failure("model_not_ready")), (429, {"Retry-After": "1"}, failure("rate_limited"))]
)
def test_what_is_not_tried_again(waited: list[float], trouble: tuple[int, dict[str, str], bytes]) -> None:
    with answering(trouble) as (url, _), pytest.raises(ServiceError) as caught:
        caption(TEAL_PNG, url)
    assert (caught.value.status, waited) == (trouble[0], [])


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b'{"status": "success"}', b'{"status": "error"}'])
def test_an_answer_of_something_else(body: bytes) -> None:
    with answering((200, {}, body)) as (url, _), pytest.raises(ServiceError) as caught:
        caption(TEAL_PNG, url)
    assert caught.value.code == "bad_answer"


def test_nobody_there() -> None:
    with pytest.raises(ServiceError, match="is the service running") as caught:
        caption(TEAL_PNG, "http://127.0.0.1:1")
    assert (caught.value.code, caught.value.status) == ("unreachable", None)


def test_an_answer_that_does_not_come() -> None:
    def listen(connection: socket.socket) -> None:
        connection.recv(1)

    with raw(listen) as port:
        with pytest.raises(ServiceError) as caught:
            caption(TEAL_PNG, f"http://127.0.0.1:{port}", timeout_s=0.2)
        assert caught.value.code == "unreachable"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.client", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_line(server: str, tmp_path: Path) -> None:
    file, missing = "examples/scene_30000_00001.jpg", str(tmp_path / "none.png")
    done = run("--server", server, missing, file)
    assert done.stdout == f"{file}: {CAPTION} 🛹\n"
    assert done.stderr.startswith(f"{missing}: [Errno 2] No such file")
    assert done.returncode == 1
    assert run("--server", server, file).returncode == 0


def test_a_name_that_is_no_text_ends_nothing(server: str, tmp_path: Path) -> None:
    file = os.fsdecode(bytes(tmp_path) + b"/\xff.png")
    Path(file).write_bytes(TEAL_PNG)
    done = run("--server", server, file, file)
    assert (done.returncode, done.stdout.count(CAPTION)) == (0, 2)
