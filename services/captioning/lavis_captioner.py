"""Any model of LAVIS's zoo that captions or answers, by LAVIS's own loader and decoding."""

import collections
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from services.captioning.blip2.prompts import answer_in, shown_text, text_to_read
from services.captioning.captioner import (
    Caption,
    DecodingOptions,
    DeviceLost,
    DeviceOutOfMemory,
    LoadProgress,
    ModelInfo,
    Picture,
    ReportProgress,
    default_options,
    safer_options,
)
from services.captioning.checkpoints import ModelLoadError, cure_for, ensure_checkpoint, read_weights
from services.captioning.device_health import is_lost
from services.captioning.devices import choose_device
from services.errors import InvalidParameter

ENGINE = "lavis"
Generate = Callable[[torch.Tensor], list[str]]  # (images, 3, side, side) -> equally many texts for each
PRECISIONS = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


class LavisCaptioner:
    """A model of LAVIS and its processors, as `services.captioning.captioner.Captioner`."""

    def __init__(
        self, model: Any, process: Any, info: ModelInfo, process_question: Callable[[str], str] = str
    ) -> None:
        self._model = model
        self._process = process  # PIL RGB -> float32 (3, side, side)
        self._process_question = process_question  # the text as BLIP's own model for questions was trained on
        self.info = info

    def prepare(self, picture: Picture) -> torch.Tensor:
        """PIL RGB of any size -> float32 (3, side, side), normalised, on the CPU."""
        prepared: torch.Tensor = self._process(picture)
        return prepared

    def caption(
        self, pictures: Sequence[torch.Tensor], options: DecodingOptions | None = None
    ) -> list[list[Caption]]:
        """Captions, or answers, for each (3, side, side) tensor; no confidence, since LAVIS gives none.

        An empty text means that the model had nothing to say, twice.
        options: None for the defaults of the model's own `generate`. Raises ValueError for options that it
        cannot follow, DeviceOutOfMemory and DeviceLost.
        """
        options = options or default_options(self.info.model)
        generate, again = self._call(options), self._call(replace(safer_options(options), num_captions=1))
        try:
            with torch.inference_mode():
                return self._caption(torch.stack(list(pictures)).to(self.info.device), generate, again)
        except torch.OutOfMemoryError as exc:
            message = str(exc)
        except RuntimeError as exc:
            if is_lost(self.info.device):
                raise DeviceLost(str(exc)) from exc
            raise
        # here, where no exception is alive that keeps the batch's tensors in memory
        raise DeviceOutOfMemory(message)

    def _caption(self, images: torch.Tensor, generate: Generate, again: Generate) -> list[list[Caption]]:
        """By `again` for the images whose texts were all empty."""
        texts = [text.strip() for text in generate(images)]
        each = len(texts) // len(images)
        of_images = [texts[start : start + each] for start in range(0, len(texts), each)]
        empty = [index for index, of_one in enumerate(of_images) if not any(of_one)]
        if empty:
            for index, text in zip(empty, again(images[empty]), strict=True):
                of_images[index] = [text.strip()]
        return [[Caption(text) for text in of_one] for of_one in of_images]

    def _call(self, options: DecodingOptions) -> Generate:
        """Pictures -> texts by LAVIS. Raises ValueError for what it, or the model, cannot do."""
        if options.seed is not None:
            raise ValueError("LAVIS, which runs this model, takes no seed for one request: leave it out")
        if options.num_captions > 1 and options.top_p is None:
            raise ValueError(
                "LAVIS, which runs this model, gives several captions only when it samples: "
                "num_captions must be 1, or top_p a number above 0 and up to 1"
            )
        if not hasattr(self._model, "generate"):
            return self._answering(options)
        if hasattr(self._model, "Qformer"):
            return self._continuing(options)
        return self._captioning(options)

    def _captioning(self, options: DecodingOptions) -> Generate:
        """By BLIP, whose decoder has so many positions; one more breaks the device's state for good on a GPU."""
        if options.question is not None:
            raise ValueError(f"{self.info.model} gives captions and cannot answer questions")
        if options.prompt is not None:
            raise ValueError("LAVIS, which runs this model, takes no prompt for one request: leave it out")
        prompt, positions = self._model.prompt_length, self._model.text_decoder.config.max_position_embeddings
        if not prompt < options.max_length <= positions:
            raise ValueError(
                f"max_length is {options.max_length}; it must be more than the {prompt} tokens of LAVIS's own "
                f"prompt and at most {positions}"
            )
        return lambda images: list(self._model.generate({"image": images}, **_arguments(options)))

    def _continuing(self, options: DecodingOptions) -> Generate:
        """By BLIP-2, whose language models count the new tokens alone, and have room."""
        read = text_to_read(options, self._model.prompt)
        asked = _arguments(options)
        if options.min_length:  # OPT counts the prompt's tokens in, T5 one that is always there
            tokenizer = getattr(self._model, "opt_tokenizer", None)
            asked["min_length"] += len(tokenizer(read).input_ids) if tokenizer else 1

        def generate(images: torch.Tensor) -> list[str]:
            texts = self._model.generate({"image": images, "prompt": read}, **asked)
            return [shown_text(f" {text}", options, read) for text in texts]

        return generate

    def _answering(self, options: DecodingOptions) -> Generate:
        """By BLIP's model for questions."""
        if options.question is None:
            # not a ValueError: there may be no options that could be wrong
            raise InvalidParameter(f"{self.info.model} makes no captions, it answers questions: send a question")
        if options.history or options.prompt is not None or options.top_p is not None:
            raise ValueError(f"{self.info.model} takes a question alone: leave out history, prompt and top_p")
        positions = self._model.text_decoder.config.max_position_embeddings
        if not 1 < options.max_length <= positions:
            raise ValueError(f"max_length is {options.max_length}; it must be more than 1 and at most {positions}")
        question = self._process_question(options.question)

        def generate(images: torch.Tensor) -> list[str]:
            texts = self._model.predict_answers(
                {"image": images, "text_input": [question] * len(images)},
                inference_method="generate",
                num_beams=options.num_beams,
                max_len=options.max_length,
                min_len=options.min_length,
            )
            return [answer_in(text, question, question) for text in texts]

        return generate


def _arguments(options: DecodingOptions) -> dict[str, Any]:
    """Of LAVIS's `generate`."""
    names = ("num_beams", "max_length", "min_length", "repetition_penalty", "num_captions")
    asked = {name: getattr(options, name) for name in names}
    return asked if options.top_p is None else asked | {"use_nucleus_sampling": True, "top_p": options.top_p}


def load_lavis_captioner(model: str, device: str, report: ReportProgress) -> LavisCaptioner:
    """Load `model` ("demo" or "name/type") onto `device` ("auto", "cpu", "cuda", "cuda:N").

    Importing LAVIS takes seconds and loading the weights more; `report` hears how far it is. Raises
    ModelLoadError or DeviceError, each with the cause and the cure.
    """
    choice = choose_device(device)
    report(LoadProgress("loading"))
    from services.captioning import lavis_zoo

    name, model_type = lavis_zoo.names_in_lavis(model)
    checkpoint, held = None, None
    if name != lavis_zoo.DEMO_ARCHITECTURE:
        checkpoint = ensure_checkpoint(lavis_zoo.checkpoint_url(name, model_type), report)
        report(LoadProgress("loading"))
        held = {name: weight.shape for name, weight in read_weights(checkpoint).items()}
    try:
        loaded, processors, text_processors = lavis_zoo.load_model_and_preprocess(
            name, model_type, is_eval=True, device=choice.device
        )
    except (OSError, RuntimeError) as exc:
        raise ModelLoadError(f"{model} could not be loaded: {exc}") from exc
    if checkpoint and held is not None:
        _check_complete(loaded, checkpoint, held)
    info = ModelInfo(model, str(choice.device), choice.reason, _precision(loaded), ENGINE)
    return LavisCaptioner(loaded, processors["eval"], info, text_processors["eval"])


def _check_complete(model: torch.nn.Module, checkpoint: Path, held: dict[str, torch.Size]) -> None:
    """LAVIS loads with strict=False, and what a checkpoint lacks keeps its random values: refuse that.

    Weights that LAVIS takes from elsewhere (BLIP-2's frozen parts) are not required of the checkpoint.
    """
    trained = {name: weight.shape for name, weight in model.named_parameters() if weight.requires_grad}
    bad = sorted(name for name, shape in trained.items() if held.get(name) != shape)
    if bad:
        names = ", ".join(bad[:8])
        raise ModelLoadError(
            f"{checkpoint} lacks {len(bad)} weights of the model's shapes: {names}. {cure_for(checkpoint)}"
        )


def _precision(model: torch.nn.Module) -> str:
    """Of most of the weights."""
    counts = collections.Counter[torch.dtype]()
    for weight in model.parameters():
        counts[weight.dtype] += weight.numel()
    dtype = counts.most_common(1)[0][0]
    return PRECISIONS.get(dtype, str(dtype).removeprefix("torch."))
