"""The door to LAVIS: makes it importable, says what its zoo holds, and adds the demonstration model to it.

The only file that imports lavis. Importing this module imports LAVIS and all that it needs (seconds), so
others import it inside functions.
"""

import importlib
import json
import sys
import warnings
from functools import partial
from typing import Any, ClassVar

import torch
from torch import nn

# The operators that torchvision's Python part refers to while it is imported.
_TORCHVISION_OPERATORS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def _import_torchvision() -> None:
    """Import torchvision even where its compiled operators cannot load.

    Its wheel is built for CUDA; with a CPU build of torch the operators are missing and the import dies with
    "operator torchvision::nms does not exist". LAVIS needs only the transforms, which are pure Python, so the
    names are declared without a body; calling one of them still fails.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]  # half-imported
        for operator, signature in _TORCHVISION_OPERATORS.items():
            torch.library.define(f"torchvision::{operator}", signature)
        importlib.import_module("torchvision")


# LAVIS and what it needs are old and warn about themselves by the dozen.
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    _import_torchvision()
    from lavis.common.registry import registry
    from lavis.models import load_model_and_preprocess
    from lavis.models.blip2_models.modeling_opt import OPTForCausalLM
    from lavis.models.blip2_models.modeling_t5 import T5ForConditionalGeneration
    from lavis.models.blip2_models.Qformer import BertLMHeadModel as QFormer
    from lavis.models.blip_models.blip_caption import BlipCaption
    from lavis.models.clip_vit import VisionTransformer as ClipVisionTransformer
    from lavis.models.med import XBertLMHeadDecoder
    from lavis.models.vit import VisionTransformer
    from omegaconf import OmegaConf
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoTokenizer, BertTokenizer, T5TokenizerFast
    from transformers.models.bert.configuration_bert import BertConfig

from services.captioning.blip.model import DEMO_MODEL  # noqa: E402
from services.captioning.checkpoints import ModelLoadError  # noqa: E402

__all__ = [
    "DEMO_ARCHITECTURE",
    "DEMO_MODEL",
    "AutoConfig",
    "AutoTokenizer",
    "BertConfig",
    "ClipVisionTransformer",
    "DemoBlipCaption",
    "OPTForCausalLM",
    "QFormer",
    "T5ForConditionalGeneration",
    "T5TokenizerFast",
    "checkpoint_url",
    "load_model_and_preprocess",
    "names_in_lavis",
]

DEMO_ARCHITECTURE = "blip_caption_demo"

# The architectures of LAVIS 1.0.2 whose `generate` turns an image alone into a caption; and the one that only
# answers questions about it.
SERVED = ("blip_caption", "blip2_opt", "blip2_t5", "blip_vqa")


def names_in_lavis(model: str) -> tuple[str, str]:
    """(name, type) of MODEL="demo" or "name/type". Raises ModelLoadError that lists what there is."""
    if model == "demo":
        return DEMO_ARCHITECTURE, "demo"
    name, _, model_type = model.partition("/")
    served = {f"{arch}/{kind}" for arch in SERVED for kind in _types(arch)}
    if model not in served:
        raise ModelLoadError(f"MODEL={model} is unknown; choose demo or one of {', '.join(sorted(served))}")
    return name, model_type


def checkpoint_url(name: str, model_type: str) -> str:
    """Where LAVIS's configuration says that the weights are published."""
    model_class = registry.get_model_class(name)
    config = OmegaConf.load(model_class.default_config_path(model_type)).model
    return str(config.finetuned if config.get("load_finetuned", True) else config.pretrained)


def _types(name: str) -> list[str]:
    return list(registry.get_model_class(name).PRETRAINED_MODEL_CONFIG_DICT)


class DemoVisionTransformer(VisionTransformer):  # type: ignore[misc]
    """LAVIS's VisionTransformer at sizes that `VisionTransformerEncoder.from_config` has no name for."""

    def forward_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """(batch, 3, side, side) float32 -> (batch, 1 + patches, width)."""
        features: torch.Tensor = self.forward(pixels)
        return features


@registry.register_model(DEMO_ARCHITECTURE)
class DemoBlipCaption(BlipCaption):  # type: ignore[misc]
    """The demonstration model: BlipCaption with a small encoder, decoder and vocabulary of its own."""

    PRETRAINED_MODEL_CONFIG_DICT: ClassVar = {"demo": str(DEMO_MODEL / "config.yaml")}

    @classmethod
    def default_config_path(cls, model_type: str) -> str:
        return cls.PRETRAINED_MODEL_CONFIG_DICT[model_type]  # absolute: LAVIS would look in its own folder

    @classmethod
    def init_tokenizer(cls) -> BertTokenizer:
        tokenizer = BertTokenizer(str(DEMO_MODEL / "vocab.txt"), do_lower_case=True)
        tokenizer.add_special_tokens({"bos_token": "[DEC]"})
        tokenizer.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
        tokenizer.enc_token_id = tokenizer.additional_special_tokens_ids[0]
        return tokenizer

    @classmethod
    def from_config(cls, cfg: Any) -> "DemoBlipCaption":
        model = cls.untrained(cfg)
        model.load_state_dict(load_file(DEMO_MODEL / cfg.finetuned), strict=True)
        return model

    @classmethod
    def untrained(cls, cfg: Any) -> "DemoBlipCaption":
        """The architecture with random weights, as training begins."""
        encoder = DemoVisionTransformer(
            img_size=cfg.image_size,
            patch_size=cfg.vit_patch_size,
            embed_dim=cfg.vit_width,
            depth=cfg.vit_depth,
            num_heads=cfg.vit_heads,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
        )
        # LAVIS starts positions at 0.02, unseen beside patches whose values are about 1.5 in this small a model
        nn.init.trunc_normal_(encoder.pos_embed, std=0.4)
        decoder_config = json.loads((DEMO_MODEL / cfg.med_config_path).read_text(encoding="utf-8"))
        decoder = XBertLMHeadDecoder(config=BertConfig(**decoder_config))
        return cls(encoder, decoder, prompt=cfg.prompt, max_txt_len=cfg.max_txt_len)
