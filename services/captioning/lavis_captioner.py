"""Any captioning model of LAVIS's zoo, decoded with LAVIS's own defaults."""

import collections
import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from services.captioning.captioner import (
    Caption,
    LoadProgress,
    ModelInfo,
    Picture,
    ReportProgress,
)
from services.captioning.checkpoints import ModelLoadError, ensure_checkpoint
from services.captioning.convert import refused_objects
from services.captioning.devices import choose_device

DEMO = "demo"
PRECISIONS = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


class LavisCaptioner:
    """A model of LAVIS and its image processor, as `services.captioning.captioner.Captioner`."""

    def __init__(self, model: Any, process: Any, info: ModelInfo) -> None:
        self._model = model
        self._process = process  # PIL RGB -> float32 (3, side, side)
        self.info = info

    def prepare(self, picture: Picture) -> torch.Tensor:
        """PIL RGB of any size -> float32 (3, side, side), normalised, on the CPU."""
        prepared: torch.Tensor = self._process(picture)
        return prepared

    def caption(self, pictures: Sequence[torch.Tensor]) -> list[Caption]:
        """One caption for each (3, side, side) tensor; no confidence, since LAVIS gives none."""
        with torch.inference_mode():
            images = torch.stack(list(pictures)).to(self.info.device)
            texts = self._model.generate({"image": images})
        return [Caption(text.strip()) for text in texts]


def load_captioner(model: str, device: str, report: ReportProgress) -> LavisCaptioner:
    """Load `model` ("demo" or "name/type") onto `device` ("auto", "cpu", "cuda", "cuda:N").

    Importing LAVIS takes seconds and loading the weights more; `report` hears how far it is. Raises
    ModelLoadError or DeviceError, each with the cause and the cure.
    """
    choice = choose_device(device)
    report(LoadProgress("loading"))
    from services.captioning import lavis_zoo

    if model == DEMO:
        name, model_type = lavis_zoo.DEMO_ARCHITECTURE, "demo"
        checkpoint, held = None, None
    else:
        name, model_type = lavis_zoo.find_captioner(model)
        checkpoint = ensure_checkpoint(lavis_zoo.checkpoint_url(name, model_type), report)
        report(LoadProgress("loading"))
        held = _shapes(checkpoint)
    try:
        loaded, processors, _ = lavis_zoo.load_model_and_preprocess(
            name, model_type, is_eval=True, device=choice.device
        )
    except (OSError, RuntimeError) as exc:
        raise ModelLoadError(f"{model} could not be loaded: {exc}") from exc
    if checkpoint and held is not None:
        _check_complete(loaded, checkpoint, held)
    info = ModelInfo(model, str(choice.device), choice.reason, _precision(loaded))
    return LavisCaptioner(loaded, processors["eval"], info)


def _shapes(checkpoint: Path) -> dict[str, torch.Size]:
    """Names and shapes of the weights in a checkpoint of LAVIS, without reading the weights themselves.

    Raises ModelLoadError for a file that is broken, or that holds more than tensors: unpickling could run code.
    """
    try:
        # torch's format of before 1.6 is no archive, and cannot be mapped into memory
        mappable = zipfile.is_zipfile(checkpoint)
        held = torch.load(checkpoint, map_location="meta" if mappable else "cpu", mmap=mappable, weights_only=True)
        weights = held.get("model", held)
        return {name: weight.shape for name, weight in weights.items()}
    except pickle.UnpicklingError as exc:
        raise ModelLoadError(
            f"{checkpoint} holds more than tensors, and loading it could run code, so it is not loaded: "
            f"{refused_objects(exc)}. "
            f"If you trust where it is from: .venv/bin/python -m services.captioning.convert {checkpoint}"
        ) from exc
    except (OSError, RuntimeError, EOFError, AttributeError) as exc:  # AttributeError: no dictionary of tensors
        why = (str(exc) or type(exc).__name__).splitlines()[0]  # EOFError has no text
        raise ModelLoadError(f"{checkpoint} is not a whole checkpoint: {why}. {_ANEW}") from exc


_ANEW = "Delete the file; it is then downloaded anew"


def _check_complete(model: torch.nn.Module, checkpoint: Path, held: dict[str, torch.Size]) -> None:
    """LAVIS loads with strict=False, and what a checkpoint lacks keeps its random values: refuse that.

    Weights that LAVIS takes from elsewhere (BLIP-2's frozen parts) are not required of the checkpoint.
    """
    trained = {name: weight.shape for name, weight in model.named_parameters() if weight.requires_grad}
    bad = sorted(name for name, shape in trained.items() if held.get(name) != shape)
    if bad:
        names = ", ".join(bad[:8])
        raise ModelLoadError(f"{checkpoint} lacks {len(bad)} weights of the model's shapes: {names}. {_ANEW}")


def _precision(model: torch.nn.Module) -> str:
    """Of most of the weights."""
    counts = collections.Counter[torch.dtype]()
    for weight in model.parameters():
        counts[weight.dtype] += weight.numel()
    dtype = counts.most_common(1)[0][0]
    return PRECISIONS.get(dtype, str(dtype).removeprefix("torch."))
