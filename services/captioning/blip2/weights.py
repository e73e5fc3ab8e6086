"""The weights of BLIP-2's parts, each from its own file, into a module that has no memory yet.

One weight after the other is taken from the mapped files and put where it belongs, in the precision asked for; its
pages of the file are given back. So there is never a second copy of the model, and never one in another precision
or in another order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from services.captioning.blip2.architecture import Blip2
from services.captioning.blip2.stored import StoredEmbedding, StoredLinear, store
from services.captioning.blip2.vision import EvaVision, attention_bias, resized_positions
from services.captioning.checkpoints import ModelLoadError, cure_for, read_weights
from services.captioning.devices import DTYPES
from services.captioning.kernels import Kernel, plain
from services.captioning.memory import drop_pages, trim_heap

MOST_NAMED = 8
_LAVIS_NAMES = {"opt_proj.": "language_projection.", "t5_proj.": "language_projection."}
_LAVIS_NAMES |= {"opt_model.": "language_model.", "t5_model.": "language_model."}


@dataclass(frozen=True)
class Place:
    """Where weights go. On a CPU what is less than fp32 is kept small and computed in fp32 (stored.py).

    has_t5: LAVIS rounds T5's weights to bf16, in every precision, and so it was when the Q-Former was trained.
    kernels: in fp32 on a CPU, by the beginning of the weights' names; see `kernel`.
    """

    device: torch.device
    precision: str
    has_t5: bool = False
    kernels: Mapping[str, tuple[Kernel, int]] = field(default_factory=dict)
    scratch: Tensor = field(default_factory=lambda: torch.empty(0))

    @property
    def is_stored(self) -> bool:
        return self.device.type == "cpu" and self.precision != "fp32"

    def tensor(self, name: str, weight: Tensor) -> Tensor:
        device = weight.device if weight.is_meta else self.device  # what is missing is reported later
        return self._rounded(name, weight).to(device, torch.float32 if self.is_stored else DTYPES[self.precision])

    def linear(self, name: str, weight: Tensor, bias: Tensor | None) -> nn.Module:
        if self.is_stored:
            # the parts between vision and language are small, and nobody has tried them in 4 bits
            large = name.startswith(("visual_encoder.", "language_model."))
            precision = "int8" if self.precision == "int4" and not large else self.precision
            return StoredLinear(store(self._rounded(name, weight), precision), bias)
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
        if bias is not None:
            linear.bias = _parameter(self.tensor(name, bias))
        kernel, rows = self.kernel(name)
        if kernel is plain or weight.is_meta:
            linear.weight = _parameter(self.tensor(name, weight))
            return linear
        # on its way in memory that was used before: fresh memory for each takes as long as the rest of loading
        linear.weight = _parameter(self.scratch.resize_(weight.shape).copy_(self._rounded(name, weight)))
        return kernel(linear, rows)

    def kernel(self, name: str) -> tuple[Kernel, int]:
        """What multiplies by this weight, and the rows that it is given mostly."""
        return next((self.kernels[part] for part in self.kernels if name.startswith(part)), (plain, 0))

    def embeddings(self, name: str, weight: Tensor) -> nn.Module:
        """Of tokens, on a CPU: in int8 where the rest is in int4."""
        return store(self._rounded(name, weight), "bf16" if self.precision == "bf16" else "int8")

    def _rounded(self, name: str, weight: Tensor) -> Tensor:
        return weight.bfloat16() if self.has_t5 and name.startswith("language_model.") else weight


class Weights:
    """Names, as the module has them -> tensors, each taken once; and what was not there.

    mapped: addresses at which the files that the tensors are from are mapped.
    """

    def __init__(self, held: Mapping[str, Tensor], mapped: Sequence[range] = ()) -> None:
        self._held = held
        self._mapped = mapped
        self.faults: list[str] = []

    def take(self, name: str, shape: torch.Size) -> Tensor:
        weight = self._held.get(name)
        if weight is None:
            self.faults.append(f"lacks {name}")
        elif weight.shape != shape:
            self.faults.append(f"has {name} of shape {tuple(weight.shape)}, the model {tuple(shape)}")
        else:
            return weight
        return torch.empty(shape, device="meta")

    def forget(self, weight: Tensor, placed: nn.Module) -> None:
        """Give back the memory of `weight`, where it is pages of a file; used again, it would be read again."""
        kept = [*placed.parameters(), *placed.buffers()]
        start, end = weight.data_ptr(), weight.data_ptr() + weight.nbytes
        # what a kernel put into its own order is no page of a file, and has no address to ask for
        is_kept = any(start == tensor.data_ptr() for tensor in kept if not (tensor.is_meta or tensor.is_mkldnn))
        if not is_kept and any(pages.start <= start and end <= pages.stop for pages in self._mapped):
            drop_pages(start, weight.nbytes)

    def __contains__(self, name: str) -> bool:
        return name in self._held


def load_weights(blip2: Blip2, checkpoint: Path, vision: Path | None, language: list[Path], place: Place) -> None:
    """Raises ModelLoadError, with their names, for weights that are missing or of another shape."""
    held: dict[str, Tensor] = {}
    is_opt = blip2.language_model.config.model_type == "opt"
    for path in language:
        for name, weight in read_weights(path).items():
            # some of OPT's files have the names of its inner module
            inner = "model." if is_opt and name.startswith("decoder.") else ""
            held[f"language_model.{inner}{name}"] = weight
    if vision:
        held |= {f"visual_encoder.{name}": weight for name, weight in read_weights(vision).items()}
    # last, as with LAVIS: what was trained along is in it, and wins
    held |= {_our_name(name): weight for name, weight in read_weights(checkpoint).items()}
    weights = Weights(_fitted(blip2, held), _mapped_pages({checkpoint, *language, *([vision] if vision else [])}))
    fill_language_ends(blip2.language_model, weights, place)
    fill(blip2, "", weights, place)
    if weights.faults:
        more = "; …" if len(weights.faults) > MOST_NAMED else ""
        listed = "; ".join(sorted(weights.faults)[:MOST_NAMED])
        files = ", ".join(str(path) for path in (checkpoint, vision, *language) if path)
        raise ModelLoadError(
            f"What these files hold does not fit the model in {len(weights.faults)} places: {listed}{more}. The "
            f"files: {files}. {cure_for(checkpoint)}"
        )


def _our_name(name: str) -> str:
    for theirs, ours in _LAVIS_NAMES.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def _fitted(blip2: Blip2, held: dict[str, Tensor]) -> dict[str, Tensor]:
    """With EVA's weights in the form of our vision tower."""
    if not isinstance(blip2.visual_encoder, EvaVision):
        return held
    for index in range(len(blip2.visual_encoder.blocks)):
        attention = f"visual_encoder.blocks.{index}.attn"
        biases = [held.get(f"{attention}.{part}_bias") for part in "qv"]
        if biases[0] is not None and biases[1] is not None:
            held[f"{attention}.qkv.bias"] = attention_bias(biases[0], biases[1])
    name, wanted = "visual_encoder.pos_embed", blip2.visual_encoder.pos_embed.shape
    if name in held and held[name].shape != wanted:
        held[name] = resized_positions(held[name], wanted[1])
    return held


def fill_language_ends(language_model: Any, weights: Weights, place: Place) -> None:
    """The embeddings of the tokens, and the layer that gives logits: one matrix, where the model has one."""
    prefix = "language_model."
    first = prefix + ("model.decoder.embed_tokens" if language_model.config.model_type == "opt" else "shared")
    embedding, head = language_model.get_input_embeddings(), language_model.get_output_embeddings()
    table = weights.take(f"{first}.weight", embedding.weight.shape)
    is_tied = language_model.config.tie_word_embeddings
    of_head = table if is_tied else weights.take(f"{prefix}lm_head.weight", head.weight.shape)
    if place.is_stored:
        kept = place.embeddings(prefix, table)
        language_model.set_input_embeddings(StoredEmbedding(kept))
        kept = kept if is_tied else place.embeddings(prefix, of_head)
        language_model.set_output_embeddings(StoredLinear(kept, None))
    else:
        embedding.weight = _parameter(place.tensor(prefix, table))
        head.weight = embedding.weight if is_tied else _parameter(place.tensor(prefix, of_head))
        if not head.weight.is_meta:
            kernel, rows = place.kernel(prefix)
            language_model.set_output_embeddings(kernel(head, 0 if is_tied else rows))  # 0: stays as it is
    for taken in (table, of_head):
        weights.forget(taken, language_model)


def fill(module: nn.Module, prefix: str, weights: Weights, place: Place) -> None:
    """Put everything below `module` in its place that is not there yet."""
    for name, child in list(module.named_children()):
        path = f"{prefix}{name}"
        if type(child) is nn.Linear and child.weight.is_meta:
            weight = weights.take(f"{path}.weight", child.weight.shape)
            bias = None if child.bias is None else weights.take(f"{path}.bias", child.bias.shape)
            setattr(module, name, place.linear(path, weight, bias))
            weights.forget(weight, getattr(module, name))
            trim_heap()  # what the rounding took
        else:
            fill(child, f"{path}.", weights, place)
    for name, parameter in module.named_parameters(recurse=False):
        if parameter.is_meta:
            setattr(module, name, _parameter(place.tensor(prefix, weights.take(prefix + name, parameter.shape))))
    for name, buffer in module.named_buffers(recurse=False):
        if buffer.is_meta and name == "position_ids":  # 0, 1, 2, …: no weight
            setattr(module, name, torch.arange(buffer.shape[1], device=place.device)[None])


def _parameter(weight: Tensor) -> nn.Parameter:
    return nn.Parameter(weight, requires_grad=False)


def _mapped_pages(files: set[Path]) -> list[range]:
    """Addresses at which `files` are mapped; none where the system does not tell."""
    maps, resolved = Path("/proc/self/maps"), {str(file.resolve()) for file in files}
    pages = []
    for line in maps.read_text().splitlines() if maps.exists() else []:
        addresses, *_, path = line.split(maxsplit=5)
        if path in resolved:
            pages.append(range(*(int(address, 16) for address in addresses.split("-"))))
    return pages
