"""The files of a BLIP-2 model -> a captioner on its device, in the precision asked for."""

from pathlib import Path

import torch
from torch import nn

from services.captioning.blip2.architecture import Blip2, build, language_of
from services.captioning.blip2.captioner import Blip2Captioner
from services.captioning.blip2.hub import language_files
from services.captioning.blip2.memory import ON, check_room, free_bytes
from services.captioning.blip2.model import BLIP2_MODELS, PATCH_PX, Blip2Model
from services.captioning.blip2.weights import Place, load_weights
from services.captioning.captioner import LoadProgress, ModelInfo, ReportProgress
from services.captioning.checkpoints import ensure_checkpoint
from services.captioning.devices import DeviceError, choose_device
from services.captioning.kernels import FOR_AN_IMAGE, FOR_ANY_ROWS, Kernel, fastest

ENGINE = "blip2"
STEP_ROWS = 5  # the beams of an image


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
    in_fp32_here = choice.device.type == "cpu" and precision == "fp32"
    kernels = choose_kernels(blip2, model.image_px) if in_fp32_here else {}
    load_weights(blip2, checkpoint, vision, language.weights, Place(choice.device, precision, has_t5, kernels))
    info = ModelInfo(name, str(choice.device), choice.reason, precision, ENGINE)
    captioner = Blip2Captioner(blip2, language_of(blip2, language.folder), model, info)
    if choice.device.type == "cuda":  # what does not work there fails now, with its reason
        captioner.caption([torch.zeros(3, model.image_px, model.image_px, dtype=torch.uint8)])
    return captioner


def choose_kernels(blip2: Blip2, image_px: int) -> dict[str, tuple[Kernel, int]]:
    """The fastest on this CPU for the large parts, whose weights need not be there yet: the kernels of a Place."""
    head = blip2.language_model.get_output_embeddings()
    positions = 1 + (image_px // PATCH_PX) ** 2
    chosen = {}
    for name, offered, rows in (
        ("visual_encoder", FOR_AN_IMAGE, positions),
        ("language_model", FOR_ANY_ROWS, STEP_ROWS),
    ):
        linears = [part for part in getattr(blip2, name).modules() if type(part) is nn.Linear and part is not head]
        largest = max(linears, key=lambda linear: linear.weight.numel())
        chosen[f"{name}."] = fastest(offered, _ones(largest.in_features, largest.out_features), rows), rows
    return chosen


def _ones(wide: int, out: int) -> nn.Linear:
    """Of no model, without the time that random weights take."""
    linear = nn.Linear(wide, out, bias=False, device="meta")
    linear.weight = nn.Parameter(torch.ones(out, wide), requires_grad=False)
    return linear


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
