"""Any captioning model of LAVIS's zoo, decoded with LAVIS's own defaults."""

import collections
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

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
from services.captioning.checkpoints import ModelLoadError, cure_for, ensure_checkpoint, read_weights
from services.captioning.device_health import is_lost
from services.captioning.devices import choose_device

ENGINE = "lavis"
PRECISIONS = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


class LavisCaptioner:
    """A model of LAVIS and its image processor, as `services.captioning.captioner.Captioner`."""

    def __init__(self, model: Any, process: Any, info: ModelInfo) -> None:
        self._model = model
        self._process = process  # PIL RGB -> float32 (3, side, side)
        self.info = info

    def prepare(self, picture: Picture) -> torch.Tensor:
        """PIL RGB of any size -> float32 (3, side, side), normalised, on the CPU."""
        prepared: torch.Tensor = self._process(picture)
        return prepared

    def caption(
        self, pictures: Sequence[torch.Tensor], options: DecodingOptions | None = None
    ) -> list[list[Caption]]:
        """Captions for each (3, side, side) tensor; no confidence, since LAVIS gives none.

        options: None for the defaults of the model's own `generate`. Raises ValueError for options that it
        cannot follow, DeviceOutOfMemory and DeviceLost.
        """
        asked = _arguments(options) if options else {}
        if options:
            self._check_length(options)
        try:
            texts = self._generate(pictures, asked)
        except torch.OutOfMemoryError as exc:
            message = str(exc)
        except RuntimeError as exc:
            if is_lost(self.info.device):
                raise DeviceLost(str(exc)) from exc
            raise
        else:
            captions = [Caption(text.strip()) for text in texts]
            each = options.num_captions if options else 1
            return [captions[start : start + each] for start in range(0, len(captions), each)]
        # here, where no exception is alive that keeps the batch's tensors in memory
        raise DeviceOutOfMemory(message)

    def _check_length(self, options: DecodingOptions) -> None:
        """BLIP's decoder has so many positions; one token more breaks the device's state for good on a GPU."""
        decoder = getattr(self._model, "text_decoder", None)
        if decoder is None:  # of BLIP-2, whose language models count the new tokens alone, and have room
            return
        prompt, positions = self._model.prompt_length, decoder.config.max_position_embeddings
        if not prompt < options.max_length <= positions:
            raise ValueError(
                f"max_length is {options.max_length}; it must be more than the {prompt} tokens of LAVIS's own "
                f"prompt and at most {positions}"
            )

    def _generate(self, pictures: Sequence[torch.Tensor], asked: dict[str, Any]) -> list[str]:
        with torch.inference_mode():
            images = torch.stack(list(pictures)).to(self.info.device)
            texts: list[str] = self._model.generate({"image": images}, **asked)
        return texts


def _arguments(options: DecodingOptions) -> dict[str, Any]:
    """Of LAVIS's `generate`."""
    if options.prompt is not None or options.seed is not None:
        raise ValueError(
            "LAVIS, which runs this model, takes neither a prompt nor a seed for one request: leave them out"
        )
    if options.num_captions > 1 and options.top_p is None:
        raise ValueError(
            "LAVIS, which runs this model, gives several captions only when it samples: "
            "num_captions must be 1, or top_p a number above 0 and up to 1"
        )
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
        loaded, processors, _ = lavis_zoo.load_model_and_preprocess(
            name, model_type, is_eval=True, device=choice.device
        )
    except (OSError, RuntimeError) as exc:
        raise ModelLoadError(f"{model} could not be loaded: {exc}") from exc
    if checkpoint and held is not None:
        _check_complete(loaded, checkpoint, held)
    info = ModelInfo(model, str(choice.device), choice.reason, _precision(loaded), ENGINE)
    return LavisCaptioner(loaded, processors["eval"], info)


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
