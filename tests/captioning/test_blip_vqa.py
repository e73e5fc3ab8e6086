"""BLIP's model for questions, by LAVIS's own classes at a small size."""

import json
from typing import Any

import pytest
import torch
from torch import nn

from services.captioning import lavis_zoo
from services.captioning.captioner import DecodingOptions, ModelInfo, default_options
from services.captioning.lavis_captioner import LavisCaptioner
from services.errors import InvalidParameter
from tests.captioning.tiny_blip2 import make_loud
from training.scenes import draw_scene

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "what",
    "is",
    "it",
    "?",
    "a",
    "red",
    "green",
    "car",
    "house",
]
SIDE_PX, WIDTH = 64, 96
INFO = ModelInfo("blip_vqa/vqav2", "cpu", "a test", "fp32", "lavis")
ASKED = DecodingOptions(question="What is it?", min_length=1, max_length=10)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from lavis.models.blip_models.blip_vqa import BlipVQA
    from lavis.models.med import XBertEncoder, XBertLMHeadDecoder

    folder = tmp_path_factory.mktemp("vqa")
    (folder / "bert-base-uncased").mkdir()  # found by this name in the folder that is the current one
    (folder / "bert-base-uncased" / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    sizes = json.loads((lavis_zoo.DEMO_MODEL / "med_config.json").read_text(encoding="utf-8"))
    sizes |= {"hidden_size": WIDTH, "encoder_width": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": 2}
    config = lavis_zoo.BertConfig(**sizes | {"vocab_size": len(WORDS) + 2})  # [DEC] and [ENC] are added
    vision = lavis_zoo.DemoVisionTransformer(
        img_size=SIDE_PX, patch_size=16, embed_dim=WIDTH, depth=2, num_heads=6
    )
    torch.manual_seed(5)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        made: nn.Module = BlipVQA(
            vision, XBertEncoder(config, add_pooling_layer=False), XBertLMHeadDecoder(config)
        )
    make_loud(made)
    return made.eval()


@pytest.fixture(scope="module")
def captioner(model: Any) -> LavisCaptioner:
    from lavis.processors.blip_processors import BlipImageEvalProcessor, BlipQuestionProcessor

    return LavisCaptioner(model, BlipImageEvalProcessor(image_size=SIDE_PX), INFO, BlipQuestionProcessor())


def test_answers_are_those_of_lavis(model: Any, captioner: LavisCaptioner) -> None:
    prepared = [captioner.prepare(draw_scene(31_010, index).picture) for index in range(4)]
    answers = [of_one[0].text for of_one in captioner.caption(prepared, ASKED)]
    with torch.inference_mode():
        theirs = model.predict_answers(
            {"image": torch.stack(prepared), "text_input": ["what is it?"] * 4}, inference_method="generate"
        )
    assert answers == theirs
    assert len(set(answers)) > 1
    assert any(answers)


@pytest.mark.parametrize(
    "options", [None, default_options("blip_vqa/vqav2"), DecodingOptions(prompt="a")], ids=str
)
def test_without_a_question_it_has_nothing_to_say(
    captioner: LavisCaptioner, options: DecodingOptions | None
) -> None:
    with pytest.raises(InvalidParameter, match="blip_vqa/vqav2 makes no captions, it answers questions"):
        captioner.caption([captioner.prepare(draw_scene(31_010, 0).picture)], options)


@pytest.mark.parametrize(
    "other", [{"history": (("a?", "b"),)}, {"top_p": 0.5}, {"seed": 3}, {"num_captions": 2}, {"max_length": 65}]
)
def test_what_it_cannot_follow_is_refused(captioner: LavisCaptioner, other: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"question": "what is it?", "max_length": 10, "min_length": 1} | other
    with pytest.raises(ValueError, match=r"blip_vqa/vqav2 takes|LAVIS, which runs|max_length is 65"):
        captioner.caption([captioner.prepare(draw_scene(31_010, 0).picture)], DecodingOptions(**fields))
