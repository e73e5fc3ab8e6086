"""The fast path: BLIP captioners in plain PyTorch, with the same captions as LAVIS."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from services.captioning.beam_search import Texts, beam_search, sample
from services.captioning.blip.graphs import Graphs, capture_cuda
from services.captioning.blip.int8 import to_int8
from services.captioning.blip.model import BLIP_MODELS, Blip, BlipModel
from services.captioning.blip.packed import pack
from services.captioning.blip.vocabulary import Vocabulary
from services.captioning.blip.weights import load_blip
from services.captioning.captioner import DecodingOptions, LoadProgress, ModelInfo, ReportProgress, safer_options
from services.captioning.checkpoints import ModelLoadError, ensure_checkpoint, ensure_vocabulary
from services.captioning.devices import DTYPES, choose_device, choose_precision
from services.captioning.torch_captioner import TorchCaptioner
from services.captioning.wanted import check_wanted

ENGINE = "blip"


class BlipCaptioner(TorchCaptioner[list[int]]):
    """A BLIP model. Its options count the tokens of the prompt along."""

    def __init__(self, blip: Blip, model: BlipModel, vocabulary: Vocabulary, info: ModelInfo) -> None:
        # int8 is between fp32 inputs and outputs
        super().__init__(info, model.vision.image_px, DTYPES.get(info.precision, torch.float32))
        self.blip = blip
        self._graphs = Graphs(blip, partial(capture_cuda, self._device) if self._device.type == "cuda" else None)
        self._prompt = model.prompt
        self._longest = model.text.positions
        self.vocabulary = vocabulary

    def tokens(self, pixels: Tensor, options: DecodingOptions) -> list[list[list[int]]]:
        """The token ids of the `options.num_beams` best texts of each image, for those who compare engines.

        pixels: as from `pixels`. The prompt is included, the end token not.
        """
        prompt = self._encode(options)
        with torch.inference_mode():
            texts = self._search(self._look(pixels), prompt, options)
        return [
            [text[:length] for text, length in zip(*of_one, strict=True)]
            for of_one in zip(texts.tokens.tolist(), texts.lengths.tolist(), strict=True)
        ]

    def _encode(self, options: DecodingOptions) -> list[int]:
        prompt = self.vocabulary.encode(self._prompt if options.prompt is None else options.prompt)
        if not len(prompt) < options.max_length <= self._longest:
            raise ValueError(
                f"max_length is {options.max_length}; it must be more than the {len(prompt)} tokens of the "
                f"prompt and at most {self._longest}"
            )
        return prompt

    def _look(self, pixels: Tensor) -> Tensor:
        return self._graphs.encode(pixels)

    def _positions(self, given: list[int], options: DecodingOptions) -> int:
        return options.max_length

    def _safer(self, given: list[int], options: DecodingOptions) -> DecodingOptions:
        safer = safer_options(options)
        least = min(len(given) + safer.min_length, self._longest - 1)
        return replace(safer, min_length=least, max_length=max(safer.max_length, least + 1))

    def _out_of_memory(self) -> None:
        self._graphs.forget()

    def _search(
        self, features: Tensor, given: list[int], options: DecodingOptions, lots: Tensor | None = None
    ) -> Texts:
        texts_each = options.num_beams if lots is None else len(lots)
        prompt = torch.tensor(given, device=self._device)
        places = torch.arange(options.max_length, device=self._device)
        cache = self.blip.text.look(features, self._graphs.room(options.max_length))
        first = self.blip.text(prompt.expand(len(features), -1), places[: len(given)], cache)
        cache.widen(texts_each)
        follow = self._graphs.follow(cache)
        free = iter(torch.split(places[len(given) :], 1))

        def step(tokens: Tensor, parents: Tensor) -> Tensor:
            check_wanted()
            return follow(tokens, parents, next(free))

        end = self.vocabulary.end_token
        if lots is None:
            return beam_search(first, step, prompt, end, options)
        return sample(first, step, prompt, end, options, lots.expand(len(features), -1, -1))

    def _text(self, tokens: Sequence[int], given: list[int], options: DecodingOptions) -> str:
        """Without the model's own prompt, but with the request's, which may be a whole caption already."""
        text = self.vocabulary.decode(tokens)
        if options.prompt is None:
            return text[len(self._prompt) :].strip()  # as LAVIS cuts it
        written = self.vocabulary.decode(given)
        if not text.startswith(written):  # it ends within a word that goes on otherwise
            return text
        return f"{options.prompt.rstrip()}{text[len(written) :]}"


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
        pack(blip)
    info = ModelInfo(name, str(choice.device), choice.reason, precision, ENGINE)
    captioner = BlipCaptioner(blip, model, vocabulary, info)
    if precision == "int8" or choice.device.type == "cuda":
        # kernels are chosen and made at their first use: some second, which no request should wait for
        side = model.vision.image_px
        captioner.caption([torch.zeros(3, side, side, dtype=torch.uint8)])
    return captioner
