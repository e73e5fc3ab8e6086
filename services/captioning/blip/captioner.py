"""The fast path: BLIP captioners in plain PyTorch, with the same captions as LAVIS."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from services.captioning.blip.beam_search import Texts, beam_search, sample
from services.captioning.blip.graphs import Graphs, capture_cuda
from services.captioning.blip.int8 import to_int8
from services.captioning.blip.model import BLIP_MODELS, Blip, BlipModel
from services.captioning.blip.packed import pack
from services.captioning.blip.vocabulary import Vocabulary
from services.captioning.blip.weights import load_blip
from services.captioning.captioner import (
    Caption,
    DecodingOptions,
    DeviceLost,
    DeviceOutOfMemory,
    LoadProgress,
    ModelInfo,
    Picture,
    ReportProgress,
)
from services.captioning.checkpoints import ModelLoadError, ensure_checkpoint, ensure_vocabulary
from services.captioning.device_health import is_lost
from services.captioning.devices import DTYPES, choose_device, choose_precision
from services.captioning.wanted import check_wanted

ENGINE = "blip"
BICUBIC = 3  # Pillow's Resampling.BICUBIC, as in LAVIS's BlipImageEvalProcessor
# CLIP's, of RGB in 0..1, as in LAVIS's BlipImageBaseProcessor
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
SAMPLING_ROUNDS = 4  # for captions that differ, before a beam search fills what is missing


class BlipCaptioner:
    """A BLIP model, as `services.captioning.captioner.Captioner`."""

    def __init__(self, blip: Blip, model: BlipModel, vocabulary: Vocabulary, info: ModelInfo) -> None:
        self.info = info
        self._device = torch.device(info.device)
        self.blip = blip
        self._graphs = Graphs(blip, partial(capture_cuda, self._device) if self._device.type == "cuda" else None)
        self._prompt = model.prompt
        self._side_px = model.vision.image_px
        self._positions = model.text.positions
        self.vocabulary = vocabulary
        self._dtype = DTYPES.get(info.precision, torch.float32)  # int8 is between fp32 inputs and outputs
        self._mean = torch.tensor(MEAN, device=self._device).view(3, 1, 1)
        self._deviation = torch.tensor(DEVIATION, device=self._device).view(3, 1, 1)

    def prepare(self, picture: Picture) -> Tensor:
        """PIL RGB of any size -> uint8 (3, side, side), on the CPU."""
        shrunk: Any = picture.resize((self._side_px, self._side_px), resample=BICUBIC)
        # numpy, not torch: each thread that calls this would get threads of torch, which compete with the model's
        return torch.from_numpy(np.ascontiguousarray(np.asarray(shrunk).transpose(2, 0, 1)))

    def caption(self, pictures: Sequence[Tensor], options: DecodingOptions | None = None) -> list[list[Caption]]:
        """`options.num_captions` different captions for each (3, side, side) uint8 tensor.

        Raises ValueError for options that the model cannot follow, DeviceOutOfMemory and DeviceLost.
        """
        options = options or DecodingOptions()
        prompt = self._encode(options)
        try:
            with torch.inference_mode():
                return self._caption(pictures, prompt, options)
        except torch.OutOfMemoryError as exc:
            message = str(exc)
        except RuntimeError as exc:
            if is_lost(self._device):
                raise DeviceLost(str(exc)) from exc
            raise
        # here, where no exception is alive that keeps the batch's tensors in memory
        self._graphs.forget()
        raise DeviceOutOfMemory(message)

    def _encode(self, options: DecodingOptions) -> list[int]:
        prompt = self.vocabulary.encode(self._prompt if options.prompt is None else options.prompt)
        if not len(prompt) < options.max_length <= self._positions:
            raise ValueError(
                f"max_length is {options.max_length}; it must be more than the {len(prompt)} tokens of the "
                f"prompt and at most {self._positions}"
            )
        return prompt

    def _caption(
        self, pictures: Sequence[Tensor], prompt: list[int], options: DecodingOptions
    ) -> list[list[Caption]]:
        features = self._graphs.encode(self.pixels(pictures))
        found: list[dict[str, Caption]] = [{} for _ in pictures]
        for texts in self._searches(features, prompt, options):
            for captions, more in zip(found, self._read(texts, options.prompt), strict=True):
                for caption in more:
                    if len(captions) < options.num_captions:
                        captions.setdefault(caption.text, caption)
            if all(len(captions) == options.num_captions for captions in found):
                break
        likeliest_first = [list(captions.values()) for captions in found]
        if options.top_p is not None:
            for captions_of_one in likeliest_first:
                captions_of_one.sort(key=lambda caption: -(caption.confidence or 0.0))
        return likeliest_first

    def tokens(self, pixels: Tensor, options: DecodingOptions) -> list[list[list[int]]]:
        """The token ids of the `options.num_beams` best texts of each image, for those who compare engines.

        pixels: as from `pixels`. The prompt is included, the end token not.
        """
        prompt = self._encode(options)
        with torch.inference_mode():
            texts = self._search(self._graphs.encode(pixels), prompt, options)
        return [
            [text[:length] for text, length in zip(*of_one, strict=True)]
            for of_one in zip(texts.tokens.tolist(), texts.lengths.tolist(), strict=True)
        ]

    def pixels(self, pictures: Sequence[Tensor]) -> Tensor:
        """Prepared pictures -> (pictures, 3, side, side), normalised, on the device, in the model's precision."""
        stacked = torch.stack(list(pictures))
        if self._device.type == "cuda":
            stacked = stacked.pin_memory()
        moved = stacked.to(self._device, non_blocking=True)
        return moved.float().div_(255).sub_(self._mean).div_(self._deviation).to(self._dtype)

    def _searches(self, features: Tensor, prompt: list[int], options: DecodingOptions) -> Iterator[Texts]:
        """Texts for each image; the next lot is made only where the ones before held too few different ones."""
        if options.top_p is not None:
            generator = torch.Generator()
            if options.seed is None:
                generator.seed()
            else:
                generator.manual_seed(options.seed)
            for _ in range(SAMPLING_ROUNDS):
                # the same lots for every image: what one gets does not depend on those beside it
                lots = torch.rand(options.num_captions, options.max_length, generator=generator)
                yield self._search(features, prompt, options, lots.to(self._device))
        for beams in (max(options.num_beams, options.num_captions), 2 * options.num_captions):
            yield self._search(features, prompt, replace(options, num_beams=beams))

    def _search(
        self, features: Tensor, prompt: list[int], options: DecodingOptions, lots: Tensor | None = None
    ) -> Texts:
        texts_each = options.num_beams if lots is None else len(lots)
        given = torch.tensor(prompt, device=self._device)
        places = torch.arange(options.max_length, device=self._device)
        cache = self.blip.text.look(features, options.max_length)
        first = self.blip.text(given.expand(len(features), -1), places[: len(prompt)], cache)
        cache.widen(texts_each)
        follow = self._graphs.follow(cache)
        free = iter(torch.split(places[len(prompt) :], 1))

        def step(tokens: Tensor, parents: Tensor) -> Tensor:
            check_wanted()
            return follow(tokens, parents, next(free))

        end = self.vocabulary.end_token
        if lots is None:
            return beam_search(first, step, given, end, options)
        return sample(first, step, given, end, options, lots.expand(len(features), -1, -1))

    def _read(self, texts: Texts, prompt: str | None) -> list[list[Caption]]:
        """The captions of each image, the best first; without the model's own prompt, but with `prompt`."""
        confidence = (texts.log_probs / texts.counted).exp().tolist()
        lengths, scores = texts.lengths.tolist(), texts.scores.tolist()
        return [
            [
                Caption(self._text(tokens[:length], prompt), sure)
                for tokens, length, score, sure in zip(*of_one, strict=True)
                if score > -math.inf
            ]
            for of_one in zip(texts.tokens.tolist(), lengths, scores, confidence, strict=True)
        ]

    def _text(self, tokens: Sequence[int], prompt: str | None) -> str:
        text = self.vocabulary.decode(tokens)
        if prompt is None:
            return text[len(self._prompt) :].strip()  # as LAVIS cuts it
        written = self.vocabulary.decode(self.vocabulary.encode(prompt))
        if not text.startswith(written):  # it ends within a word that goes on otherwise
            return text
        return f"{prompt.rstrip()}{text[len(written) :]}"


def load_blip_captioner(name: str, device: str, precision: str, report: ReportProgress) -> BlipCaptioner:
    """Load BLIP_MODELS[name] onto `device` ("auto", "cpu", "cuda", "cuda:N"), in `precision` ("auto", "fp32", …).

    Raises ModelLoadError or DeviceError, each with the cause and the cure.
    """
    model, choice = BLIP_MODELS[name], choose_device(device)
    precision = choose_precision(precision, choice.device)
    report(LoadProgress("loading"))
    path = model.checkpoint if isinstance(model.checkpoint, Path) else ensure_checkpoint(model.checkpoint, report)
    report(LoadProgress("loading"))
    listed = model.vocabulary if isinstance(model.vocabulary, Path) else ensure_vocabulary(model.vocabulary)
    vocabulary = Vocabulary(listed)
    if len(vocabulary) != model.text.vocabulary:
        raise ModelLoadError(f"The vocabulary of {name} has {len(vocabulary)} tokens, not {model.text.vocabulary}")
    blip = load_blip(model, path)
    if precision == "int8":
        to_int8(blip)
    else:
        blip.to(choice.device, DTYPES[precision])
    if precision == "fp32" and choice.device.type == "cpu":
        pack(blip.vision)
    info = ModelInfo(name, str(choice.device), choice.reason, precision, ENGINE)
    captioner = BlipCaptioner(blip, model, vocabulary, info)
    if precision == "int8" or choice.device.type == "cuda":
        # kernels are chosen and made at their first use: some second, which no request should wait for
        side = model.vision.image_px
        captioner.caption([torch.zeros(3, side, side, dtype=torch.uint8)])
    return captioner
