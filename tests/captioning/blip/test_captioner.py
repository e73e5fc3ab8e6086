"""The fast path's captions: options, confidence, and what it was loaded from."""

import math
from dataclasses import replace

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from services.captioning.blip.captioner import BlipCaptioner, load_blip_captioner
from services.captioning.blip.model import BERT_BASE_UNCASED, BLIP_MODELS
from services.captioning.captioner import DecodingOptions, DeviceOutOfMemory, LoadProgress
from services.captioning.lavis_zoo import checkpoint_url, names_in_lavis
from training.scenes import draw_scene

SCENES = [draw_scene(31_009, index).picture for index in range(4)]
SAMPLING = DecodingOptions(top_p=0.9, num_captions=4, seed=7)


def ignore(progress: LoadProgress) -> None:
    """For tests that don't look at the progress."""


@pytest.fixture(scope="module")
def demo() -> BlipCaptioner:
    return load_blip_captioner("demo", "cpu", "auto", ignore)


def texts(demo: BlipCaptioner, options: DecodingOptions) -> list[list[str]]:
    return [[c.text for c in of_one] for of_one in demo.caption([demo.prepare(s) for s in SCENES], options)]


def test_it_says_what_it_is(demo: BlipCaptioner) -> None:
    info = demo.info
    assert (info.model, info.device, info.precision, info.engine) == ("demo", "cpu", "fp32", "blip")


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("repetition_penalty", [1.0, 1.3])
def test_confidence_is_the_mean_probability_of_the_tokens(
    demo: BlipCaptioner, num_beams: int, repetition_penalty: float
) -> None:
    """Against one pass over the whole caption, without a cache or a search."""
    options = DecodingOptions(num_beams=num_beams, repetition_penalty=repetition_penalty)
    pixels = demo.pixels([demo.prepare(scene) for scene in SCENES])
    captions = demo.caption([demo.prepare(scene) for scene in SCENES], options)
    end, prompt = demo.vocabulary.end_token, len(demo.vocabulary.encode(BLIP_MODELS["demo"].prompt))
    for pixel, (caption,), (tokens, *_) in zip(pixels, captions, demo.tokens(pixels, options), strict=True):
        log_probs = []
        for place in range(prompt, len(tokens) + 1):
            cache = demo.blip.text.look(demo.blip.vision(pixel[None]), 64)
            logits = demo.blip.text(torch.tensor([tokens[:place]]), torch.arange(place), cache)
            log_probs.append(logits.log_softmax(-1)[0, [*tokens, end][place]].item())
        assert caption.confidence == pytest.approx(math.exp(sum(log_probs) / len(log_probs)), rel=1e-4)


def test_a_prompt_that_says_it_all_is_the_caption(demo: BlipCaptioner) -> None:
    picture = demo.prepare(SCENES[0])
    ((whole,),) = demo.caption([picture])
    prompt = f"{BLIP_MODELS['demo'].prompt}{whole.text}"
    ((caption,),) = demo.caption([picture], DecodingOptions(prompt=prompt))
    assert caption.text == prompt
    assert caption.confidence == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("num_captions", [2, 4, 10])
@pytest.mark.parametrize("top_p", [None, 0.1, 0.95])
def test_captions_of_one_picture_differ(demo: BlipCaptioner, num_captions: int, top_p: float | None) -> None:
    for of_one in texts(demo, DecodingOptions(num_captions=num_captions, top_p=top_p, seed=1)):
        assert len(set(of_one)) == num_captions


def test_the_first_of_several_is_the_only_one_of_one(demo: BlipCaptioner) -> None:
    several = texts(demo, DecodingOptions(num_captions=3))
    assert [of_one[:1] for of_one in several] == texts(demo, DecodingOptions())


def test_a_seed_repeats_what_was_sampled(demo: BlipCaptioner) -> None:
    # beyond the natural end of a caption the model is unsure, and lots decide
    unsure = replace(SAMPLING, top_p=1.0, min_length=28)
    assert texts(demo, unsure) == texts(demo, unsure)
    others = [texts(demo, replace(unsure, seed=seed)) for seed in range(5)]
    assert any(other != others[0] for other in others)


def test_sampling_from_one_token_is_greedy(demo: BlipCaptioner) -> None:
    """A top_p that one token always reaches leaves no choice."""
    sampled = texts(demo, DecodingOptions(top_p=1e-6, seed=1))
    assert sampled == texts(demo, DecodingOptions(num_beams=1))


def test_a_prompt_stands_before_its_caption(demo: BlipCaptioner) -> None:
    for (text,) in texts(demo, DecodingOptions(prompt="A small drawn picture of three ", max_length=40)):
        assert text.startswith("A small drawn picture of three ")
        assert len(text) > len("A small drawn picture of three ")


@pytest.mark.parametrize("max_length", [6, 65])
def test_a_length_that_cannot_be_is_refused(demo: BlipCaptioner, max_length: int) -> None:
    with pytest.raises(ValueError, match=rf"max_length is {max_length}; .*6 tokens of the prompt and at most 64"):
        texts(demo, DecodingOptions(max_length=max_length, min_length=1))


class Full(torch.nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_a_full_device_is_told_apart_and_nothing_is_kept(
    demo: BlipCaptioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo.blip, "vision", Full())
    with pytest.raises(DeviceOutOfMemory, match="CUDA out of memory") as full:
        texts(demo, DecodingOptions())
    assert full.value.__context__ is None  # whose frames would hold the batch's tensors


def test_any_size_of_picture_is_prepared(demo: BlipCaptioner) -> None:
    for size in ((1, 1), (3000, 2), (640, 480)):
        assert demo.prepare(Image.new("RGB", size)).shape == (3, 224, 224)


@pytest.mark.parametrize("name", [name for name in BLIP_MODELS if name != "demo"])
def test_published_models_are_as_lavis_describes_them(name: str) -> None:
    from lavis.common.utils import get_abs_path
    from lavis.models.blip_models.blip_caption import BlipCaption

    ours, (architecture, model_type) = BLIP_MODELS[name], names_in_lavis(name)
    theirs = OmegaConf.load(BlipCaption.default_config_path(model_type))
    text = OmegaConf.load(get_abs_path(theirs.model.med_config_path))
    assert ours.checkpoint == checkpoint_url(architecture, model_type)
    assert (ours.prompt, ours.vision.image_px) == (theirs.model.prompt, theirs.model.image_size)
    assert theirs.preprocess.vis_processor.eval.name == "blip_image_eval"
    assert ours.vocabulary == BERT_BASE_UNCASED
    assert (ours.text.vocabulary, ours.text.positions) == (text.vocab_size, text.max_position_embeddings)
    assert (ours.text.width, ours.text.layers) == (text.hidden_size, text.num_hidden_layers)
    assert (ours.text.heads, ours.text.image_width) == (text.num_attention_heads, text.encoder_width)
    assert (ours.text.norm_eps, 4 * ours.text.width) == (text.layer_norm_eps, text.intermediate_size)
    sizes = {"base": (768, 12, 12), "large": (1024, 24, 16)}  # of LAVIS's VisionTransformerEncoder.from_config
    vision = ours.vision
    assert (vision.width, vision.layers, vision.heads) == sizes[theirs.model.get("vit_type")]


def test_an_empty_caption_is_tried_again_more_safely() -> None:
    shy = load_blip_captioner("demo", "cpu", "auto", ignore)
    with torch.no_grad():
        shy.blip.text.logits.bias[shy.vocabulary.end_token] += 100
    ((caption,),) = shy.caption([shy.prepare(SCENES[0])], DecodingOptions(1, min_length=1))
    assert len(caption.text.split()) >= 3
