"""How memory is given back: to the operating system, and to the GPUs' other programs."""

import ctypes
import gc
import sys

from services.captioning.gpu_lock import GPU_LOCK


def release_memory() -> None:
    """Give back what no object holds any more.

    Python frees what is in no cycle by itself, but torch keeps a GPU's memory for its next tensors.
    """
    gc.collect()
    torch = sys.modules.get("torch")  # a process that has not imported it has nothing of it
    if torch and torch.cuda.is_initialized():
        with GPU_LOCK:
            torch.cuda.empty_cache()
    trim_heap()


def trim_heap() -> None:
    """Give back what is free between the blocks in use; the C library keeps it on its heap by itself.

    It gives back the blocks above 32 MiB alone, and smaller ones among others that stay can take several times
    the room of those. Takes about a millisecond.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc alone has it
    if trim:
        trim(0)
