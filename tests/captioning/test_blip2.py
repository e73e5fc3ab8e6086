"""BLIP-2 by our loader and our decoding, against LAVIS: small models of both kinds, from files like theirs."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from PIL import Image

from services.captioning import lavis_zoo
from services.captioning.blip2 import loading
from services.captioning.blip2.captioner import Blip2Captioner
from services.captioning.blip2.loading import load_blip2_captioner
from services.captioning.captioner import DecodingOptions, LoadProgress, default_options
from services.captioning.checkpoints import ModelLoadError
from services.captioning.kernels import Kernel, OneDnnLinear, plain
from tests.captioning.test_kernels import MKL, ONE_DNN, takes
from tests.captioning.tiny_blip2 import Tiny, make_tiny, tiny_parts
from training.scenes import draw_scene

SCENES = [draw_scene(31_009, index).picture for index in range(4)]
USUAL = DecodingOptions(num_beams=5, min_length=0)
OPTIONS = [
    USUAL,
    replace(USUAL, num_beams=1),
    replace(USUAL, num_beams=3, max_length=8),
    replace(USUAL, min_length=12, max_length=20),
    replace(USUAL, repetition_penalty=1.5),
    replace(USUAL, prompt="the"),
    replace(USUAL, question="what is it?", history=(("who?", "me"),)),
]


def ignore(progress: LoadProgress) -> None:
    """For tests that don't look at the progress."""


@pytest.fixture(scope="module", params=["blip2_opt", "blip2_t5"])
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiny]:
    with pytest.MonkeyPatch.context() as patch:
        torch.manual_seed(4)
        yield make_tiny(request.param, tmp_path_factory.mktemp("blip2"), patch)


@pytest.fixture(scope="module")
def ours(tiny: Tiny) -> Blip2Captioner:
    return load_blip2_captioner(tiny.name, "cpu", "fp32", ignore, tiny.model)


@pytest.fixture(scope="module")
def theirs(tiny: Tiny) -> Any:
    with pytest.MonkeyPatch.context() as patch, tiny_parts(tiny.folder, patch):
        model, _, _ = lavis_zoo.load_model_and_preprocess(*tiny.name.split("/"), is_eval=True, device="cpu")
    return model


def lavis_texts(model: Any, ours: Blip2Captioner, options: DecodingOptions) -> list[str]:
    """By LAVIS's `generate`, which has OPT count the prompt's tokens into the shortest length."""
    read = "a photo of" if options.prompt is None else options.prompt
    if options.question:
        read = "Question: who? Answer: me. Question: what is it? Answer:"
    before = len(ours.language.written_before(ours.language.encode(read)))
    pixels = ours.pixels([ours.prepare(scene) for scene in SCENES])
    texts: list[str] = model.generate(
        {"image": pixels, "prompt": read},
        num_beams=options.num_beams,
        max_length=options.max_length,
        min_length=before + options.min_length if options.min_length else 1,
        repetition_penalty=options.repetition_penalty,
    )
    return [text.strip() for text in texts]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_what_is_written_is_what_lavis_writes(ours: Blip2Captioner, theirs: Any, options: DecodingOptions) -> None:
    pixels = ours.pixels([ours.prepare(scene) for scene in SCENES])
    written = [ours.language.decode(tokens).strip() for tokens in ours.tokens(pixels, options)]
    assert written == lavis_texts(theirs, ours, options)


def test_the_texts_are_not_all_alike(ours: Blip2Captioner) -> None:
    """Or the comparison would show little."""
    pixels = ours.pixels([ours.prepare(scene) for scene in SCENES])
    texts = {tuple(tokens) for tokens in ours.tokens(pixels, USUAL)}
    assert len(texts) > 1
    assert all(texts)


def test_a_caption_is_lavis_s_with_a_confidence(ours: Blip2Captioner, theirs: Any) -> None:
    captions = ours.caption([ours.prepare(scene) for scene in SCENES])
    assert [of_one[0].text for of_one in captions] == lavis_texts(theirs, ours, default_options(ours.info.model))
    assert all(caption.confidence and 0 < caption.confidence <= 1 for of_one in captions for caption in of_one)
    assert (ours.info.engine, ours.info.precision) == ("blip2", "fp32")


def test_what_the_language_model_has_once_is_held_once(ours: Blip2Captioner) -> None:
    language = ours.blip2.language_model
    tied = language.get_input_embeddings().weight is language.get_output_embeddings().weight
    assert tied == language.config.tie_word_embeddings


@pytest.mark.parametrize("kernel", [plain, ONE_DNN, MKL])
def test_whichever_kernel_is_fastest_the_texts_are_the_same(
    tiny: Tiny, theirs: Any, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "fastest", takes(kernel))
    ours = load_blip2_captioner(tiny.name, "cpu", "fp32", ignore, tiny.model)
    kinds = {
        part: {type(module) for module in getattr(ours.blip2, part).modules()}
        for part in ("visual_encoder", "language_model")
    }
    if kernel is not plain:
        assert kernel in kinds["visual_encoder"]
        assert torch.nn.Linear not in kinds["visual_encoder"]
    assert (OneDnnLinear in kinds["language_model"]) == (kernel is OneDnnLinear)
    assert (torch.nn.Linear in kinds["language_model"]) != (kernel is OneDnnLinear)
    test_what_the_language_model_has_once_is_held_once(ours)
    for options in OPTIONS:
        captions = ours.caption([ours.prepare(scene) for scene in SCENES], options)
        written = [of_one[0].text.removeprefix(options.prompt or "").strip() for of_one in captions]
        assert written == lavis_texts(theirs, ours, options)


def test_kernels_are_for_fp32(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def choose(offered: Sequence[Kernel], linear: torch.nn.Linear, rows: int) -> Kernel:
        asked.append(rows)
        return plain

    monkeypatch.setattr(loading, "fastest", choose)
    load_blip2_captioner(tiny.name, "cpu", "int8", ignore, tiny.model)
    assert asked == []
    load_blip2_captioner(tiny.name, "cpu", "fp32", ignore, tiny.model)
    assert asked == [1 + (tiny.model.image_px // 14) ** 2, 5]


def test_a_prompt_stands_in_front_of_its_caption(ours: Blip2Captioner) -> None:
    pictures = [ours.prepare(scene) for scene in SCENES]
    captions = ours.caption(pictures, replace(USUAL, prompt="the small "))
    assert all(of_one[0].text.startswith("the small") and len(of_one[0].text) > 9 for of_one in captions)


@pytest.mark.parametrize(
    "options", [replace(USUAL, num_captions=3), replace(USUAL, top_p=0.9, seed=3, num_captions=3)], ids=str
)
def test_several_captions_differ_and_do_not_depend_on_the_batch(
    ours: Blip2Captioner, options: DecodingOptions
) -> None:
    pictures = [ours.prepare(scene) for scene in SCENES]
    together = [[caption.text for caption in of_one] for of_one in ours.caption(pictures, options)]
    assert all(len(set(texts)) == 3 for texts in together)
    assert together == [[c.text for c in ours.caption([one], options)[0]] for one in pictures]


def test_prepared_pictures_are_those_of_lavis(ours: Blip2Captioner) -> None:
    from lavis.processors.blip_processors import BlipImageEvalProcessor

    picture = SCENES[0].resize((300, 200))
    theirs = BlipImageEvalProcessor(image_size=ours.pixels([ours.prepare(picture)]).shape[-1])(picture)
    torch.testing.assert_close(ours.pixels([ours.prepare(picture)])[0], theirs, rtol=0, atol=1e-6)


def test_a_text_too_long_to_read_is_refused(ours: Blip2Captioner) -> None:
    with pytest.raises(ValueError, match=r"has \d+ tokens; it can have \d+"):
        ours.caption([ours.prepare(Image.new("RGB", (8, 8)))], replace(USUAL, question="x y " * 400))


@pytest.mark.parametrize("precision", ["bf16", "int8", "int4"])
def test_less_precise_weights_give_nearly_the_same(tiny: Tiny, ours: Blip2Captioner, precision: str) -> None:
    other = load_blip2_captioner(tiny.name, "cpu", precision, ignore, tiny.model)
    assert other.info.precision == precision
    pixels = ours.pixels([ours.prepare(scene) for scene in SCENES])
    read = ours.language.encode("a photo of")
    with torch.inference_mode():
        exact, near = (one.language.begin(one._look(pixels), read) for one in (ours, other))
    cosine = torch.nn.functional.cosine_similarity(exact, near).min()
    assert cosine > {"bf16": 0.999, "int8": 0.99, "int4": 0.7}[precision]
    assert all(of_one[0].text for of_one in other.caption([other.prepare(scene) for scene in SCENES]))


def test_a_checkpoint_that_lacks_weights_is_refused_with_their_names(tiny: Tiny) -> None:
    assert isinstance(tiny.model.checkpoint, type(tiny.folder))
    content = torch.load(tiny.model.checkpoint)
    del content["model"]["query_tokens"]
    content["model"]["ln_vision.bias"] = torch.zeros(3)
    broken = tiny.folder / "broken.pth"
    torch.save(content, broken)
    with pytest.raises(ModelLoadError, match=r"2 places: .*ln_vision\.bias of shape \(3,\).*lacks query_tokens"):
        load_blip2_captioner(tiny.name, "cpu", "fp32", ignore, replace(tiny.model, checkpoint=broken))


def test_lavis_itself_runs_it_too(tiny: Tiny, ours: Blip2Captioner, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENGINE=lavis: LAVIS's loader and `generate`, with the same prompts and questions."""
    from services.captioning.lavis_captioner import load_lavis_captioner

    with tiny_parts(tiny.folder, monkeypatch):
        reference = load_lavis_captioner(tiny.name, "cpu", ignore)
    for options in (USUAL, replace(USUAL, prompt="the"), replace(USUAL, question="what is it?")):
        texts = [
            # LAVIS does not tell whether a text goes on within the prompt's last word
            [of_one[0].text.replace(" ", "") for of_one in one.caption(pictures, options)]
            for one, pictures in ((one, [one.prepare(scene) for scene in SCENES]) for one in (ours, reference))
        ]
        assert texts[0] == texts[1]
