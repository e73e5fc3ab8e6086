"""BLIP-2 that has nothing to say: a second, safer try, and then no caption. And one without room to say it."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from services.captioning.blip2.captioner import Blip2Captioner
from services.captioning.blip2.model import Blip2Model
from services.captioning.captioner import DecodingOptions, DeviceOutOfMemory, ModelInfo
from services.captioning.wanted import Abandoned, wanted_until

END, BLANK, RED, CAR, READ = range(5)
WORDS = {BLANK: " ", RED: " red", CAR: " car"}
INFO = ModelInfo("blip2_opt/fake", "cpu", "a fake needs no GPU", "fp32", "blip2")


class Shy:
    """Ends at once unless it must go on; then it says `then`, again and again, or BLANK and nothing else.

    Pictures whose first query is not 0 it calls a car straight away.
    """

    end_token = END
    longest: int | None = 200
    position_bytes = 1000

    def __init__(self, then: int) -> None:
        self._likely = torch.tensor([0.0, 0.0, 0.0, 0.0, -99.0])
        self._likely[END], self._likely[then] = 9.0, 6.0
        self._words = dict.fromkeys(WORDS, " ") if then == BLANK else WORDS
        self.read: list[str] = []
        self.rows = torch.empty(0)

    def encode(self, text: str) -> list[int]:
        self.read.append(text)
        return [READ] * (1 + len(text.split()))  # OPT's begin with a token of their own, too

    def begin(self, queries: Tensor, tokens: Sequence[int]) -> Tensor:
        self.rows = queries[:, 0, 0]
        first = self._likely.expand(len(queries), -1).clone()
        first[self.rows != 0, CAR] = 20.0
        return first

    def written_before(self, tokens: Sequence[int]) -> list[int]:
        return list(tokens)

    def widen(self, beams: int) -> None:
        self.rows = self.rows.repeat_interleave(beams)

    def forget(self) -> None:
        self.rows = torch.empty(0)

    def step(self, tokens: Tensor, parents: Tensor) -> Tensor:
        return self._likely.expand(len(tokens), -1)

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self._words[token] for token in tokens)


class Echo(Shy):
    """Repeats the question and ends; if it must go on, then with RED."""

    def __init__(self) -> None:
        super().__init__(then=RED)
        self._words = {**WORDS, READ: " what is it?"}

    def begin(self, queries: Tensor, tokens: Sequence[int]) -> Tensor:
        first = super().begin(queries, tokens)
        first[:, READ] = 30.0
        return first


def captioner_of(language: Shy, free: int | None = None) -> Blip2Captioner:
    def look(pixels: Tensor) -> Tensor:
        return pixels.amax(dim=(1, 2, 3)).clamp_min(0).ceil()[:, None, None]

    parts: Any = SimpleNamespace(query_tokens=torch.zeros(1), look=look)
    model = Blip2Model("", "", None, 1, image_px=14)
    return Blip2Captioner(parts, language, model, INFO, free=lambda device: free)


BLACK, WHITE = Image.new("RGB", (9, 9)), Image.new("RGB", (9, 9), "white")


@pytest.mark.parametrize(
    "options",
    [
        None,
        DecodingOptions(num_beams=1, min_length=0),
        DecodingOptions(question="what is it?", min_length=0),
        DecodingOptions(prompt="a photo of", min_length=0),
        DecodingOptions(top_p=0.5, seed=1, num_captions=2, min_length=0),
    ],
    ids=str,
)
def test_an_empty_text_is_tried_again_more_safely(options: DecodingOptions | None) -> None:
    captioner = captioner_of(Shy(then=RED))
    ((first, *_),) = captioner.caption([captioner.prepare(BLACK)], options)
    prompt = options.prompt if options else None
    assert first.text.removeprefix(prompt or "").split()[:2] in (["red"] * 2, ["red", "car"], ["red"])
    assert first.text.startswith(prompt or "red")


def test_only_the_picture_whose_text_was_empty_is_tried_again() -> None:
    captioner = captioner_of(Shy(then=RED))
    shy, plain = captioner.caption([captioner.prepare(BLACK), captioner.prepare(WHITE)])
    assert plain[0].text == "car"
    assert shy[0].text.startswith("red")


@pytest.mark.parametrize("options", [None, DecodingOptions(prompt="a photo of", min_length=0)], ids=str)
def test_a_text_that_stays_empty_is_none(options: DecodingOptions | None) -> None:
    """The pipeline answers it with `no_caption`; a prompt alone is no caption either."""
    captioner = captioner_of(Shy(then=BLANK))
    ((first,),) = captioner.caption([captioner.prepare(BLACK)], options)
    assert first.text == ""


def test_a_question_is_put_in_the_form_that_gets_answers() -> None:
    language = Shy(then=RED)
    captioner = captioner_of(language)
    captioner.caption([captioner.prepare(WHITE)], DecodingOptions(question="what?", history=(("a?", "b"),)))
    assert language.read == ["Question: a? Answer: b. Question: what? Answer:"]


def test_a_question_that_is_only_echoed_is_put_again() -> None:
    captioner = captioner_of(Echo())
    ((first,),) = captioner.caption(
        [captioner.prepare(BLACK)], DecodingOptions(question="what is it?", num_beams=1)
    )
    assert first.text.startswith("red")
    assert "what" not in first.text


def test_more_than_the_memory_holds_is_not_begun() -> None:
    """A CPU's system would end the process; the batcher tries fewer pictures."""
    # 5 beams of 32 + 1 + 30 positions for each picture, twice
    captioner = captioner_of(Shy(then=RED), free=2 * 5 * 63 * 1000)
    pictures = [captioner.prepare(WHITE)]
    assert captioner.caption(pictures)
    with pytest.raises(DeviceOutOfMemory, match="GB are free"):
        captioner.caption(2 * pictures)
    with pytest.raises(DeviceOutOfMemory, match="GB are free"):
        captioner.caption(pictures, DecodingOptions(num_beams=10, min_length=0))


def test_nothing_of_a_call_is_kept() -> None:
    """What the next one finds free must not depend on the one before, also where that was given up."""
    language = Shy(then=RED)
    captioner = captioner_of(language)
    pictures = [captioner.prepare(WHITE)]
    captioner.caption(pictures)
    assert not len(language.rows)
    with wanted_until(lambda: True), pytest.raises(Abandoned):
        captioner.caption(pictures, DecodingOptions(min_length=5))
    assert not len(language.rows)
