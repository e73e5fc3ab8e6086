"""The parts of training that can go wrong unseen: what is trained on, what is asked for, what is saved."""

import collections
import itertools
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors import safe_open

from services.captioning.lavis_zoo import DEMO_MODEL, DemoBlipCaption
from training import batches
from training.backgrounds import BACKGROUNDS
from training.batches import FIRST_JUDGING_SEED, SceneBatches, patch_targets
from training.evaluate_demo import names, score
from training.scenes import draw_crowd, draw_scene
from training.things import THINGS
from training.train_demo import Trainer, learning_rate, plan
from training.vocabulary import vocabulary

CONFIG = OmegaConf.load(DEMO_MODEL / "config.yaml").model


def test_judging_seeds_are_refused() -> None:
    assert FIRST_JUDGING_SEED == 20_000
    for draw in (draw_scene, draw_crowd):
        with pytest.raises(ValueError, match="never for training"):
            SceneBatches(draw, 20_000, first=0, batch=2, shows=2, config=CONFIG)
        SceneBatches(draw, 19_999, first=0, batch=2, shows=2, config=CONFIG)


def test_batches_hold_what_was_drawn() -> None:
    batch = next(iter(SceneBatches(draw_scene, 5, first=100, batch=4, shows=2, config=CONFIG)))
    side = CONFIG.image_size
    assert batch.pixels.shape == (4, 3, side, side)
    assert batch.pixels.dtype == torch.uint8
    assert batch.captions[:2] == [draw_scene(5, index).caption for index in (100, 101)]
    assert batch.patches.shape == (4, (side // CONFIG.vit_patch_size) ** 2)


def test_patches_name_the_thing_that_covers_them() -> None:
    for index in range(30):
        scene = draw_scene(6, index)
        targets, orders, centres = (array.reshape(8, 8, -1) for array in patch_targets(scene, 8))
        for placed in scene.placed:
            row, column = int(placed.y * 8), int(placed.x * 8)
            assert targets[row, column] == THINGS.index(placed.thing)
            assert scene.words[orders[row, column, 0]][1] == placed.thing
            right, down, size = centres[row, column]
            found = (column + 0.5 + right) / 8, (row + 0.5 + down) / 8, size / 8
            assert found == pytest.approx((placed.x, placed.y, placed.size), abs=1e-5)
        ground = len(THINGS) + BACKGROUNDS.index(scene.background)
        assert set(targets.flat) <= {ground, *(THINGS.index(placed.thing) for placed in scene.placed)}


def test_the_vocabulary_has_a_token_for_every_word() -> None:
    assert (DEMO_MODEL / "vocab.txt").read_text("utf-8").split("\n")[:-1] == vocabulary()
    tokenizer = DemoBlipCaption.init_tokenizer()
    for index in range(300):
        caption = draw_scene(41_000, index).caption
        assert tokenizer.tokenize(caption) == caption.split()


def test_the_learning_rate_rises_and_falls_to_nothing() -> None:
    looks, reads = plan(pictures=64 * 5000, batch=64)
    assert (looks.start, looks.end, looks.reads) == (0, reads.start, False)
    assert (reads.end, reads.reads) == (5000, True)
    for phase in (looks, reads):
        rates = [learning_rate(step, phase, 5000) for step in range(phase.start, phase.end)]
        assert all(a < b for a, b in itertools.pairwise(rates[:400]))
        assert all(a > b for a, b in itertools.pairwise(rates[500:]))
    assert rates[-1] < 1e-8


def test_who_learns_to_read_goes_on_learning_to_see() -> None:
    looks, reads = plan(pictures=64 * 5000, batch=64)
    assert all(looks.crowded(step) for step in range(looks.start, looks.end))
    crowded = [reads.crowded(step) for step in range(reads.start, reads.end)]
    assert 0.3 < sum(crowded) / len(crowded) < 0.4


def test_pictures_are_shown_again_as_often_as_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "KEPT", 4)
    some = itertools.islice(iter(SceneBatches(draw_scene, 5, first=0, batch=10, shows=3, config=CONFIG)), 6)
    shown = collections.Counter(caption for batch in some for caption in batch.captions)
    assert max(shown.values()) == 3
    assert 20 <= len(shown) <= 26  # of 60: a third, and those that still wait


def test_crowds_show_more_things_than_scenes_and_never_overlap() -> None:
    crowds = [draw_crowd(5, index) for index in range(20)]
    assert sum(len(crowd.placed) for crowd in crowds) > 4 * len(crowds)
    for crowd in crowds:
        assert all(a.clear_of(b) for a, b in itertools.combinations(crowd.placed, 2))


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    first = Trainer(tmp_path, batch=2, seed=3, device="cpu")
    first.train(pictures=6)  # one step of looking, two of reading
    second = Trainer(tmp_path, batch=2, seed=4, device="cpu")
    second.resume()
    assert second.step == 3
    for name, weight in first.model.state_dict().items():
        assert torch.equal(weight, second.model.state_dict()[name]), name
    second.train(pictures=12)
    assert second.step == 6


def test_scores() -> None:
    scenes = [draw_scene(9, index) for index in range(4)]
    truths = [scene.caption for scene in scenes]
    assert score(scenes, truths) == {"exact": 1.0, "noun_recall": 1.0}
    assert score(scenes, ["", *truths[1:]])["exact"] == 0.75
    assert score(scenes, [""] * 4) == {"exact": 0.0, "noun_recall": 0.0}
    assert names("two hot dogs and a car", "hot dogs")
    assert not names("two hot dogs and a car", "dogs")
    assert not names("two hot dogs and a police car", "car")


def test_the_checkpoint_is_small_and_complete() -> None:
    path = DEMO_MODEL / "model.safetensors"
    assert path.stat().st_size <= 25_000_000
    with safe_open(path, "pt") as weights:
        assert "visual_encoder.patch_embed.proj.weight" in weights.keys()  # noqa: SIM118 - not a mapping
