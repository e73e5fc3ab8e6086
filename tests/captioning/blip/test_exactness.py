"""The fast path against LAVIS: the same token ids, for models with random weights and for the demonstration."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from benchmarks.lavis_reference import lavis_tokens
from services.captioning.blip.captioner import BlipCaptioner
from services.captioning.blip.model import BLIP_MODELS
from services.captioning.blip.vocabulary import Vocabulary
from services.captioning.blip.weights import load_blip
from services.captioning.captioner import DecodingOptions, ModelInfo
from services.captioning.lavis_zoo import DEMO_MODEL, DemoBlipCaption
from training.scenes import draw_scene

DEMO = BLIP_MODELS["demo"]
SCENES = [draw_scene(31_008, index).picture for index in range(6)]
OPTIONS = [
    DecodingOptions(),
    DecodingOptions(num_beams=1),
    DecodingOptions(num_beams=5),
    DecodingOptions(max_length=8, min_length=1),
    DecodingOptions(num_beams=1, max_length=7, min_length=0),
    DecodingOptions(max_length=40, min_length=25),
    DecodingOptions(num_beams=5, max_length=20, min_length=20),
    DecodingOptions(repetition_penalty=1.5),
    DecodingOptions(num_beams=1, repetition_penalty=1.5, max_length=25),
    DecodingOptions(num_beams=5, repetition_penalty=0.7),
    DecodingOptions(prompt="three"),
]


def demo_with(weights: dict[str, torch.Tensor], folder: Path) -> tuple[BlipCaptioner, Any]:
    """Ours and LAVIS's model of the demonstration's size with the same weights."""
    path = folder / "model.safetensors"
    save_file({name: weight.clone() for name, weight in weights.items()}, path)
    info = ModelInfo("demo", "cpu", "a test", "fp32", "blip")
    ours = BlipCaptioner(load_blip(DEMO, path), DEMO, Vocabulary(DEMO_MODEL / "vocab.txt"), info)
    theirs = untrained()
    theirs.load_state_dict(weights)
    return ours, theirs.eval()


def untrained() -> Any:
    return DemoBlipCaption.untrained(OmegaConf.load(DEMO_MODEL / "config.yaml").model)


def random_weights(seed: int) -> dict[str, torch.Tensor]:
    """Louder than at the start of a training, so that texts are long and short and follow from the picture."""
    torch.manual_seed(seed)
    weights: dict[str, torch.Tensor] = untrained().state_dict()
    loudness = {"position": 1.0, "pos_embed": 1.0, "word_embed": 0.3, "decoder.weight": 0.3}
    loudness |= {".query.": 0.4, ".key.": 0.4, ".value.": 0.05, "": 0.12}
    for name, weight in weights.items():
        if weight.is_floating_point() and weight.ndim > 1:
            weight.normal_(std=next(std for part, std in loudness.items() if part in name))
    weights["text_decoder.cls.predictions.bias"][3] += 6.0  # [SEP]: ends are not rare
    return weights


@pytest.fixture(scope="module", params=["trained", 1, 2])
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[BlipCaptioner, Any]:
    trained = request.param == "trained"
    weights = load_file(DEMO_MODEL / "model.safetensors") if trained else random_weights(request.param)
    return demo_with(weights, tmp_path_factory.mktemp("weights"))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_token_ids_are_those_of_lavis(models: tuple[BlipCaptioner, Any], options: DecodingOptions) -> None:
    ours, theirs = models
    pixels = ours.pixels([ours.prepare(scene) for scene in SCENES])
    assert [t[0] for t in ours.tokens(pixels, options)] == lavis_tokens(theirs, pixels, options)


def test_the_texts_are_not_all_alike(models: tuple[BlipCaptioner, Any]) -> None:
    """Or the comparison would show little."""
    ours, _ = models
    texts = [t[0] for t in ours.tokens(ours.pixels([ours.prepare(scene) for scene in SCENES]), OPTIONS[0])]
    assert len({tuple(text) for text in texts}) == len(SCENES)
    assert len({len(text) for text in texts}) > 1


@pytest.mark.parametrize("options", [OPTIONS[0], replace(OPTIONS[0], top_p=0.9, seed=5, num_captions=3)], ids=str)
def test_a_batch_gives_what_each_gives_alone(models: tuple[BlipCaptioner, Any], options: DecodingOptions) -> None:
    ours, _ = models
    prepared = [ours.prepare(scene) for scene in SCENES]
    together = ours.caption(prepared, options)
    alone = [ours.caption([one], options)[0] for one in prepared]
    assert [[c.text for c in of_one] for of_one in together] == [[c.text for c in of_one] for of_one in alone]


def test_prepared_pictures_are_those_of_lavis() -> None:
    from lavis.processors.blip_processors import BlipImageEvalProcessor

    info = ModelInfo("demo", "cpu", "a test", "fp32", "blip")
    model = load_blip(DEMO, DEMO_MODEL / "model.safetensors")
    ours = BlipCaptioner(model, DEMO, Vocabulary(DEMO_MODEL / "vocab.txt"), info)
    for side in ((300, 200), (50, 400), (128, 128), (1, 1)):
        picture = SCENES[0].resize(side)
        theirs = BlipImageEvalProcessor(image_size=224)(picture)
        torch.testing.assert_close(ours.pixels([ours.prepare(picture)])[0], theirs, rtol=0, atol=1e-6)
