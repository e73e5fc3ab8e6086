"""What a captioner is. No torch here: the queue and the tests know captioners by this alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

# A picture as `Captioner.prepare` takes it (RGB, upright), and as it hands it on (a tensor, of the model's
# size).
Picture = Any
PreparedPicture = Any


@dataclass(frozen=True)
class Caption:
    """confidence: 0..1, or None where the engine has none (LAVIS's own `generate` gives text only)."""

    text: str
    confidence: float | None = None


@dataclass(frozen=True)
class ModelInfo:
    """What really runs: never what was wished for."""

    model: str  # as in MODEL
    device: str  # "cpu", "cuda:0"
    device_reason: str  # why this device
    precision: str  # "fp32", …


class Captioner(Protocol):
    info: ModelInfo

    def prepare(self, picture: Picture) -> PreparedPicture:
        """Shrink a picture to what the model looks at.

        Called by many threads at once; must not touch the model.
        """
        ...

    def caption(self, pictures: Sequence[PreparedPicture]) -> list[Caption]:
        """One caption a picture, in their order. Called by one thread only."""
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
