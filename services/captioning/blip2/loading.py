"""The files of a BLIP-2 model -> a captioner on its device, in the precision asked for."""

from pathlib import Path

import torch

from services.captioning.blip2.architecture import build, language_of
from services.captioning.blip2.captioner import Blip2Captioner
from services.captioning.blip2.hub import language_files
from services.captioning.blip2.memory import ON, check_room, free_bytes
from services.captioning.blip2.model import BLIP2_MODELS, Blip2Model
from services.captioning.blip2.weights import Place, load_weights
from services.captioning.captioner import LoadProgress, ModelInfo, ReportProgress
from services.captioning.checkpoints import ensure_checkpoint
from services.captioning.devices import DeviceError, choose_device

ENGINE = "blip2"


def load_blip2_captioner(
    name: str,
    device: str,
    precision: str,
    report: ReportProgress,
    model: Blip2Model | None = None,
) -> Blip2Captioner:
    """Load BLIP2_MODELS[name], or `model`, onto `device` ("auto", "cpu", …), in `precision` ("auto", "fp32", …).

    Raises ModelLoadError or DeviceError, each with the cause and the cure.
    """
    model, choice = model or BLIP2_MODELS[name], choose_device(device)
    precision = choose_precision(precision, choice.device, name)
    check_room(name, model.parameters, precision, choice.device, free_bytes(choice.device))
    report(LoadProgress("loading"))
    checkpoint = _file(model.checkpoint, report)
    vision = None if model.vision_checkpoint is None else _file(model.vision_checkpoint, report)
    language = language_files(model.language_model, report)
    report(LoadProgress("loading"))
    blip2 = build(model, language.folder)
    has_t5 = blip2.language_model.config.model_type == "t5"
    load_weights(blip2, checkpoint, vision, language.weights, Place(choice.device, precision, has_t5))
    info = ModelInfo(name, str(choice.device), choice.reason, precision, ENGINE)
    captioner = Blip2Captioner(blip2, language_of(blip2, language.folder), model, info)
    if choice.device.type == "cuda":  # what does not work there fails now, with its reason
        captioner.caption([torch.zeros(3, model.image_px, model.image_px, dtype=torch.uint8)])
    return captioner


def choose_precision(requested: str, device: torch.device, name: str) -> str:
    """auto is LAVIS's own: fp32 on a CPU, on a GPU fp16 for OPT and bf16 for T5, whose values leave fp16's range.

    Raises DeviceError for what the device, or the model, cannot do.
    """
    is_t5 = name.startswith("blip2_t5/")
    if requested == "auto":
        return "fp32" if device.type == "cpu" else "bf16" if is_t5 else "fp16"
    possible = [one for one in ON[device.type] if not (is_t5 and one == "fp16")]
    if requested not in possible:
        raise DeviceError(
            f"PRECISION={requested} does not work for {name} on {device}; "
            f"there it can be auto, {', '.join(possible)}"
        )
    return requested


def _file(where: str | Path, report: ReportProgress) -> Path:
    """A URL's file, downloaded where it was missing; a path as it is."""
    if isinstance(where, Path):
        return where
    path = ensure_checkpoint(where, report)
    report(LoadProgress("loading"))
    return path
