"""That loading BLIP-2 never holds much more than what stays: measured on a model of some hundred megabytes."""

import re
from pathlib import Path

import pytest
import torch

from services.captioning import lavis_zoo
from services.captioning.blip2.architecture import Blip2, build
from services.captioning.blip2.model import Blip2Model
from services.captioning.blip2.weights import Place, load_weights
from services.captioning.kernels import Kernel, OneDnnLinear
from services.captioning.memory import release_memory
from tests.captioning.test_blip2_sizes import n_bytes
from tests.captioning.test_kernels import with_one_dnn
from tests.captioning.tiny_blip2 import QFORMER, VISION

CPU = torch.device("cpu")
SLACK = 100 << 20  # for the largest matrix on its way, and the allocator; less than half of the files
RESET_PEAK = Path("/proc/self/clear_refs")

pytestmark = pytest.mark.slow


def resident(which: str) -> int:
    """Bytes, mapped files included. which: VmRSS, now; VmHWM, the most since the last reset."""
    found = re.search(rf"{which}:\s*([0-9]+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def write_files(folder: Path) -> tuple[Blip2, Path, Path]:
    """A model of 150 million weights without memory; its checkpoint; its language model, 300 MB in fp16."""
    size = {"hidden_size": 1024, "word_embed_proj_dim": 1024, "num_hidden_layers": 12, "num_attention_heads": 16}
    lavis_zoo.AutoConfig.for_model("opt", vocab_size=1000, ffn_dim=4096, **size).save_pretrained(folder)
    blip2 = build(Blip2Model("", "", None, 150, image_px=56, vision=VISION, qformer=QFORMER), folder)
    paths = folder / "blip2.pth", folder / "opt.bin"
    held: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]] = ({}, {})
    for name, weight in blip2.state_dict().items():
        if name.startswith("language_model."):
            held[1][name.removeprefix("language_model.")] = torch.ones(weight.shape, dtype=torch.float16)
        else:
            held[0][name] = torch.ones(weight.shape)
    for path, weights in zip(paths, held, strict=True):
        torch.save(weights, path)
    return blip2, *paths


PACKED = pytest.param("fp32", {"language_model.": (OneDnnLinear, 5)}, marks=with_one_dnn, id="fp32, packed")


@pytest.mark.parametrize(
    ("precision", "kernels"), [("fp32", {}), PACKED, ("bf16", {}), ("int8", {}), ("int4", {})]
)
def test_loading_holds_one_copy(tmp_path: Path, precision: str, kernels: dict[str, tuple[Kernel, int]]) -> None:
    blip2, checkpoint, language = write_files(tmp_path)
    release_memory()  # what is on the heap from before would be used again, and not count
    try:
        RESET_PEAK.write_text("5")
    except OSError:
        pytest.skip("the system does not measure a peak anew")
    before = resident("VmRSS")
    load_weights(blip2, checkpoint, None, [language], Place(CPU, precision, kernels=kernels))
    assert resident("VmHWM") - before < n_bytes(blip2) + SLACK
    assert n_bytes(blip2) > 75e6
