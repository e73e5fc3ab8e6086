"""BLIP-2 as one module: our vision tower, LAVIS's Q-Former, LAVIS's language model. Made without memory."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from services.captioning.blip2.language import T5, LanguageModel, Opt
from services.captioning.blip2.model import PATCH_PX, Blip2Model, QFormerSize
from services.captioning.blip2.vision import EvaVision
from services.captioning.checkpoints import ModelLoadError

BERT_TOKENS = 30_522  # of the text that Q-Formers read in training, and never here


class Blip2(nn.Module):
    """visual_encoder ─▶ ln_vision ─▶ Qformer (query_tokens) ─▶ language_projection ─▶ language_model"""

    def __init__(self, model: Blip2Model, language_model: Any) -> None:
        """language_model: LAVIS's OPTForCausalLM or T5ForConditionalGeneration."""
        super().__init__()
        self.visual_encoder = _vision(model)
        self.ln_vision = nn.LayerNorm(model.vision.width)
        self.Qformer = _qformer(model.qformer, model.vision.width)
        self.query_tokens = nn.Parameter(torch.empty(1, model.qformer.queries, model.qformer.width))
        self.language_projection = nn.Linear(model.qformer.width, language_model.config.hidden_size)
        self.language_model = language_model

    def look(self, pixels: Tensor) -> Tensor:
        """(images, 3, side, side), normalised -> (images, queries, width of the language model)."""
        features = self.ln_vision(self.visual_encoder(pixels))
        queries = self.Qformer.bert(
            query_embeds=self.query_tokens.expand(len(pixels), -1, -1),
            encoder_hidden_states=features,
            return_dict=True,
        )
        projected: Tensor = self.language_projection(queries.last_hidden_state)
        return projected


def build(model: Blip2Model, folder: Path) -> Blip2:
    """The module on torch's `meta` device; folder: where the language model's config.json is.

    Raises ModelLoadError.
    """
    from services.captioning import lavis_zoo  # here: it imports LAVIS, which takes seconds

    config = lavis_zoo.AutoConfig.from_pretrained(str(folder))
    makers = {"opt": lavis_zoo.OPTForCausalLM, "t5": lavis_zoo.T5ForConditionalGeneration}
    if config.model_type not in makers:
        raise ModelLoadError(f"{folder} holds a language model of type {config.model_type}, not one of BLIP-2's")
    if config.model_type == "t5":
        config.dense_act_fn = "gelu"  # as LAVIS sets it
    with torch.device("meta"):
        return Blip2(model, makers[config.model_type](config)).eval().requires_grad_(False)


def language_of(blip2: Blip2, folder: Path) -> LanguageModel:
    """The language model of `blip2`, its weights in place, with the tokenizer in `folder`."""
    from services.captioning import lavis_zoo

    if blip2.language_model.config.model_type == "opt":
        return Opt(blip2.language_model, lavis_zoo.AutoTokenizer.from_pretrained(str(folder), use_fast=False))
    return T5(blip2.language_model, lavis_zoo.T5TokenizerFast.from_pretrained(str(folder)))


def _vision(model: Blip2Model) -> nn.Module:
    if model.vision.kind == "eva":
        return EvaVision(model.vision, model.image_px)
    from services.captioning import lavis_zoo

    tower: nn.Module = lavis_zoo.ClipVisionTransformer(
        input_resolution=model.image_px,
        patch_size=PATCH_PX,
        width=model.vision.width,
        layers=model.vision.layers,
        heads=model.vision.heads,
        use_grad_checkpointing=False,
    )
    for part in tower.modules():
        if isinstance(part, nn.LayerNorm):
            part.__class__ = nn.LayerNorm  # LAVIS's turns its input, but not its weights, into fp32
    return tower


def _qformer(size: QFormerSize, image_width: int) -> Any:
    from services.captioning import lavis_zoo

    config = lavis_zoo.BertConfig(
        vocab_size=BERT_TOKENS,
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=size.mlp_width,
        encoder_width=image_width,
        add_cross_attention=True,
        cross_attention_freq=2,
        query_length=size.queries,
    )
    qformer = lavis_zoo.QFormer(config)
    # what only texts pass through, as LAVIS removes it
    qformer.cls = None
    qformer.bert.embeddings.word_embeddings = None
    qformer.bert.embeddings.position_embeddings = None
    for layer in qformer.bert.encoder.layer:
        layer.output = None
        layer.intermediate = None
    return qformer
