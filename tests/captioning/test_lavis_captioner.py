"""The real loading code on real files: the demonstration model, and checkpoints that are not as they should be."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from benchmarks.full_size import DEFAULT_MODEL as MODEL
from services.captioning import lavis_zoo
from services.captioning.captioner import DecodingOptions, LoadProgress, ModelInfo
from services.captioning.checkpoints import ModelLoadError, cached_path
from services.captioning.devices import DeviceError
from services.captioning.lavis_captioner import LavisCaptioner, _check_complete, load_lavis_captioner
from training.scenes import draw_scene

SEED = 31_007  # unseen in training


def ignore(progress: LoadProgress) -> None:
    """For tests that don't look at the progress."""


@pytest.fixture(scope="module")
def demo() -> LavisCaptioner:
    return load_lavis_captioner("demo", "cpu", ignore)


def test_the_demo_says_what_it_is(demo: LavisCaptioner) -> None:
    info = demo.info
    assert (info.model, info.device, info.precision, info.engine) == ("demo", "cpu", "fp32", "lavis")


def test_captions_are_those_of_lavis(demo: LavisCaptioner) -> None:
    scenes = [draw_scene(SEED, i) for i in range(20)]
    ours = [demo.caption([demo.prepare(scene.picture)])[0][0].text for scene in scenes]
    model, processors, _ = lavis_zoo.load_model_and_preprocess("blip_caption_demo", "demo", is_eval=True)
    with torch.inference_mode():
        pixels = [processors["eval"](scene.picture).unsqueeze(0) for scene in scenes]
        theirs = [model.generate({"image": image})[0] for image in pixels]
    assert ours == theirs


def test_options_are_those_of_lavis(demo: LavisCaptioner) -> None:
    prepared = [demo.prepare(draw_scene(SEED, i).picture) for i in range(3)]
    short = demo.caption(prepared, DecodingOptions(num_beams=1, max_length=8, min_length=1))
    usual = demo.caption(prepared)
    assert all(len(a.text) < len(b.text) for (a,), (b,) in zip(short, usual, strict=True))
    sampled = demo.caption(prepared, DecodingOptions(top_p=0.9, num_captions=2))
    assert [len(of_one) for of_one in sampled] == [2, 2, 2]


@pytest.mark.parametrize(
    "options",
    [
        DecodingOptions(prompt="two"),
        DecodingOptions(seed=1),
        DecodingOptions(num_captions=2),
        DecodingOptions(max_length=6),  # no more than the tokens of its prompt
        DecodingOptions(max_length=65),  # than its decoder has positions
    ],
)
def test_options_that_lavis_has_not_are_refused(demo: LavisCaptioner, options: DecodingOptions) -> None:
    with pytest.raises(ValueError, match="LAVIS"):
        demo.caption([demo.prepare(Image.new("RGB", (9, 9)))], options)


class Silent:
    """In place of a BLIP: says nothing about a black picture until it must, and nothing at all if `mute`."""

    prompt_length = 1
    text_decoder = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=64))

    def __init__(self, *, mute: bool) -> None:
        self.mute = mute

    def generate(self, samples: dict[str, torch.Tensor], min_length: int, **_: Any) -> list[str]:
        must = min_length >= 5 and not self.mute
        return ["a car" if must or picture.any() else " " for picture in samples["image"]]


@pytest.mark.parametrize(("mute", "said"), [(False, "a car"), (True, "")])
def test_an_empty_text_is_tried_again_more_safely(mute: bool, said: str) -> None:
    captioner = LavisCaptioner(Silent(mute=mute), None, ModelInfo("fake", "cpu", "a test", "fp32", "lavis"))
    pictures = [torch.zeros(3, 2, 2), torch.ones(3, 2, 2)]
    captions = captioner.caption(pictures, DecodingOptions(min_length=0))
    assert [[caption.text for caption in of_one] for of_one in captions] == [[said], ["a car"]]


def test_any_size_of_picture_is_prepared(demo: LavisCaptioner) -> None:
    for size in ((1, 1), (3000, 2), (640, 480)):
        assert demo.prepare(Image.new("RGB", size)).shape == (3, 224, 224)


def test_an_unknown_model_names_the_choices() -> None:
    with pytest.raises(ModelLoadError, match="blip_caption/large_coco"):
        load_lavis_captioner("blip_caption/huge", "cpu", ignore)


def test_a_gpu_that_is_not_there_stops_the_load() -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    with pytest.raises(DeviceError, match="DEVICE=cuda"):
        load_lavis_captioner("demo", "cuda", ignore)


class Malicious:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where LAVIS looks for the checkpoint of MODEL; nothing is there yet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = cached_path(lavis_zoo.checkpoint_url(*MODEL.split("/")))
    path.parent.mkdir(parents=True)
    return path


def test_a_checkpoint_that_could_run_code_is_not_loaded(checkpoint: Path) -> None:
    trace = checkpoint.with_name("it ran")
    torch.save({"model": Malicious(trace)}, checkpoint)
    with pytest.raises(ModelLoadError, match=r"could run code.*mkdir"):
        load_lavis_captioner(MODEL, "cpu", ignore)
    assert not trace.exists()


@pytest.mark.parametrize("keep", [0, 100, 2000, -1])
def test_a_broken_checkpoint_is_named(checkpoint: Path, keep: int) -> None:
    torch.save({"model": {"weight": torch.zeros(1000)}}, checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:keep])
    with pytest.raises(ModelLoadError, match=rf"{checkpoint.name} .*Delete the file"):
        load_lavis_captioner(MODEL, "cpu", ignore)


def test_missing_weights_and_wrong_shapes_are_named() -> None:
    model = torch.nn.Linear(3, 2)
    whole = {"weight": torch.Size([2, 3]), "bias": torch.Size([2])}
    _check_complete(model, Path("a.pth"), whole)
    for held in ({"weight": whole["weight"]}, {**whole, "bias": torch.Size([3])}):
        with pytest.raises(ModelLoadError, match=r"a\.pth lacks 1 weights of the model's shapes: bias"):
            _check_complete(model, Path("a.pth"), held)
