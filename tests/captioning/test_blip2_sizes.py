"""What the published BLIP-2 models are made of, and how much memory they take: on torch's `meta` device."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from config.models import read_models
from services.captioning import lavis_zoo
from services.captioning.blip.model import BLIP_MODELS
from services.captioning.blip2 import weights as blip2_weights
from services.captioning.blip2.architecture import Blip2, build
from services.captioning.blip2.loading import choose_precision
from services.captioning.blip2.memory import check_room, free_bytes, needed
from services.captioning.blip2.model import BLIP2_MODELS, CLIP_L, EVA_G
from services.captioning.blip2.weights import Place
from services.captioning.checkpoints import ModelLoadError
from services.captioning.devices import DeviceError
from services.captioning.engines import load_captioner

OPT_27: dict[str, Any] = {
    "hidden_size": 2560,
    "word_embed_proj_dim": 2560,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
}
OPT_27 |= {"ffn_dim": 10_240, "vocab_size": 50_272, "max_position_embeddings": 2048, "model_type": "opt"}
T5_XL: dict[str, Any] = {
    "d_model": 2048,
    "d_kv": 64,
    "d_ff": 5120,
    "num_layers": 24,
    "num_heads": 32,
    "vocab_size": 32_128,
}
T5_XL |= {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "model_type": "t5"}
CPU = torch.device("cpu")


def full_size(name: str, language: dict[str, Any], folder: Path) -> Blip2:
    (folder / "config.json").write_text(json.dumps(language), encoding="utf-8")
    return build(BLIP2_MODELS[name], folder)


class Everything:
    """In place of files: any weight, of any shape, without memory."""

    def take(self, name: str, shape: torch.Size) -> torch.Tensor:
        return torch.empty(shape, device="meta")

    def forget(self, weight: torch.Tensor, placed: torch.nn.Module) -> None:
        """There is no memory to give back."""


def n_bytes(module: torch.nn.Module) -> int:
    """Parameters and buffers, each tensor once."""
    tensors = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return sum(tensor.nbytes for tensor in tensors.values())


@pytest.mark.parametrize(
    ("precision", "published_gb"), [("fp32", 14.43), ("bf16", 7.21), ("int8", 3.61), ("int4", 1.8)]
)
def test_opt_takes_what_its_precision_promises(tmp_path: Path, precision: str, published_gb: float) -> None:
    name = "blip2_opt/pretrain_opt2.7b"
    blip2 = full_size(name, OPT_27, tmp_path)
    place = Place(torch.device("cpu"), precision)
    everything: Any = Everything()
    blip2_weights.fill_language_ends(blip2.language_model, everything, place)
    if precision != "fp32":  # which it is built in; tied weights without memory would be taken for missing
        blip2_weights.fill(blip2, "", everything, place)
    taken = n_bytes(blip2)
    assert taken <= 1.25 * published_gb * 1e9
    # what is said before loading is not less, nor much more
    assert taken <= needed(BLIP2_MODELS[name].parameters, precision) - 0.9e9 <= 1.1 * taken


@pytest.mark.parametrize(
    ("name", "language"),
    [
        ("blip2_opt/caption_coco_opt2.7b", OPT_27),
        ("blip2_t5/pretrain_flant5xl", T5_XL),
        ("blip2_t5/pretrain_flant5xl_vitL", T5_XL),
    ],
)
def test_the_number_of_parameters_is_the_real_one(tmp_path: Path, name: str, language: dict[str, Any]) -> None:
    blip2 = full_size(name, language, tmp_path)
    blip2_weights.fill_language_ends(blip2.language_model, Everything(), Place(CPU, "fp32"))  # type: ignore[arg-type]
    millions = sum(parameter.numel() for parameter in blip2.parameters()) / 1e6
    assert millions == pytest.approx(BLIP2_MODELS[name].parameters, rel=0.005)


def test_the_models_are_those_of_lavis() -> None:
    from lavis.common.registry import registry

    served = {
        f"{arch}/{kind}"
        for arch in ("blip2_opt", "blip2_t5")
        for kind in registry.get_model_class(arch).PRETRAINED_MODEL_CONFIG_DICT
    }
    assert served == set(BLIP2_MODELS)
    for name, model in BLIP2_MODELS.items():
        architecture, _, kind = name.partition("/")
        config = OmegaConf.load(registry.get_model_class(architecture).default_config_path(kind)).model
        assert model.checkpoint == lavis_zoo.checkpoint_url(architecture, kind)
        assert model.language_model == config.get("opt_model", config.get("t5_model"))
        assert (model.image_px, model.prompt) == (config.image_size, config.prompt)
        assert (model.vision_checkpoint is None) == (not config.freeze_vit)
        assert model.vision == (CLIP_L if config.get("vit_model") == "clip_L" else EVA_G)
        assert model.qformer.queries == config.num_query_token


def test_the_list_of_models_says_the_same() -> None:
    rows = read_models()
    checkpoints = {name: model.checkpoint for name, model in BLIP_MODELS.items()}
    checkpoints |= {name: model.checkpoint for name, model in BLIP2_MODELS.items()}
    for name, checkpoint in checkpoints.items():
        assert str(checkpoint).endswith(rows[name].checkpoint)
    for name, blip2 in BLIP2_MODELS.items():
        row = rows[name]
        vision = [Path(str(blip2.vision_checkpoint)).name] if blip2.vision_checkpoint else []
        assert (row.parameters, row.parts) == (blip2.parameters, [*vision, blip2.language_model])
        for precision, gb in row.memory_gb.items():
            assert gb == pytest.approx(needed(blip2.parameters, precision) / 1e9 - 1, rel=0.01, abs=0.05)
    for name in ("blip_vqa/vqav2", "blip_vqa/okvqa", "blip_vqa/aokvqa"):
        assert lavis_zoo.checkpoint_url(*name.split("/")).endswith(rows[name].checkpoint)


def test_too_little_memory_is_said_before_loading_with_what_would_do() -> None:
    check = ("blip2_opt/pretrain_opt2.7b", 3745)
    check_room(*check, "fp32", CPU, int(17e9))
    check_room(*check, "fp32", CPU, None)
    with pytest.raises(
        ModelLoadError, match=r"fp32 needs 16\.0 GB .* 9\.0 GB are free .*PRECISION=bf16 needs 8\.5"
    ):
        check_room(*check, "fp32", CPU, int(9e9))
    with pytest.raises(ModelLoadError, match=r"PRECISION=int4 needs 3\.2 GB"):
        check_room(*check, "bf16", CPU, int(4e9))
    with pytest.raises(ModelLoadError, match=r"MODEL=blip_caption/large_coco"):
        check_room(*check, "int4", CPU, int(2e9))


def test_nothing_is_fetched_for_a_model_that_will_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("services.captioning.blip2.loading.free_bytes", lambda device: int(4e9))
    with pytest.raises(ModelLoadError, match=r"in fp32 needs .* 4\.0 GB are free .*PRECISION=int4 needs"):
        load_captioner("blip2_opt/pretrain_opt2.7b", "auto", "cpu", "auto", lambda progress: None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (
            "blip_caption/large_coco",
            "PRECISION=int4 does not work for BLIP on cpu; there it can be auto, fp32, int8",
        ),
        ("blip_vqa/vqav2", "PRECISION=int4 is for the fast path; LAVIS, which runs blip_vqa/vqav2 here"),
    ],
)
def test_int4_is_for_blip2(model: str, why: str) -> None:
    with pytest.raises(DeviceError, match=why):
        load_captioner(model, "auto", "cpu", "int4", lambda progress: None)


def test_free_memory_is_the_container_s_where_that_is_less(tmp_path: Path) -> None:
    meminfo, cgroup = tmp_path / "meminfo", tmp_path / "cgroup"
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable:  8000 kB\n")
    assert free_bytes(CPU, meminfo, cgroup) == 8000 * 1024
    cgroup.mkdir()
    for file, text in {
        "memory.max": "5000000\n",
        "memory.current": "3000000\n",
        "memory.stat": "anon 1\ninactive_file 400000\nactive_file 100000\n",
    }.items():
        (cgroup / file).write_text(text)
    assert free_bytes(CPU, meminfo, cgroup) == 2_500_000
    (cgroup / "memory.max").write_text("max\n")
    assert free_bytes(CPU, meminfo, cgroup) == 8000 * 1024
    assert free_bytes(CPU, tmp_path / "none", tmp_path / "none") is None


def test_precisions() -> None:
    cuda, opt, t5 = torch.device("cuda:0"), "blip2_opt/x", "blip2_t5/x"
    chosen = [choose_precision("auto", device, name) for device in (CPU, cuda) for name in (opt, t5)]
    assert chosen == ["fp32", "fp32", "fp16", "bf16"]
    assert choose_precision("int4", CPU, t5) == "int4"
    for precision, device, name in (("fp16", CPU, opt), ("int8", cuda, opt), ("fp16", cuda, t5)):
        with pytest.raises(DeviceError, match=f"PRECISION={precision} does not work .*auto, fp32"):
            choose_precision(precision, device, name)


def test_a_language_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="type gpt2"):
        full_size("blip2_opt/pretrain_opt2.7b", {"model_type": "gpt2"}, tmp_path)
