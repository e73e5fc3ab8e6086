"""That memory which nothing needs any more is given back."""

import gc
import mmap
import weakref
from pathlib import Path

import torch

from services.captioning.memory import drop_pages, release_memory, settle_objects
from tests.captioning.echo import Echo, ask, running


def test_dropped_pages_of_a_mapped_file_leave_memory_and_not_the_file(tmp_path: Path) -> None:
    pages, values = 64, 64 * mmap.PAGESIZE // 4
    path = tmp_path / "weights"
    torch.arange(values, dtype=torch.float32).numpy().tofile(path)
    weight = torch.from_file(str(path), shared=False, size=values)
    assert weight.sum() > 0  # reads every page
    assert resident(weight) == pages
    drop_pages(weight.data_ptr(), weight.nbytes)
    assert resident(weight) == 0
    assert torch.equal(weight, torch.arange(values, dtype=torch.float32))


class Model:
    """In a cycle, as models are."""

    def __init__(self) -> None:
        self.myself = self


def test_the_collector_is_done_with_what_stays() -> None:
    model = Model()
    settle_objects()
    try:
        assert not any(one is model for one in gc.get_objects())
    finally:
        gc.unfreeze()


def test_what_had_settled_can_go() -> None:
    model = Model()
    settle_objects()
    gone = weakref.ref(model)
    try:
        del model
        gc.collect()
        assert gone()
        release_memory()
        assert not gone()
    finally:
        gc.unfreeze()


def test_a_model_settles_once_it_is_loaded() -> None:
    """Before it takes its first picture."""
    model = Echo()
    try:
        with running(model) as batcher:
            assert ask(batcher, "a") == "A"
            assert not any(one is model for one in gc.get_objects())
    finally:
        gc.unfreeze()


def resident(mapped: torch.Tensor) -> int:
    """Pages of the mapping in memory, by the kernel's own account."""
    blocks = Path("/proc/self/smaps").read_text().split("VmFlags")
    of_mapping = next(block for block in blocks if f"{mapped.data_ptr():x}-" in block)
    kilobytes = int(of_mapping.split("\nRss:")[1].split()[0])
    return kilobytes * 1024 // mmap.PAGESIZE
