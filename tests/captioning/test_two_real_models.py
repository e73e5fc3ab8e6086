"""Two real models in one process: each says what it says alone, and its memory comes back when nobody uses it."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from services.captioning.batcher import Batcher, ModelStatus
from services.captioning.blip.model import BLIP_MODELS, DEMO_MODEL, Blip, BlipModel
from services.captioning.blip.text import TextDimensions
from services.captioning.blip.vision import VisionDimensions
from services.captioning.captioner import LoadProgress
from services.captioning.engines import load_captioner
from tests.captioning.echo import started
from tests.fakes import wait_for
from training.scenes import draw_scene

LARGE = "test/large"
WAIT_S = 300.0  # for work of models, on a machine that has more to do
IDLE_S = 0.5
SCENES = [draw_scene(31_009, index).picture for index in range(3)]


def large_model(checkpoint: Path) -> BlipModel:
    """Looks at pictures of another size than the demonstration model, with the same vocabulary."""
    return BlipModel(
        VisionDimensions(image_px=224, patch_px=32, width=768, layers=4, heads=12),
        TextDimensions(vocabulary=379, positions=64, width=192, layers=2, heads=6, image_width=768),
        prompt="",
        checkpoint=checkpoint,
        vocabulary=DEMO_MODEL / "vocab.txt",
    )


@pytest.fixture(scope="module")
def n_bytes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The size of LARGE, which has random weights."""
    path = tmp_path_factory.mktemp("large") / "model.safetensors"
    model = large_model(path)
    torch.manual_seed(0)
    weights = {name: weight.clone() for name, weight in Blip(model).state_dict().items()}
    for name, weight in weights.items():
        if weight.ndim > 1:  # loud, so that what is said follows from the picture
            weight.normal_(std=1.0 if "positions" in name else 0.1)
    save_file(weights, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BLIP_MODELS, LARGE, model)
        yield sum(weight.nbytes for weight in weights.values())


def ignore(_: LoadProgress) -> None: ...


def alone(model: str) -> list[str]:
    """What `model` says of the scenes, one by one, without a queue."""
    captioner = load_captioner(model, "auto", "cpu", "auto", ignore)
    return [captioner.caption([captioner.prepare(scene)], None)[0][0].text for scene in SCENES]


def ask(batcher: Batcher, model: str, scene: Image.Image) -> str:
    with batcher.admit(model) as place:
        assert place.wait_until_loaded(WAIT_S)
        return place.submit(scene, None).result(WAIT_S).captions[0].text


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def all_idle(batcher: Batcher) -> bool:
    return all(model.status is ModelStatus.IDLE for model in batcher.state.models.values())


def test_two_models_in_turn_each_as_alone_and_their_memory_comes_back(n_bytes: int) -> None:
    said = {model: alone(model) for model in ("demo", LARGE)}
    assert said["demo"] != said[LARGE]
    loaders = {model: [partial(load_captioner, model, "auto", "cpu", "auto")] for model in said}

    def alternate(first: int) -> None:
        models = list(said) if first else list(said)[::-1]
        for index, scene in enumerate(SCENES):
            for model in models:
                assert ask(batcher, model, scene) == said[model][index]

    with started(loaders, idle_s=IDLE_S) as batcher, ThreadPoolExecutor(2) as pool:
        wait_for(lambda: all_idle(batcher), WAIT_S)
        for _ in range(2):
            with batcher.admit(LARGE):  # keeps it where it is
                for done in [pool.submit(alternate, first) for first in (0, 1)]:
                    done.result(WAIT_S)
                loaded = resident_bytes()
            wait_for(lambda: all_idle(batcher), WAIT_S)
            wait_for(lambda before=loaded: before - resident_bytes() >= 0.9 * n_bytes, WAIT_S)  # type: ignore[misc]
