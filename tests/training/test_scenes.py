"""The pictures are as hard as they are said to be, and their captions true."""

import collections
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training import scenes
from training.backgrounds import BACKGROUNDS
from training.scenes import Scene, draw_scene
from training.things import THINGS

COUNT = 600


@pytest.fixture(scope="module")
def drawn() -> list[Scene]:
    return [draw_scene(40_001, index) for index in range(COUNT)]


def test_the_figures_are_pinned() -> None:
    assert (scenes.SMALLEST, scenes.LARGEST, scenes.MAX_ROTATION_DEG) == (0.12, 0.60, 30.0)
    assert (scenes.MAX_NOISE, scenes.MAX_BLUR, scenes.MAX_GAIN_SHIFT) == (12.0, 0.007, 0.15)
    assert (scenes.JPEG_SHARE, scenes.JPEG_QUALITY) == (0.5, (40, 95))
    assert len(BACKGROUNDS) >= 12
    assert len(THINGS) >= 100
    assert len({thing.emoji for thing in THINGS}) == len(THINGS)
    assert {"hot dog", "traffic light", "fire engine"} <= {thing.singular for thing in THINGS}


def test_sizes_and_rotations_fill_their_ranges(drawn: list[Scene]) -> None:
    placed = [one for scene in drawn for one in scene.placed]
    sizes = np.array([one.size for one in placed])
    angles = np.array([one.angle_deg for one in placed])
    assert 0.12 <= sizes.min() < 0.14
    assert 0.55 < sizes.max() <= 0.60
    assert 0.2 < np.median(sizes) < 0.36
    assert -30 <= angles.min() < -27
    assert 27 < angles.max() <= 30
    for scene in drawn:
        assert 1 <= len(scene.placed) <= 3
        for one in scene.placed:
            assert one.reach <= one.x <= 1 - one.reach
            assert one.reach <= one.y <= 1 - one.reach


def test_everything_there_is_gets_drawn(drawn: list[Scene]) -> None:
    assert {scene.background.name for scene in drawn} == {background.name for background in BACKGROUNDS}
    kinds = collections.Counter(len(scene.placed) for scene in drawn)
    assert min(kinds[n] for n in (1, 2, 3)) > COUNT * 0.1
    assert 0.4 < sum(scene.jpeg is not None for scene in drawn) / COUNT < 0.6
    for word in ("next to", "above", "between", "and", "two", "three"):
        assert any(re.search(rf"\b{word}\b", scene.caption) for scene in drawn), word


def test_captions_say_where_things_are(drawn: list[Scene]) -> None:
    for scene in drawn:
        first, *others = scene.placed
        if " next to " in scene.caption:
            assert first.x < others[0].x
        elif " between " in scene.caption:
            assert others[0].x < first.x < others[1].x
        elif " above " in scene.caption:
            assert all(first.y < other.y for other in others)
        assert scene.caption.endswith(scene.background.phrase)
        assert all(word in scene.caption for word, _ in scene.words)


def test_a_scene_is_the_same_each_time_and_seeds_differ() -> None:
    again, other = draw_scene(7, 3), draw_scene(8, 3)
    assert again.picture.tobytes() == draw_scene(7, 3).picture.tobytes()
    assert again.picture.tobytes() != other.picture.tobytes()


def test_the_command_writes_pictures_and_their_captions(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "training.scenes", "--count", "12", "--seed", "40002", str(tmp_path)]
    subprocess.run(command, check=True)
    rows = [json.loads(line) for line in (tmp_path / "captions.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == 12
    assert {Path(row["file"]).suffix for row in rows} == {".png", ".jpg"}
    for index, row in enumerate(rows):
        scene = draw_scene(40_002, index)
        assert (row["caption"], row["things"]) == (scene.caption, scene.things())
        assert {"word", "emoji"} == set(row["things"][0])
        with Image.open(tmp_path / row["file"]) as picture:
            assert np.array_equal(np.asarray(picture), np.asarray(scene.picture))
