"""BLIP-2: pictures, with a prompt or a question -> texts."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from services.captioning.blip.beam_search import Texts, beam_search, sample
from services.captioning.blip2.architecture import Blip2
from services.captioning.blip2.language import LanguageModel
from services.captioning.blip2.memory import free_bytes
from services.captioning.blip2.model import Blip2Model
from services.captioning.blip2.prompts import shown_text, text_to_read
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
from services.captioning.wanted import check_wanted

BICUBIC = 3  # Pillow's Resampling.BICUBIC, as in LAVIS's BlipImageEvalProcessor
# CLIP's, of RGB in 0..1, as in LAVIS's BlipImageBaseProcessor
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
SAMPLING_ROUNDS = 4  # for texts that differ, before a beam search fills what is missing
LONGEST_PROMPT = 512  # tokens; a question with its history is read for every picture


class Blip2Captioner:
    """A BLIP-2 model, as `services.captioning.captioner.Captioner`."""

    def __init__(
        self,
        blip2: Blip2,
        language: LanguageModel,
        model: Blip2Model,
        info: ModelInfo,
        free: Callable[[torch.device], int | None] = free_bytes,
    ) -> None:
        self.info = info
        self.blip2 = blip2
        self.language = language
        self._model = model
        self._free_bytes = free
        self._device = torch.device(info.device)
        self._dtype = blip2.query_tokens.dtype
        self._mean = torch.tensor(MEAN, device=self._device).view(3, 1, 1)
        self._deviation = torch.tensor(DEVIATION, device=self._device).view(3, 1, 1)

    def prepare(self, picture: Picture) -> Tensor:
        """PIL RGB of any size -> uint8 (3, side, side), on the CPU."""
        side = self._model.image_px
        shrunk: Any = picture.resize((side, side), resample=BICUBIC)
        # numpy, not torch: each thread that calls this would get threads of torch, which compete with the model's
        return torch.from_numpy(np.ascontiguousarray(np.asarray(shrunk).transpose(2, 0, 1)))

    def caption(self, pictures: Sequence[Tensor], options: DecodingOptions | None = None) -> list[list[Caption]]:
        """`options.num_captions` different texts for each (3, side, side) uint8 tensor.

        A caption has `options.prompt` in front, an answer not its question. An empty text means that the model had
        nothing to say, twice. options: None for LAVIS's own. Raises ValueError for options that the model cannot
        follow, DeviceOutOfMemory and DeviceLost.
        """
        options = options or default_options(self.info.model)
        read = text_to_read(options, self._model.prompt)
        tokens = self._encode(read, options)
        self._check_memory(len(pictures), tokens, options)
        try:
            with torch.inference_mode():
                return self._caption(pictures, read, tokens, options)
        except torch.OutOfMemoryError as exc:
            message = str(exc)
        except RuntimeError as exc:
            if is_lost(self._device):
                raise DeviceLost(str(exc)) from exc
            raise
        finally:
            self.language.forget()  # or the next call would count the beams' cache as taken
        # here, where no exception is alive that keeps the batch's tensors in memory
        raise DeviceOutOfMemory(message)

    def pixels(self, pictures: Sequence[Tensor]) -> Tensor:
        """Prepared pictures -> (pictures, 3, side, side), normalised, on the device, in the model's precision."""
        moved = torch.stack(list(pictures)).to(self._device)
        return moved.float().div_(255).sub_(self._mean).div_(self._deviation).to(self._dtype)

    def tokens(self, pixels: Tensor, options: DecodingOptions) -> list[list[int]]:
        """The ids of the likeliest text's new tokens for each image, for those who compare engines."""
        given = self._encode(text_to_read(options, self._model.prompt), options)
        with torch.inference_mode():
            texts = self._search(self._look(pixels), given, options)
        start = len(self.language.written_before(given))
        rows, ends = texts.tokens[:, 0].tolist(), texts.lengths[:, 0].tolist()
        return [row[start:end] for row, end in zip(rows, ends, strict=True)]

    def _encode(self, read: str, options: DecodingOptions) -> list[int]:
        tokens = self.language.encode(read)
        positions = self.language.longest or math.inf
        room = min(LONGEST_PROMPT, positions - self._model.qformer.queries - options.max_length)
        if len(tokens) > room:
            raise ValueError(
                f"The prompt, or the question with its history, has {len(tokens)} tokens; it can have {room}"
            )
        return tokens

    def _check_memory(self, pictures: int, tokens: list[int], options: DecodingOptions) -> None:
        """Raises DeviceOutOfMemory where the beams would not fit on a CPU, whose system would end the process."""
        free = self._free_bytes(self._device) if self._device.type == "cpu" else None
        beams = max(safer_options(options).num_beams, 2 * options.num_captions)
        positions = self._model.qformer.queries + len(tokens) + options.max_length
        wanted = 2 * pictures * beams * positions * self.language.position_bytes  # of a step, and of the next
        if free is not None and wanted > free:
            raise DeviceOutOfMemory(f"{wanted / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")

    def _look(self, pixels: Tensor) -> Tensor:
        """On a CPU one image at a time: what a layer makes of more does not stay in the processor's caches."""
        if pixels.is_cuda:
            return self.blip2.look(pixels)
        return torch.cat([self.blip2.look(one) for one in torch.split(pixels, 1)])

    def _caption(
        self, pictures: Sequence[Tensor], read: str, tokens: list[int], options: DecodingOptions
    ) -> list[list[Caption]]:
        queries = self._look(self.pixels(pictures))
        captions = self._different(queries, read, tokens, options)
        empty = [index for index, of_one in enumerate(captions) if not of_one]
        if empty:
            again = self._different(queries[empty], read, tokens, safer_options(options))
            for index, of_one in zip(empty, again, strict=True):
                captions[index] = of_one or [Caption("")]
        return captions

    def _different(
        self, queries: Tensor, read: str, tokens: list[int], options: DecodingOptions
    ) -> list[list[Caption]]:
        """Up to `options.num_captions` texts for each picture, all different, none empty, the likeliest first."""
        found: list[dict[str, Caption]] = [{} for _ in queries]
        for texts in self._searches(queries, tokens, options):
            for captions, more in zip(found, self._read(texts, read, tokens, options), strict=True):
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

    def _searches(self, queries: Tensor, tokens: list[int], options: DecodingOptions) -> Iterator[Texts]:
        """Texts for each picture; the next lot is made only where the ones before held too few different ones."""
        if options.top_p is not None:
            generator = torch.Generator()
            if options.seed is None:
                generator.seed()
            else:
                generator.manual_seed(options.seed)
            longest = len(self.language.written_before(tokens)) + options.max_length
            for _ in range(SAMPLING_ROUNDS):
                # the same lots for every picture: what one gets does not depend on those beside it
                lots = torch.rand(options.num_captions, longest, generator=generator)
                yield self._search(queries, tokens, options, lots.to(self._device))
        beams = max(options.num_beams, options.num_captions)
        yield self._search(queries, tokens, replace(options, num_beams=beams))
        if options.num_captions > 1:
            yield self._search(queries, tokens, replace(options, num_beams=2 * options.num_captions))

    def _search(
        self, queries: Tensor, tokens: list[int], options: DecodingOptions, lots: Tensor | None = None
    ) -> Texts:
        language = self.language
        before = language.written_before(tokens)
        counted = replace(
            options,
            max_length=len(before) + options.max_length,
            min_length=len(before) + options.min_length if options.min_length else 0,
        )
        first = language.begin(queries, tokens)
        language.widen(options.num_beams if lots is None else len(lots))
        given = torch.tensor(before, device=self._device)

        def step(tokens: Tensor, parents: Tensor) -> Tensor:
            check_wanted()
            return language.step(tokens, parents)

        if lots is None:
            return beam_search(first, step, given, language.end_token, counted)
        return sample(first, step, given, language.end_token, counted, lots.expand(len(queries), -1, -1))

    def _read(self, texts: Texts, read: str, tokens: list[int], options: DecodingOptions) -> list[list[Caption]]:
        """The texts of each picture as the client gets them, the best first; "" for those that say nothing."""
        start = len(self.language.written_before(tokens))
        confidence = (texts.log_probs / texts.counted).exp().tolist()
        lengths, scores = texts.lengths.tolist(), texts.scores.tolist()
        return [
            [
                Caption(shown_text(self.language.decode(row[start:length]), options, read), sure)
                for row, length, score, sure in zip(*of_one, strict=True)
                if score > -math.inf
            ]
            for of_one in zip(texts.tokens.tolist(), lengths, scores, confidence, strict=True)
        ]
