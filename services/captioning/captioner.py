"""What a captioner is. No torch here: the queue and the tests know captioners by this alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

# A picture as `Captioner.prepare` takes it (RGB, upright), and as it hands it on (a tensor, of the model's
# size).
Picture = Any
PreparedPicture = Any


@dataclass(frozen=True)
class DecodingOptions:
    """How a caption is made. The defaults are those of LAVIS's `BlipCaption.generate`.

    Lengths are in tokens and count the prompt's; BLIP-2's language models count new tokens alone. Only pictures
    with equal options share a batch.
    """

    num_beams: int = 3  # 1: greedy
    max_length: int = 30
    min_length: int = 10
    repetition_penalty: float = 1.0  # 1.0: none; Keskar et al. 2019
    prompt: str | None = None  # what the caption continues; None: the model's own prompt, which is not shown
    top_p: float | None = None  # sample from the likeliest tokens of this total probability, instead of beams
    seed: int | None = None  # of the sampling; None: another one each time
    num_captions: int = 1  # different captions of one picture, the likeliest first
    question: str | None = None  # what the model is to answer, in place of a caption
    history: tuple[tuple[str, str], ...] = ()  # earlier questions with their answers, the oldest first


ANSWERING = ("blip2_opt", "blip2_t5", "blip_vqa")  # architectures that can answer a question


def can_answer(model: str) -> bool:
    """model: as in MODEL."""
    return model.partition("/")[0] in ANSWERING


def default_options(model: str) -> DecodingOptions:
    """What LAVIS's own `generate` does for this model."""
    architecture = model.partition("/")[0]
    if architecture == "blip_vqa":
        return DecodingOptions(max_length=10, min_length=1)
    if architecture in ("blip2_opt", "blip2_t5"):
        return DecodingOptions(num_beams=5, min_length=0)  # LAVIS's 1 counts what stands before the text
    return DecodingOptions()


def safer_options(options: DecodingOptions) -> DecodingOptions:
    """For a second try, where the first text was empty: no chance, and an end only behind some words."""
    return replace(
        options,
        top_p=None,
        num_beams=max(5, options.num_beams),
        max_length=max(6, options.max_length),
        min_length=max(5, options.min_length),
        repetition_penalty=max(1.5, options.repetition_penalty),
    )


@dataclass(frozen=True)
class Caption:
    """confidence: 0..1, or None where the engine has none (LAVIS's own `generate` gives text only).

    It is the geometric mean of the probabilities which the model gave to the caption's tokens, its end
    included, and its prompt not.
    """

    text: str
    confidence: float | None = None


class DeviceOutOfMemory(RuntimeError):
    """The batch does not fit into the device's memory; a smaller one may."""


class DeviceLost(RuntimeError):
    """The device answers nothing any more until the process ends: an error that CUDA calls sticky."""


@dataclass(frozen=True)
class ModelInfo:
    """What really runs: never what was wished for."""

    model: str  # as in MODEL
    device: str  # "cpu", "cuda:0"
    device_reason: str  # why this device
    precision: str  # "fp32", …
    engine: str  # "blip" or "blip2" (the fast paths), or "lavis"


class Captioner(Protocol):
    info: ModelInfo

    def prepare(self, picture: Picture) -> PreparedPicture:
        """Shrink a picture to what the model looks at.

        Called by many threads at once; must not touch the model.
        """
        ...

    def caption(self, pictures: Sequence[PreparedPicture], options: DecodingOptions | None) -> list[list[Caption]]:
        """`options.num_captions` captions a picture, in the pictures' order. Called by one thread only.

        options: None for the defaults that LAVIS has for this model. Raises DeviceOutOfMemory
        and DeviceLost.
        """
        ...


@dataclass(frozen=True)
class LoadProgress:
    """How far loading is. n_bytes counts up to total_bytes while weights are downloaded."""

    stage: str  # "downloading", "loading"
    n_bytes: int = 0
    total_bytes: int | None = None

    @property
    def fraction(self) -> float:
        """0..1, of the download; loading itself cannot be measured."""
        return self.n_bytes / self.total_bytes if self.total_bytes else 0.0


ReportProgress = Callable[[LoadProgress], None]
LoadCaptioner = Callable[[ReportProgress], Captioner]
