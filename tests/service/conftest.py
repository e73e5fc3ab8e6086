"""One service on the demonstration model for all tests of this folder, and scenes for it to caption."""

import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.service.running import Service, service
from training.scenes import draw_scene, write_scenes

SEED = 3_300_004  # a judging seed
COUNT = 200


@dataclass(frozen=True)
class DrawnFile:
    path: Path
    caption: str
    things: list[dict[str, str]]

    @property
    def data(self) -> bytes:
        return self.path.read_bytes()


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> list[DrawnFile]:
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(COUNT, SEED, folder)
    drawn = [draw_scene(SEED, index) for index in range(COUNT)]
    files = sorted(path for path in folder.iterdir() if path.suffix != ".jsonl")
    return [DrawnFile(path, scene.caption, scene.things()) for path, scene in zip(files, drawn, strict=True)]


class QuietFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture(scope="session")
def site(scenes: list[DrawnFile]) -> Iterator[str]:
    """A web site that has the scenes."""
    handler = partial(QuietFiles, directory=scenes[0].path.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def demo(scenes: list[DrawnFile], site: str) -> Iterator[Service]:
    opened = {"URL_ALLOWED_NETWORKS": "127.0.0.0/8", "URL_ALLOWED_PORTS": str(urlsplit(site).port)}
    with service(MODEL="demo", DEVICE="cpu", IMAGE_ROOTS=str(scenes[0].path.parent), **opened) as running:
        running.wait_until("loaded")
        yield running
