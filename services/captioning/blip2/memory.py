"""Whether a model will fit, told before it is loaded."""

from pathlib import Path

import torch

from services.captioning.checkpoints import ModelLoadError

GB = 1e9
# a weight in each precision, with the scales of its row or group, and the few parts that stay larger
BYTES = {"fp32": 4.0, "bf16": 2.01, "fp16": 2.01, "int8": 1.02, "int4": 0.58}
WORK_BYTES = 1.0 * GB  # libraries, a picture on its way through the layers, what the beams keep
ON = {"cpu": ("fp32", "bf16", "int8", "int4"), "cuda": ("fp32", "bf16", "fp16")}

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def check_room(name: str, parameters: int, precision: str, device: torch.device, free: int | None) -> None:
    """parameters: in millions. free: bytes on the device; None: unknown, and then the system must see to it.

    Raises ModelLoadError that says what would fit.
    """
    if free is None or needed(parameters, precision) <= free:
        return
    fitting = [other for other in ON[device.type] if needed(parameters, other) <= free]
    cure = "MODEL=blip_caption/large_coco needs 2.8 GB"
    if fitting:
        cure = f"PRECISION={fitting[0]} needs {needed(parameters, fitting[0]) / GB:.1f} GB"
    raise ModelLoadError(
        f"{name} in {precision} needs {needed(parameters, precision) / GB:.1f} GB of memory, and "
        f"{free / GB:.1f} GB are free on {device}: {cure}"
    )


def needed(parameters: int, precision: str) -> float:
    """Bytes for so many millions of parameters."""
    return parameters * 1e6 * BYTES[precision] + WORK_BYTES


def free_bytes(device: torch.device, meminfo: Path = MEMINFO, cgroup: Path = CGROUP) -> int | None:
    """What is free on a GPU; or on this machine, and in the container that we may be in. None: unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    known = [free for free in (_free_here(meminfo), _free_in(cgroup)) if free is not None]
    return min(known, default=None)


def _free_here(meminfo: Path) -> int | None:
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _free_in(cgroup: Path) -> int | None:
    """Of a container with a limit (cgroup v2); the cache of files counts as free, since it makes room."""
    try:
        limit = (cgroup / "memory.max").read_text(encoding="ascii").strip()
        used = int((cgroup / "memory.current").read_text(encoding="ascii"))
        stat = (cgroup / "memory.stat").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    if limit == "max":
        return None
    cached = sum(int(line.split()[1]) for line in stat if line.startswith(("inactive_file ", "active_file ")))
    return int(limit) - used + cached
