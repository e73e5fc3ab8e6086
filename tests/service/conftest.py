"""One service on the demonstration model for all tests of this folder, and scenes for it to caption."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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


@pytest.fixture(scope="session")
def demo(scenes: list[DrawnFile]) -> Iterator[Service]:
    roots = str(scenes[0].path.parent)
    with service(MODEL="demo", DEVICE="cpu", IMAGE_ROOTS=roots, ALLOW_PRIVATE_URLS="true") as running:
        running.wait_until("loaded")
        yield running
