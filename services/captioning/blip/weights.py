"""A checkpoint of LAVIS -> our module, without random values first and without a second copy.

The module is made without memory (torch's `meta` device) and the checkpoint's tensors, mapped from the file,
become its weights.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from services.captioning.blip.model import Blip, BlipModel
from services.captioning.checkpoints import ModelLoadError, cure_for, read_weights

# LAVIS's names (timm's and BERT's) -> ours, in this order
_NAMES = (
    ("visual_encoder.", "vision."),
    ("patch_embed.proj.", "patches."),
    ("cls_token", "class_token"),
    ("pos_embed", "positions"),
    (".norm1.", ".attention_norm."),
    (".norm2.", ".mlp_norm."),
    (".attn.qkv.", ".attention.query_key_value."),
    (".attn.proj.", ".attention.out."),
    (".mlp.fc1.", ".mlp_in."),
    (".mlp.fc2.", ".mlp_out."),
    ("text_decoder.bert.embeddings.word_embeddings.", "text.tokens."),
    ("text_decoder.bert.embeddings.position_embeddings.", "text.positions."),
    ("text_decoder.bert.embeddings.LayerNorm.", "text.norm."),
    ("text_decoder.bert.encoder.layer.", "text.layers."),
    (".crossattention.self.", ".image_attention."),
    (".crossattention.output.dense.", ".image_attention.out."),
    (".crossattention.output.LayerNorm.", ".image_attention.norm."),
    (".attention.self.", ".attention."),
    (".attention.output.dense.", ".attention.out."),
    (".attention.output.LayerNorm.", ".attention.norm."),
    (".intermediate.dense.", ".mlp_in."),
    (".output.dense.", ".mlp_out."),
    (".output.LayerNorm.", ".mlp_norm."),
    ("text_decoder.cls.predictions.transform.dense.", "text.out."),
    ("text_decoder.cls.predictions.transform.LayerNorm.", "text.out_norm."),
    ("text_decoder.cls.predictions.decoder.", "text.logits."),
    ("text_decoder.cls.predictions.bias", "text.logits.bias"),
)
_SECOND = "text_decoder.cls.predictions.decoder."  # one tensor under two names: LAVIS keeps this one
_TIED = ("text.logits.weight", "text.tokens.weight")
_COUNTED = "text_decoder.bert.embeddings.position_ids"  # 0, 1, 2, …: no weight
MOST_NAMED = 8


def load_blip(model: BlipModel, path: Path) -> Blip:
    """The module with the weights of the checkpoint at `path`, on the CPU, as they are stored.

    Raises ModelLoadError, with their names, for weights that are missing, too many, or of another shape.
    """
    held = _ours(read_weights(path))
    with torch.device("meta"):
        blip = Blip(model)
    wanted = {name: weight.shape for name, weight in blip.state_dict().items()}
    faults = [f"lacks {name}" for name in wanted.keys() - held.keys()]
    faults += [f"has {name}, which the model has not" for name in held.keys() - wanted.keys()]
    faults += [
        f"has {name} of shape {tuple(held[name].shape)}, the model {tuple(wanted[name])}"
        for name in wanted.keys() & held.keys()
        if held[name].shape != wanted[name]
    ]
    if faults:
        more = "; …" if len(faults) > MOST_NAMED else ""
        listed = "; ".join(sorted(faults)[:MOST_NAMED])
        raise ModelLoadError(
            f"{path} does not fit the model in {len(faults)} places: {listed}{more}. {cure_for(path)}"
        )
    blip.load_state_dict(held, assign=True)
    blip.text.tokens.weight = blip.text.logits.weight  # one parameter, so that a GPU holds it once too
    return blip.eval().requires_grad_(False)


def _ours(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under our names; names that we do not know stay as they are."""
    # those that LAVIS keeps come last, and win
    ordered = sorted(weights, key=lambda name: name.startswith(_SECOND))
    ours = {_our_name(name): weights[name] for name in ordered if name != _COUNTED}
    tied = [ours[name] for name in _TIED if name in ours]
    return ours | dict.fromkeys(_TIED, tied[0]) if tied else ours


def _our_name(name: str) -> str:
    for theirs, ours in _NAMES:
        name = name.replace(theirs, ours)
    return name
