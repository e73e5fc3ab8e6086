"""What BLIP-2 reads, and what of what it writes is shown."""

import pytest

from services.captioning.blip2.prompts import answer_in, question_text, shown_text, text_to_read
from services.captioning.captioner import DecodingOptions, can_answer, default_options


@pytest.mark.parametrize(
    ("options", "read"),
    [
        (DecodingOptions(), "a photo of"),
        (DecodingOptions(prompt="this is "), "this is"),
        (DecodingOptions(question=" c? "), "Question: c? Answer:"),
        (DecodingOptions(question="c?", history=(("a?", "b"),)), "Question: a? Answer: b. Question: c? Answer:"),
        (
            DecodingOptions(question="e?", history=(("a?", "b."), ("c?", "d"))),
            "Question: a? Answer: b. Question: c? Answer: d. Question: e? Answer:",
        ),
    ],
)
def test_what_is_read(options: DecodingOptions, read: str) -> None:
    assert text_to_read(options, "a photo of") == read


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        (" a red car", "a red car"),
        (" What is it? a red car", "a red car"),
        ("what is  it? A red car", "A red car"),
        ("Question: what is it? Answer: a red car", "a red car"),
        ("Question: what is it? a red car", "a red car"),
        ("what is it? what is it? a red car", "a red car"),
        ("Answer: a red car", "a red car"),
        (" a red car. Question: what colour? Answer: red", "a red car."),
        ("a red car\nQuestion: and", "a red car"),
        (" what is it?", ""),
        ("Question: what is it? Answer:", ""),
        ("Question: what else? Answer: no", ""),
        ("", ""),
        ("what is it worth", "what is it worth"),
        ("a question of taste", "a question of taste"),
    ],
)
def test_an_answer_has_no_question_in_it(written: str, answer: str) -> None:
    assert answer_in(written, "what is it?", question_text("what is it?")) == answer


def test_a_question_without_its_mark_is_not_cut_out_of_a_word() -> None:
    assert answer_in("manmade lake", "man", question_text("man")) == "manmade lake"


def test_an_echo_of_the_history_goes_too() -> None:
    read = question_text("c?", [("a?", "b")])
    assert answer_in(f"{read} d", "c?", read) == "d"


@pytest.mark.parametrize(
    ("prompt", "written", "shown"),
    [
        ("this is ", " a car", "this is a car"),
        ("10", "0 cars", "100 cars"),  # goes on within the prompt's last word
        ("this is", " this is a car", "this is a car"),
        ("this is", "This is", ""),
        ("this is", " ", ""),
        (None, " a car ", "a car"),
    ],
)
def test_a_prompt_stands_once_in_front(prompt: str | None, written: str, shown: str) -> None:
    options = DecodingOptions(prompt=prompt)
    assert shown_text(written, options, text_to_read(options, "a photo of")) == shown


def test_defaults_are_those_of_the_model() -> None:
    assert default_options("blip_caption/large_coco") == DecodingOptions()
    assert default_options("blip2_t5/pretrain_flant5xl").num_beams == 5
    assert default_options("blip2_opt/pretrain_opt2.7b").min_length == 0  # an answer may be one word
    assert default_options("blip_vqa/vqav2").max_length == 10
    assert [can_answer(name) for name in ("demo", "blip_caption/base_coco", "blip_vqa/vqav2")] == [
        False,
        False,
        True,
    ]
