"""BLIP-2 at a small size, in the files that the published models have: for LAVIS's own loader and for ours.

The checkpoint holds what was trained and no more; the language model and its tokenizer lie in a folder in the form
of the Hugging Face hub.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from services.captioning import lavis_zoo
from services.captioning.blip2.model import Blip2Model, QFormerSize, VisionSize

VISION = VisionSize("eva", width=64, layers=2, heads=4, mlp_width=128)
QFORMER = QFormerSize(width=64, layers=2, heads=4, mlp_width=128, queries=4)
IMAGE_PX = 56
LETTERS = [chr(code) for code in range(33, 127)]


@dataclass(frozen=True)
class Tiny:
    name: str  # as in MODEL
    model: Blip2Model  # for our loader
    folder: Path


def write_opt(folder: Path) -> None:
    """A language model with a token for each character of ASCII; weights in half precision, as OPT's are."""
    folder.mkdir()
    tokens = ["<s>", "<pad>", "</s>", "<unk>", "\u0120", "\u010a", *LETTERS]  # those of BPE for space, line's end
    _write(folder / "vocab.json", {token: number for number, token in enumerate(tokens)})
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    special = {"bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"}
    _write(folder / "special_tokens_map.json", special)
    _write(
        folder / "tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, **special}
    )
    config = lavis_zoo.AutoConfig.for_model(
        "opt",
        vocab_size=len(tokens),
        hidden_size=64,
        word_embed_proj_dim=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=128,
        max_position_embeddings=512,
    )
    model = lavis_zoo.OPTForCausalLM(config)
    make_loud(model)
    _save(model.half(), config, folder)


def write_t5(folder: Path) -> None:
    """A language model with some words; the weights in two files, with a list of them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    folder.mkdir()
    words = [
        "<pad>",
        "</s>",
        "<unk>",
        "\u2581",
        *(f"\u2581{word}" for word in ("a", "photo", "of", "the")),
        *LETTERS,
    ]
    tokenizer = Tokenizer(models.Unigram([(word, -float(number)) for number, word in enumerate(words)], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "spiece.model").write_bytes(b"")  # of the tokenizer that is not the fast one
    special = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    _write(folder / "special_tokens_map.json", special)
    _write(folder / "tokenizer_config.json", {"tokenizer_class": "T5Tokenizer", "extra_ids": 0, **special})
    config = lavis_zoo.AutoConfig.for_model(
        "t5",
        vocab_size=len(words),
        d_model=64,
        d_kv=16,
        d_ff=128,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
    )
    model = lavis_zoo.T5ForConditionalGeneration(config)
    make_loud(model)
    _save(model, config, folder, shards=2)


def _save(model: Any, config: Any, folder: Path, shards: int = 1) -> None:
    config.save_pretrained(folder)
    tied = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"} if shards > 1 else {"lm_head.weight"}
    weights = {name: weight.clone() for name, weight in model.state_dict().items() if name not in tied}
    if shards == 1:
        torch.save(weights, folder / "pytorch_model.bin")
        return
    names = sorted(weights)
    file_of = {name: f"pytorch_model-{1 + (i % shards):05}-of-{shards:05}.bin" for i, name in enumerate(names)}
    for file in set(file_of.values()):
        torch.save({name: weights[name] for name in names if file_of[name] == file}, folder / file)
    _write(folder / "pytorch_model.bin.index.json", {"metadata": {}, "weight_map": file_of})


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


@torch.no_grad()
def make_loud(module: nn.Module) -> None:
    """Random weights larger than at a training's start, so that texts follow from the picture."""
    for name, weight in module.named_parameters():
        if weight.ndim > 1:
            loud = 0.05 if ".q." in name else 0.2  # T5 does not scale its attention down
            weight.normal_(std=0.5 if "embed" in name or "shared" in name else loud)
        elif "bias" in name:
            weight.normal_(std=0.1)


@contextmanager
def tiny_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """LAVIS's own code builds its vision tower and its Q-Former at the small size, from files in `folder`."""
    from lavis.models import eva_vit
    from lavis.models.blip2_models import blip2

    def create(img_size: int, drop_path_rate: float, use_checkpoint: bool, precision: str) -> nn.Module:
        made: nn.Module = eva_vit.VisionTransformer(
            img_size=img_size,
            patch_size=14,
            embed_dim=VISION.width,
            depth=VISION.layers,
            num_heads=VISION.heads,
            mlp_ratio=VISION.mlp_width / VISION.width,
            qkv_bias=True,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
        )
        made.load_state_dict(torch.load(folder / "vision.pth"), strict=True)
        return made

    if not (folder / "vision.pth").exists():
        size = partial(eva_vit.VisionTransformer, img_size=IMAGE_PX, patch_size=14, embed_dim=VISION.width)
        made = size(
            depth=VISION.layers, num_heads=VISION.heads, mlp_ratio=VISION.mlp_width / VISION.width, qkv_bias=True
        )
        make_loud(made)
        torch.save(made.state_dict(), folder / "vision.pth")
    bert = folder / "bert-base-uncased"  # found by this name in the folder that is the current one
    if not bert.exists():
        bert.mkdir()
        (bert / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]), "utf-8")
        config = lavis_zoo.BertConfig(
            vocab_size=16,
            hidden_size=QFORMER.width,
            num_hidden_layers=QFORMER.layers,
            num_attention_heads=QFORMER.heads,
            intermediate_size=QFORMER.mlp_width,
        )
        config.save_pretrained(bert)
        torch.save({}, bert / "pytorch_model.bin")
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("TORCH_HOME", str(folder))
        patch.setattr(blip2, "create_eva_vit_g", create)
        yield


def make_tiny(
    architecture: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *, freeze_vit: bool = True
) -> Tiny:
    """The files of a small model, known to LAVIS as `architecture`/tiny until the test ends."""
    from lavis.common.registry import registry

    kind = architecture.removeprefix("blip2_")
    language = folder / kind
    if not language.exists():
        {"opt": write_opt, "t5": write_t5}[kind](language)
    checkpoint = folder / "hub" / "checkpoints" / f"{architecture}.pth"  # in torch hub's cache
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    config = {
        "load_finetuned": True,
        "finetuned": f"https://models.invalid/{checkpoint.name}",
        "image_size": IMAGE_PX,
        "vit_precision": "fp32",
        "freeze_vit": freeze_vit,
        "num_query_token": QFORMER.queries,
        f"{kind}_model": str(language),
        "prompt": "a photo of",
    }
    processor = {"name": "blip_image_eval", "image_size": IMAGE_PX}
    content = {"model": config, "preprocess": {"vis_processor": {"eval": processor}}}
    (folder / f"{architecture}.yaml").write_text(json.dumps(content), encoding="utf-8")
    model_class = registry.get_model_class(architecture)
    monkeypatch.setitem(model_class.PRETRAINED_MODEL_CONFIG_DICT, "tiny", str(folder / f"{architecture}.yaml"))
    with tiny_parts(folder, monkeypatch):
        if not checkpoint.exists():
            _write_checkpoint(model_class, config, kind, checkpoint)
    vision = folder / "vision.pth" if freeze_vit else None
    model = Blip2Model(
        str(language),
        checkpoint,
        vision,
        parameters=1,
        image_px=IMAGE_PX,
        prompt="a photo of",
        vision=VISION,
        qformer=QFORMER,
    )
    return Tiny(f"{architecture}/tiny", model, folder)


def _write_checkpoint(model_class: Any, config: dict[str, Any], kind: str, path: Path) -> None:
    """As LAVIS's training writes it: without what was frozen."""
    made = model_class(
        img_size=IMAGE_PX,
        vit_precision="fp32",
        freeze_vit=config["freeze_vit"],
        num_query_token=QFORMER.queries,
        prompt=config["prompt"],
        **{f"{kind}_model": config[f"{kind}_model"]},
    )
    for part in (made.Qformer, made.ln_vision, getattr(made, f"{kind}_proj")):
        make_loud(part)
    made.query_tokens.data.normal_()
    frozen = {name for name, weight in made.named_parameters() if not weight.requires_grad}
    weights = {name: weight for name, weight in made.state_dict().items() if name not in frozen}
    torch.save({"model": weights, "epoch": 0, "config": {"run": {"lr": 1e-5}}}, path)
