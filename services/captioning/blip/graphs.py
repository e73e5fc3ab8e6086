"""On a GPU: the encoder and a step of the decoder, recorded once a shape and then launched as one (CUDA graphs).

A step is some two hundred kernels of a few microseconds; launching them one by one takes longer than they do. What
is recorded is tried against the plain computation at once; where it differs, or cannot be recorded, all is
computed plainly from then on. On a CPU nothing is recorded.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from services.captioning.blip.model import Blip
from services.captioning.blip.text import TextCache, TextDecoder
from services.captioning.blip.vision import encode
from services.captioning.gpu_lock import GPU_LOCK

K = TypeVar("K")
T = TypeVar("T")

logger = logging.getLogger(__name__)

KEPT = 8  # recordings of each kind; each holds its tensors
ROOM = 16  # tokens; texts of up to as many more share a recording
ENCODED_AT_ONCE = 8  # images, recorded; more keep a GPU busy without
WARM_UPS = 3  # runs before recording, for what libraries allocate at first
TOLERANCE = 0.05  # of the largest value: kernels may be chosen otherwise while recording, and bf16 has 8 bits

Run = Callable[[], Tensor]
# run -> what plays it again, and the tensor in which its result then lies
Capture = Callable[[Run], tuple[Callable[[], object], Tensor]]
Follow = Callable[[Tensor, Tensor, Tensor], Tensor]  # tokens, parents, place -> logits, as TextDecoder.follow


def capture_cuda(device: torch.device, run: Run) -> tuple[Callable[[], object], Tensor]:
    """`run` as a CUDA graph of `device`."""
    with torch.cuda.device(device):
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UPS):
                run()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # Other threads go on with their own devices meanwhile. A stream of this device: torch's own for recording
        # belongs to the first device that recorded.
        with GPU_LOCK, torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
            result = run()
    return graph.replay, result


class Recording:
    """`compute` of tensors of fixed shapes. What a call gives lasts until the next call."""

    def __init__(self, compute: Callable[..., Tensor], inputs: tuple[Tensor, ...], capture: Capture) -> None:
        self._inputs = [given.clone() for given in inputs]
        self._play, self._result = capture(lambda: compute(*self._inputs))

    def __call__(self, *inputs: Tensor) -> Tensor:
        for held, given in zip(self._inputs, inputs, strict=True):
            held.copy_(given)
        self._play()
        return self._result


class RecordedSteps:
    """Steps of the decoder for caches of one shape."""

    def __init__(self, text: TextDecoder, cache: TextCache, capture: Capture) -> None:
        self._cache = _copied(cache)
        rows = cache.keys.shape[1]
        parents = torch.arange(rows, device=cache.keys.device)
        inputs = (torch.zeros_like(parents), parents, parents[:1].clone())
        self.follow = Recording(partial(text.follow, cache=self._cache), inputs, capture)

    def start(self, cache: TextCache) -> Follow:
        """What goes on from `cache`, which is copied."""
        for held, given in zip(self._cache.tensors(), cache.tensors(), strict=True):
            held.copy_(given)
        return self.follow


class Graphs:
    """What a captioner calls instead of its modules. Without `capture`: the modules themselves."""

    def __init__(self, blip: Blip, capture: Capture | None) -> None:
        self._blip = blip
        self._capture = capture
        self._encoders: OrderedDict[int, Recording] = OrderedDict()
        self._steps: OrderedDict[tuple[int, ...], RecordedSteps] = OrderedDict()

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels (images, 3, side, side) -> features (images, positions, width)."""
        images = len(pixels)
        if self._capture is None or images > ENCODED_AT_ONCE:
            return encode(self._blip.vision, pixels)
        if images not in self._encoders:
            made = self._try(lambda capture: self._record_encoder(pixels, capture))
            if made is None:
                return encode(self._blip.vision, pixels)
            _keep(self._encoders, images, made)
        self._encoders.move_to_end(images)
        return self._encoders[images](pixels)

    def room(self, max_length: int) -> int:
        """For how many tokens to make a cache, so that not every length is recorded for itself."""
        return max_length if self._capture is None else -(-max_length // ROOM) * ROOM

    def follow(self, cache: TextCache) -> Follow:
        """What takes the next tokens of texts that go on from `cache`."""
        plain: Follow = partial(self._blip.text.follow, cache=cache)
        if self._capture is None:
            return plain
        shape = (*cache.image_keys[0].shape, *cache.keys.shape)
        if shape not in self._steps:
            made = self._try(lambda capture: self._record_steps(cache, capture))
            if made is None:
                return plain
            _keep(self._steps, shape, made)
        self._steps.move_to_end(shape)
        return self._steps[shape].start(cache)

    def forget(self) -> None:
        """Give up what was recorded, and the memory that it holds."""
        self._encoders.clear()
        self._steps.clear()

    def _record_encoder(self, pixels: Tensor, capture: Capture) -> Recording:
        made = Recording(self._blip.vision, (pixels,), capture)
        other = pixels.flip(-1) + 1  # not what was recorded, which a recording of nothing would give back
        _compare(made(other), self._blip.vision(other))
        return made

    def _record_steps(self, cache: TextCache, capture: Capture) -> RecordedSteps:
        made = RecordedSteps(self._blip.text, cache, capture)
        rows = torch.arange(cache.keys.shape[1], device=cache.keys.device)
        tried = (torch.ones_like(rows), rows.flip(0), rows[:1] + 1)
        recorded = made.start(cache)(*tried)
        _compare(recorded, self._blip.text.follow(*tried, _copied(cache)))
        return made

    def _try(self, make: Callable[[Capture], T]) -> T | None:
        assert self._capture is not None
        try:
            return make(self._capture)
        except torch.OutOfMemoryError:
            raise  # the batch is made smaller then
        except RuntimeError:
            logger.warning("CUDA graphs do not work here; going on without, which is slower", exc_info=True)
            self._capture = None
            return None


def _copied(cache: TextCache) -> TextCache:
    return replace(
        cache,
        image_keys=[keys.clone() for keys in cache.image_keys],
        image_values=[values.clone() for values in cache.image_values],
        keys=cache.keys.clone(),
        values=cache.values.clone(),
    )


def _compare(recorded: Tensor, plain: Tensor) -> None:
    worst = (recorded - plain).abs().max() / plain.abs().max()
    if not worst <= TOLERANCE:
        raise RuntimeError(f"what was recorded gives other values: {worst:.3g} of the largest")


def _keep(kept: OrderedDict[K, T], key: K, made: T) -> None:
    """The newest KEPT; the one that was not used for longest goes."""
    kept[key] = made
    if len(kept) > KEPT:
        kept.popitem(last=False)
