"""BLIP-2: pictures, with a prompt or a question -> texts."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from services.captioning.beam_search import Texts, beam_search, sample
from services.captioning.blip2.architecture import Blip2
from services.captioning.blip2.language import LanguageModel
from services.captioning.blip2.memory import free_bytes
from services.captioning.blip2.model import Blip2Model
from services.captioning.blip2.prompts import shown_text, text_to_read
from services.captioning.captioner import Caption, DecodingOptions, DeviceOutOfMemory, ModelInfo, safer_options
from services.captioning.torch_captioner import TorchCaptioner
from services.captioning.wanted import check_wanted

LONGEST_PROMPT = 512  # tokens; a question with its history is read for every picture


@dataclass(frozen=True)
class Question:
    """What the language model reads before it writes; a caption's prompt too."""

    text: str
    tokens: list[int]


class Blip2Captioner(TorchCaptioner[Question]):
    """A BLIP-2 model. Its options count new tokens alone."""

    def __init__(
        self,
        blip2: Blip2,
        language: LanguageModel,
        model: Blip2Model,
        info: ModelInfo,
        free: Callable[[torch.device], int | None] = free_bytes,
    ) -> None:
        super().__init__(info, model.image_px, blip2.query_tokens.dtype)
        self.blip2 = blip2
        self.language = language
        self._model = model
        self._free_bytes = free

    def tokens(self, pixels: Tensor, options: DecodingOptions) -> list[list[int]]:
        """The ids of the likeliest text's new tokens for each image, for those who compare engines."""
        given = self._encode(options)
        with torch.inference_mode():
            texts = self._search(self._look(pixels), given, options)
        start = len(self.language.written_before(given.tokens))
        rows, ends = texts.tokens[:, 0].tolist(), texts.lengths[:, 0].tolist()
        return [row[start:end] for row, end in zip(rows, ends, strict=True)]

    def _encode(self, options: DecodingOptions) -> Question:
        read = text_to_read(options, self._model.prompt)
        tokens = self.language.encode(read)
        longest = self.language.longest or math.inf
        room = min(LONGEST_PROMPT, longest - self._model.qformer.queries - options.max_length)
        if len(tokens) > room:
            raise ValueError(
                f"The prompt, or the question with its history, has {len(tokens)} tokens; it can have {room}"
            )
        return Question(read, tokens)

    def _caption(
        self, pictures: Sequence[Tensor], given: Question, options: DecodingOptions
    ) -> list[list[Caption]]:
        self._check_memory(len(pictures), given, options)
        try:
            return super()._caption(pictures, given, options)
        finally:
            self.language.forget()  # or the next call would count the beams' cache as taken

    def _check_memory(self, pictures: int, given: Question, options: DecodingOptions) -> None:
        """Raises DeviceOutOfMemory where the beams would not fit on a CPU, whose system would end the process."""
        free = self._free_bytes(self._device) if self._device.type == "cpu" else None
        beams = max(safer_options(options).num_beams, 2 * options.num_captions)
        positions = self._model.qformer.queries + len(given.tokens) + options.max_length
        wanted = 2 * pictures * beams * positions * self.language.position_bytes  # of a step, and of the next
        if free is not None and wanted > free:
            raise DeviceOutOfMemory(f"{wanted / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")

    def _look(self, pixels: Tensor) -> Tensor:
        """On a CPU one image at a time: what a layer makes of more does not stay in the processor's caches."""
        if pixels.is_cuda:
            return self.blip2.look(pixels)
        return torch.cat([self.blip2.look(one) for one in torch.split(pixels, 1)])

    def _positions(self, given: Question, options: DecodingOptions) -> int:
        return len(self.language.written_before(given.tokens)) + options.max_length

    def _search(
        self, features: Tensor, given: Question, options: DecodingOptions, lots: Tensor | None = None
    ) -> Texts:
        language = self.language
        before = language.written_before(given.tokens)
        counted = replace(
            options,
            max_length=len(before) + options.max_length,
            min_length=len(before) + options.min_length if options.min_length else 0,
        )
        first = language.begin(features, given.tokens)
        language.widen(options.num_beams if lots is None else len(lots))
        prompt = torch.tensor(before, device=self._device)

        def step(tokens: Tensor, parents: Tensor) -> Tensor:
            check_wanted()
            return language.step(tokens, parents)

        if lots is None:
            return beam_search(first, step, prompt, language.end_token, counted)
        return sample(first, step, prompt, language.end_token, counted, lots.expand(len(features), -1, -1))

    def _text(self, tokens: Sequence[int], given: Question, options: DecodingOptions) -> str:
        start = len(self.language.written_before(given.tokens))
        return shown_text(self.language.decode(tokens[start:]), options, given.text)
