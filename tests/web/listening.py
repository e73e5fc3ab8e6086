"""A captioner that remembers how it was asked to caption, and is sure of what it says."""

from collections.abc import Sequence

from services.captioning.captioner import Caption, DecodingOptions
from tests.fakes import Colour, FakeCaptioner

CONFIDENCE = 0.83


class ListeningCaptioner(FakeCaptioner):
    """`asked`: the options of every batch. The captions of a picture are "<text> 1", "<text> 2" where several
    are wanted, and begin with the prompt where there is one."""

    def __init__(self, text: str = "a girl", confidence: float | None = CONFIDENCE) -> None:
        super().__init__(text)
        self.confidence = confidence
        self.asked: list[DecodingOptions | None] = []

    def caption(self, pictures: Sequence[Colour], options: DecodingOptions | None) -> list[list[Caption]]:
        self.asked.append(options)
        wanted = options or DecodingOptions()
        text = f"{wanted.prompt} {self.text}" if wanted.prompt else str(self.text)
        numbers = [f" {n}" for n in range(1, wanted.num_captions + 1)] if wanted.num_captions > 1 else [""]
        return [[Caption(text + number, self.confidence) for number in numbers] for _ in pictures]
