"""How memory is given back: to the operating system, and to the GPUs' other programs."""

import ctypes
import gc
import mmap
import sys

from services.captioning.gpu_lock import GPU_LOCK

_MADV_DONTNEED = 4  # of Linux; others lack it in the mmap module


def settle_objects() -> None:
    """Have Python's collector not look again at any object that there is now: to be called when a model has come.

    Those are some 200,000, of torch mostly. To look at them all, as the collector does time and again, takes more
    than a tenth of a second, in which nothing else runs and every request waits.
    """
    gc.collect()
    gc.freeze()


def release_memory() -> None:
    """Give back what no object holds any more.

    Python frees what is in no cycle by itself, but torch keeps a GPU's memory for its next tensors.
    """
    gc.unfreeze()
    settle_objects()
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


def drop_pages(address: int, size: int) -> None:
    """Give back the whole pages within `size` bytes from `address`; what is not in a file is lost.

    The pages of a mapped file would count as ours until nothing holds the file any more. Not MADV_PAGEOUT: it
    leaves pages that the system holds in one piece with others.
    """
    first = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    last = (address + size) // mmap.PAGESIZE * mmap.PAGESIZE
    advise = getattr(ctypes.CDLL(None), "madvise", None)
    if last > first and advise and sys.platform == "linux":
        advise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), _MADV_DONTNEED)
