"""Which device the model runs on, and why; and in which precision."""

import logging
from dataclasses import dataclass

import torch

logger = logging.getLogger(__name__)


DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_ON = {"cpu": ("fp32", "int8"), "cuda": ("fp32", "bf16", "fp16")}


class DeviceError(RuntimeError):
    """The device or the precision that was asked for by name does not work."""


@dataclass(frozen=True)
class DeviceChoice:
    device: torch.device
    reason: str  # for people


def choose_device(requested: str) -> DeviceChoice:
    """The device for DEVICE=`requested`: auto, cpu, cuda or cuda:N.

    auto takes CUDA if it really works, else the CPU, with a warning that says why. Raises DeviceError for a
    GPU that was asked for by name and does not work: falling back would hide the mistake.
    """
    if requested == "cpu":
        return DeviceChoice(torch.device("cpu"), "asked for by DEVICE=cpu")
    name = "cuda:0" if requested in ("auto", "cuda") else requested
    fault = _cuda_fault(name)
    if fault is None:
        reason = f"{torch.cuda.get_device_name(name)}, {'found' if requested == 'auto' else 'asked for'}"
        return DeviceChoice(torch.device(name), reason)
    if requested != "auto":
        raise DeviceError(f"DEVICE={requested} does not work: {fault}. DEVICE=auto falls back to the CPU")
    logger.warning("Running on the CPU: %s", fault)
    return DeviceChoice(torch.device("cpu"), f"no usable GPU: {fault}")


def choose_precision(requested: str, device: torch.device) -> str:
    """The precision of a BLIP captioner for PRECISION=`requested`: auto, fp32, bf16, fp16 or int8.

    auto is fp32 on every device: another one changes some captions, and none was measured yet to change fewer
    than one in a hundred on a GPU. Raises DeviceError for what the device cannot do.
    """
    if requested == "auto":
        return "fp32"
    possible = _ON[device.type]
    if requested not in possible:
        raise DeviceError(
            f"PRECISION={requested} does not work for BLIP on {device}; "
            f"there it can be auto, {', '.join(possible)}"
        )
    if requested == "int8" and not torch.cpu._is_vnni_supported():
        raise DeviceError("PRECISION=int8 needs a CPU with AVX512-VNNI, which this one lacks; use PRECISION=fp32")
    return requested


def _cuda_fault(name: str) -> str | None:
    """Why CUDA device `name` cannot be used; None if it can, as shown by a first computation on it."""
    if torch.version.cuda is None:
        return "this build of PyTorch is for the CPU only"
    if not torch.cuda.is_available():
        return "PyTorch finds no CUDA device (is the NVIDIA driver installed, and new enough?)"
    try:
        torch.ones(8, device=name).sum().item()
    except (RuntimeError, AssertionError) as exc:  # AssertionError: an index beyond the last GPU
        return str(exc).splitlines()[0]
    return None
