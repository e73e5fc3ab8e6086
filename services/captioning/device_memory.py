"""How much memory the devices' models have taken."""

import resource
import sys
from collections.abc import Iterable
from pathlib import Path


def device_memory(devices: Iterable[str]) -> dict[str, dict[str, int]]:
    """Bytes by device and kind. devices: "cpu", "cuda:0", …, those on which a model was loaded.

    A GPU's are what torch's allocator has counted, so no GPU is waited for: "allocated" is held by tensors,
    "reserved" is that and what is kept for the next ones, "total" is what the GPU has. The CPU's is "resident":
    the memory of this whole process.
    """
    return {device: _on_cpu() if device == "cpu" else _on_gpu(device) for device in sorted(devices)}


def _on_gpu(device: str) -> dict[str, int]:
    cuda = sys.modules["torch"].cuda  # a model is there, so torch is; who has none need not import it
    return {
        "allocated": cuda.memory_allocated(device),
        "reserved": cuda.memory_reserved(device),
        "total": cuda.get_device_properties(device).total_memory,
    }


def _on_cpu() -> dict[str, int]:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return {"resident": pages * resource.getpagesize()}
