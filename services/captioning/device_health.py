"""Whether a device still answers, after an error."""

import torch

from services.captioning.gpu_lock import GPU_LOCK


def is_lost(device: torch.device | str) -> bool:
    """Whether nothing can be computed on `device` any more by this process.

    CUDA calls some errors sticky (an illegal address, a failed assertion on the device, memory that cannot be
    corrected): they destroy the process's context, and each later call repeats them until the process ends.
    https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__ERROR.html
    So the device is asked, which tells more than an error's text.
    """
    if torch.device(device).type != "cuda":
        return False
    try:
        with GPU_LOCK:
            torch.cuda.synchronize(device)
    except torch.OutOfMemoryError:
        return False
    except RuntimeError:
        return True
    return False
