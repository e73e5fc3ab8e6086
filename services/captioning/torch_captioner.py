"""What the captioners in plain torch share: pictures made tensors, and texts that differ from each other.

A model brings how it looks at pixels (`_look`), how it searches texts (`_search`) and how it reads them (`_text`).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from services.captioning.beam_search import Texts
from services.captioning.captioner import (
    Caption,
    DecodingOptions,
    DeviceLost,
    DeviceOutOfMemory,
    ModelInfo,
    Picture,
    default_options,
    safer_options,
)
from services.captioning.device_health import is_lost

BICUBIC = 3  # Pillow's Resampling.BICUBIC, as in LAVIS's BlipImageEvalProcessor
# CLIP's, of RGB in 0..1, as in LAVIS's BlipImageBaseProcessor
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
SAMPLING_ROUNDS = 4  # for texts that differ, before a beam search fills what is missing

Given = TypeVar("Given")  # what stands before the text, as the model reads it


class TorchCaptioner(ABC, Generic[Given]):
    """A model on its device, as `services.captioning.captioner.Captioner`."""

    def __init__(self, info: ModelInfo, side_px: int, dtype: torch.dtype) -> None:
        """side_px: of the square that the model looks at. dtype: of its pixels."""
        self.info = info
        self._device = torch.device(info.device)
        self._side_px = side_px
        self._dtype = dtype
        self._mean = torch.tensor(MEAN, device=self._device).view(3, 1, 1)
        self._deviation = torch.tensor(DEVIATION, device=self._device).view(3, 1, 1)

    def prepare(self, picture: Picture) -> Tensor:
        """PIL RGB of any size -> uint8 (3, side, side), on the CPU."""
        shrunk: Any = picture.resize((self._side_px, self._side_px), resample=BICUBIC)
        # numpy, not torch: each thread that calls this would get threads of torch, which compete with the model's
        return torch.from_numpy(np.ascontiguousarray(np.asarray(shrunk).transpose(2, 0, 1)))

    def pixels(self, pictures: Sequence[Tensor]) -> Tensor:
        """Prepared pictures -> (pictures, 3, side, side), normalised, on the device, in the model's precision."""
        stacked = torch.stack(list(pictures))
        if self._device.type == "cuda":
            stacked = stacked.pin_memory()
        moved = stacked.to(self._device, non_blocking=True)
        return moved.float().div_(255).sub_(self._mean).div_(self._deviation).to(self._dtype)

    def caption(self, pictures: Sequence[Tensor], options: DecodingOptions | None = None) -> list[list[Caption]]:
        """`options.num_captions` different texts for each (3, side, side) uint8 tensor.

        A caption has `options.prompt` in front, an answer not its question. An empty text means that the model had
        nothing to say, twice. options: None for LAVIS's own. Raises ValueError for options that the model cannot
        follow, DeviceOutOfMemory and DeviceLost.
        """
        options = options or default_options(self.info.model)
        given = self._encode(options)
        try:
            with torch.inference_mode():
                return self._caption(pictures, given, options)
        except torch.OutOfMemoryError as exc:
            message = str(exc)
        except RuntimeError as exc:
            if is_lost(self._device):
                raise DeviceLost(str(exc)) from exc
            raise
        # here, where no exception is alive that keeps the batch's tensors in memory
        self._out_of_memory()
        raise DeviceOutOfMemory(message)

    @abstractmethod
    def _encode(self, options: DecodingOptions) -> Given:
        """Raises ValueError for options that the model cannot follow."""

    @abstractmethod
    def _look(self, pixels: Tensor) -> Tensor:
        """(pictures, 3, side, side) -> what the texts are made from, a row a picture."""

    @abstractmethod
    def _search(
        self, features: Tensor, given: Given, options: DecodingOptions, lots: Tensor | None = None
    ) -> Texts:
        """By beams, or drawn by `lots`, (texts, positions) float in 0..1: the same for every picture."""

    @abstractmethod
    def _positions(self, given: Given, options: DecodingOptions) -> int:
        """The most tokens that a text can have, with those given."""

    @abstractmethod
    def _text(self, tokens: Sequence[int], given: Given, options: DecodingOptions) -> str:
        """What the client gets, tokens: those given included, the end token not; "" where it says nothing."""

    def _safer(self, given: Given, options: DecodingOptions) -> DecodingOptions:
        """For the second try, where the first text was empty."""
        return safer_options(options)

    def _out_of_memory(self) -> None:
        """Lets go of what a call needs not have."""

    def _caption(
        self, pictures: Sequence[Tensor], given: Given, options: DecodingOptions
    ) -> list[list[Caption]]:
        features = self._look(self.pixels(pictures))
        captions = self._different(features, given, options)
        empty = [index for index, of_one in enumerate(captions) if not of_one]
        if empty:
            again = self._different(features[empty], given, self._safer(given, options))
            for index, of_one in zip(empty, again, strict=True):
                captions[index] = of_one or [Caption("")]
        return captions

    def _different(self, features: Tensor, given: Given, options: DecodingOptions) -> list[list[Caption]]:
        """Up to `options.num_captions` texts for each picture, all different, none empty, the likeliest first."""
        found: list[dict[str, Caption]] = [{} for _ in features]
        for texts in self._searches(features, given, options):
            for captions, more in zip(found, self._read(texts, given, options), strict=True):
                for caption in more:
                    if caption.text and len(captions) < options.num_captions:
                        captions.setdefault(caption.text, caption)
            if all(len(captions) == options.num_captions for captions in found):
                break
        likeliest_first = [list(captions.values()) for captions in found]
        if options.top_p is not None:
            for of_one in likeliest_first:
                of_one.sort(key=lambda caption: -(caption.confidence or 0.0))
        return likeliest_first

    def _searches(self, features: Tensor, given: Given, options: DecodingOptions) -> Iterator[Texts]:
        """Texts for each picture; the next lot is made only where the ones before held too few different ones."""
        if options.top_p is not None:
            generator = torch.Generator()
            if options.seed is None:
                generator.seed()
            else:
                generator.manual_seed(options.seed)
            positions = self._positions(given, options)
            for _ in range(SAMPLING_ROUNDS):
                # the same lots for every picture: what one gets does not depend on those beside it
                lots = torch.rand(options.num_captions, positions, generator=generator)
                yield self._search(features, given, options, lots.to(self._device))
        beams = max(options.num_beams, options.num_captions)
        yield self._search(features, given, replace(options, num_beams=beams))
        if options.num_captions > 1:
            yield self._search(features, given, replace(options, num_beams=2 * options.num_captions))

    def _read(self, texts: Texts, given: Given, options: DecodingOptions) -> list[list[Caption]]:
        """The texts of each picture, the best first."""
        confidence = (texts.log_probs / texts.counted).exp().tolist()
        lengths, scores = texts.lengths.tolist(), texts.scores.tolist()
        return [
            [
                Caption(self._text(tokens[:length], given, options), sure)
                for tokens, length, score, sure in zip(*of_one, strict=True)
                if score > -math.inf
            ]
            for of_one in zip(texts.tokens.tolist(), lengths, scores, confidence, strict=True)
        ]
