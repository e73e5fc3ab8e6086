"""Any captioning model of LAVIS's zoo, decoded with LAVIS's own defaults."""

import collections
import pickle
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
        checkpoint = None
    else:
        name, model_type = lavis_zoo.find_captioner(model)
        checkpoint = ensure_checkpoint(lavis_zoo.checkpoint_url(name, model_type), report)
        report(LoadProgress("loading"))
    try:
        loaded, processors, _ = lavis_zoo.load_model_and_preprocess(
            name, model_type, is_eval=True, device=choice.device
        )
    except pickle.UnpicklingError as exc:
        raise ModelLoadError(_not_only_tensors(checkpoint, exc)) from exc
    except (OSError, RuntimeError, EOFError) as exc:
        raise ModelLoadError(f"{model} could not be loaded: {exc}") from exc
    if checkpoint:
        _check_complete(loaded, checkpoint)
    info = ModelInfo(model, str(choice.device), choice.reason, _precision(loaded))
    return LavisCaptioner(loaded, processors["eval"], info)


def _check_complete(model: torch.nn.Module, checkpoint: Path) -> None:
    """LAVIS loads with strict=False, and what a checkpoint lacks keeps its random values: refuse that.

    Weights that LAVIS takes from elsewhere (BLIP-2's frozen parts) are not required of the checkpoint.
    """
    held = torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)
    held = held.get("model", held)
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    missing = sorted(trained - held.keys())
    wrong = sorted(name for name in trained & held.keys() if model.get_parameter(name).shape != held[name].shape)
    if missing or wrong:
        names = ", ".join([*missing, *wrong][:8])
        raise ModelLoadError(
            f"{checkpoint} lacks {len(missing)} weights of the model and holds {len(wrong)} of another shape: "
            f"{names}. Delete the file; it is then downloaded anew"
        )


def _not_only_tensors(checkpoint: Path | None, exc: pickle.UnpicklingError) -> str:
    """PyTorch names the first object that it refused; the rest of its advice is to switch the safety off."""
    refused = [line for line in str(exc).splitlines() if "GLOBAL" in line or "Unsupported" in line]
    what = refused[0].strip() if refused else str(exc).splitlines()[0]
    return (
        f"{checkpoint} holds more than tensors, and loading it could run code, so it is not loaded: {what}. "
        "Delete the file if it should be the published one; it is then downloaded anew"
    )


def _precision(model: torch.nn.Module) -> str:
    """Of most of the weights."""
    counts = collections.Counter[torch.dtype]()
    for weight in model.parameters():
        counts[weight.dtype] += weight.numel()
    dtype = counts.most_common(1)[0][0]
    return PRECISIONS.get(dtype, str(dtype).removeprefix("torch."))
