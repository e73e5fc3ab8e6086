"""Start the service on the bundled demonstration model and caption examples/ through HTTP.

    make demo            the table, then serve until Ctrl-C
    make demo ONCE=1     the table only; the exit status says whether every caption was right
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import unicodedata
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.settings import Settings, SettingsError
from config.values import CHECKOUT

EXAMPLES = CHECKOUT / "examples"
LOAD_TIMEOUT_S = 300
CTRL_C_S = 1
STOP_TIMEOUT_S = 40
REQUEST_TIMEOUT_S = 60
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # this machine needs no proxy


@dataclass(frozen=True)
class Row:
    picture: str
    caption: str
    emojis: str
    milliseconds: float
    right: bool


def get(url: str) -> dict[str, Any]:
    """The JSON at `url`, also of an error answer."""
    try:
        with DIRECT.open(url, timeout=REQUEST_TIMEOUT_S) as response:
            body = response.read()
    except urllib.error.HTTPError as answer:
        with answer:
            body = answer.read()
    answered: dict[str, Any] = json.loads(body)
    return answered


def wait_until_loaded(base_url: str, server: subprocess.Popen[bytes]) -> None:
    """Raises RuntimeError when the server ends, its model fails, or another model answers."""
    deadline = time.monotonic() + LOAD_TIMEOUT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise RuntimeError(f"the service ended with status {server.returncode}; its reason stands above")
        try:
            health = get(f"{base_url}/health")
        except OSError:  # not yet
            time.sleep(0.1)
            continue
        if health["model_status"] == "failed":
            raise RuntimeError(health["error"])
        if health["model_status"] == "loaded":
            return
        time.sleep(0.1)
    raise RuntimeError(f"the model was not loaded within {LOAD_TIMEOUT_S} s")


def caption(base_url: str, file: Path, truth: str) -> Row:
    started = time.perf_counter()
    answer = get(f"{base_url}/v3/analyze?{urllib.parse.urlencode({'file': file})}")
    milliseconds = (time.perf_counter() - started) * 1000
    if answer["status"] != "success":
        return Row(file.name, f"{answer['error']['code']}: {answer['error']['message']}", "", milliseconds, False)
    prediction = answer["predictions"][0]
    emojis = " ".join(pair["emoji"] for pair in prediction["emoji_mappings"])
    return Row(file.name, prediction["text"], emojis, milliseconds, prediction["text"] == truth)


def print_table(rows: list[Row]) -> None:
    header = ("picture", "caption", "emojis", "ms")
    cells = [(row.picture, row.caption, row.emojis, f"{row.milliseconds:.0f}") for row in rows]
    widths = [max(_width(line[i]) for line in [header, *cells]) for i in range(len(header))]
    for line in [header, tuple("─" * width for width in widths), *cells]:
        print("  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)))


def _width(text: str) -> int:
    """Columns in a terminal: an emoji takes two, its variation selector none."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if c == "\ufe0f" else 1 for c in text)


def check_port_is_free(port: int) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise RuntimeError(f"Port {port} is taken by another service; stop it, or set PORT to a free one")


def run(once: bool) -> int:
    settings = Settings.from_env()
    check_port_is_free(settings.port)
    base_url = f"http://127.0.0.1:{settings.port}"
    environment = {**os.environ, "MODEL": "demo", "MODELS": "demo", "IMAGE_ROOTS": str(EXAMPLES)}
    if once:
        environment["LOG_LEVEL"] = "warning"
    server = subprocess.Popen([sys.executable, str(CHECKOUT / "REST.py")], env=environment)
    try:
        wait_until_loaded(base_url, server)
        truths = [json.loads(line) for line in (EXAMPLES / "captions.jsonl").read_text("utf-8").splitlines()]
        rows = [caption(base_url, EXAMPLES / truth["file"], truth["caption"]) for truth in truths]
        print_table(rows)
        wrong = [row.picture for row in rows if not row.right]
        for picture in wrong:
            print(f"Not the right caption: {picture}")
        if once:
            return 1 if wrong else 0
        print(f"\nServing at {base_url} - stop with Ctrl-C. Try:\n  curl -F file=@PICTURE {base_url}/v3/analyze")
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        stop(server)


def stop(server: subprocess.Popen[bytes]) -> None:
    try:
        server.wait(CTRL_C_S)  # a terminal's Ctrl-C has reached it too
    except subprocess.TimeoutExpired:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            server.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--once", action="store_true", help="stop after the table")
    try:
        sys.exit(run(parser.parse_args().once))
    except (SettingsError, RuntimeError) as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
