"""Questions among the decoding options: for models that answer them."""

import json
from typing import Any

import pytest

from services.errors import CaptioningError, ConflictingInput, InvalidParameter
from services.pipeline import DecodingOptions
from services.web.decoding import read_decoding

BLIP2 = "blip2_opt/pretrain_opt2.7b"
TURNS = [{"question": "who?", "answer": "a cat"}, {"question": "where?", "answer": "here"}]


@pytest.mark.parametrize("history", [TURNS, json.dumps(TURNS)])
def test_a_question_with_its_history(history: Any) -> None:
    assert read_decoding([("question", "what?"), ("history", history)], BLIP2) == DecodingOptions(
        num_beams=5, min_length=0, question="what?", history=(("who?", "a cat"), ("where?", "here"))
    )


def test_options_that_are_not_sent_are_those_of_the_model() -> None:
    assert read_decoding([("num_beams", 2)], BLIP2) == DecodingOptions(num_beams=2, min_length=0)
    assert read_decoding([("num_beams", 2)], "blip_caption/large_coco") == DecodingOptions(num_beams=2)
    assert read_decoding([("question", "what?")], "blip_vqa/vqav2") == DecodingOptions(
        min_length=1, max_length=10, question="what?"
    )
    assert read_decoding([], BLIP2) is None


@pytest.mark.parametrize(
    ("sent", "error", "text"),
    [
        ([("question", "a?"), ("prompt", "b")], ConflictingInput, "Cannot provide both prompt and question"),
        ([("history", TURNS)], InvalidParameter, "history needs a question"),
        ([("question", " ")], InvalidParameter, "question must be a text of 1 to 500 characters"),
        ([("question", 3)], InvalidParameter, "question must be a text"),
        *[
            ([("question", "a?"), ("history", history)], InvalidParameter, "history must be a list of up to 20")
            for history in ("x", "[1]", 3, [3], ["a"], [{"question": "a"}], [{"question": 1, "answer": ""}])
        ],
        ([("question", "a?"), ("history", TURNS * 11)], InvalidParameter, "history must be a list of up to 20"),
        ([("question", "a?"), ("history", "[" * 100_000)], InvalidParameter, "history must be a list of up to 20"),
    ],
)
def test_what_is_wrong_is_said(sent: list[tuple[str, Any]], error: type[CaptioningError], text: str) -> None:
    with pytest.raises(error, match=text):
        read_decoding(sent, BLIP2)


def test_a_model_that_only_captions_names_those_that_answer() -> None:
    served = ["demo", BLIP2, "blip_vqa/vqav2"]
    with pytest.raises(InvalidParameter, match=rf"model demo .* {BLIP2} and blip_vqa/vqav2 can"):
        read_decoding([("question", "what?")], "demo", served)
    with pytest.raises(InvalidParameter, match="none can"):
        read_decoding([("question", "what?")], "demo", ["demo"])
