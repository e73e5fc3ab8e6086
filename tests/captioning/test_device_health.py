"""An error after which the device answers nothing is told apart from one that passes."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from services.captioning.blip import captioner as blip
from services.captioning.blip.model import BLIP_MODELS
from services.captioning.captioner import Captioner, DeviceLost, ModelInfo
from services.captioning.device_health import is_lost
from services.captioning.lavis_captioner import LavisCaptioner

FAULT = "CUDA error: an illegal memory access was encountered"
INFO = ModelInfo("broken", "cpu", "a test", "fp32", "fake")
PICTURES = [torch.zeros(3, 4, 4, dtype=torch.uint8)]


@pytest.mark.parametrize(
    ("answer", "lost"),
    [(None, False), (torch.AcceleratorError(FAULT), True), (torch.OutOfMemoryError("CUDA out of memory"), False)],
)
def test_the_device_itself_is_asked(monkeypatch: pytest.MonkeyPatch, answer: Exception | None, lost: bool) -> None:
    asked: list[torch.device | str] = []

    def synchronize(device: torch.device | str) -> None:
        asked.append(device)
        if answer:
            raise answer

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    assert is_lost("cuda:1") is lost
    assert asked == ["cuda:1"]


def test_a_cpu_is_never_lost() -> None:
    assert not is_lost("cpu")


class Broken:
    """A vision encoder, and a model of LAVIS."""

    prompt_length = 4
    text_decoder = SimpleNamespace(config=SimpleNamespace(max_position_embeddings=512))

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        raise torch.AcceleratorError(FAULT)

    def generate(self, samples: dict[str, torch.Tensor], **_options: float) -> list[str]:
        raise torch.AcceleratorError(FAULT)


class NoVocabulary:
    def encode(self, text: str) -> Sequence[int]:
        return [1]


def fast_path() -> Captioner:
    broken: Any = SimpleNamespace(vision=Broken())
    vocabulary: Any = NoVocabulary()
    return blip.BlipCaptioner(broken, BLIP_MODELS["demo"], vocabulary, INFO)


def lavis() -> Captioner:
    return LavisCaptioner(Broken(), None, INFO)


@pytest.mark.parametrize("make", [fast_path, lavis])
@pytest.mark.parametrize(("lost", "kind"), [(True, DeviceLost), (False, torch.AcceleratorError)])
def test_both_engines_say_which_it_was(
    monkeypatch: pytest.MonkeyPatch, make: Callable[[], Captioner], lost: bool, kind: type[Exception]
) -> None:
    for engine in ("torch_captioner", "lavis_captioner"):
        monkeypatch.setattr(f"services.captioning.{engine}.is_lost", lambda _: lost)
    with pytest.raises(kind, match="illegal memory access") as failure:
        make().caption(PICTURES, None)
    assert type(failure.value) is kind
