"""Less than fp32: nearly the same arithmetic, nearly the same captions, and the truth about it."""

import pytest
import torch

from services.captioning.blip.captioner import BlipCaptioner, load_blip_captioner
from services.captioning.blip.int8 import FEW_ROWS, HEADS_AT_ONCE, Int8Linear, attend_bf16
from services.captioning.blip.model import BLIP_MODELS
from services.captioning.blip.vision import attend
from services.captioning.blip.vocabulary import Vocabulary
from services.captioning.blip.weights import load_blip
from services.captioning.captioner import LoadProgress, ModelInfo
from services.captioning.devices import DeviceError
from services.captioning.engines import load_captioner
from services.captioning.lavis_zoo import DEMO_MODEL
from training.scenes import draw_scene

DEMO = BLIP_MODELS["demo"]
SCENES = [draw_scene(31_011, index).picture for index in range(40)]
FEW = 8

with_vnni = pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="needs a CPU with AVX512-VNNI")


def ignore(progress: LoadProgress) -> None:
    """For tests that don't look at the progress."""


def texts(captioner: BlipCaptioner, count: int = len(SCENES)) -> list[str]:
    pictures = [captioner.prepare(scene) for scene in SCENES[:count]]
    return [of_one[0].text for of_one in captioner.caption(pictures)]


@pytest.fixture(scope="module")
def exact() -> BlipCaptioner:
    return load_blip_captioner("demo", "cpu", "fp32", ignore)


@pytest.fixture(scope="module")
def int8() -> BlipCaptioner:
    return load_blip_captioner("demo", "cpu", "int8", ignore)


def linear(rows: int = 48, columns: int = 64) -> torch.nn.Linear:
    torch.manual_seed(3)
    return torch.nn.Linear(columns, rows).requires_grad_(False)


@with_vnni
def test_a_layer_does_nearly_what_it_did() -> None:
    layer, x = linear(), torch.randn(2, 7, 64) * torch.logspace(-3, 3, 7)[:, None]
    exact, rounded = layer(x) - layer.bias, Int8Linear(layer, in_steps=False)(x) - layer.bias
    # each token by itself: the large ones must not drown the small ones
    assert ((exact - rounded).norm(dim=-1) / exact.norm(dim=-1)).max() < 0.02


@with_vnni
def test_its_kernels_are_made_while_it_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(BlipCaptioner, "caption", lambda self, pictures: seen.append(len(pictures)))
    load_blip_captioner("demo", "cpu", "int8", ignore)
    assert seen == [1]
    load_blip_captioner("demo", "cpu", "fp32", ignore)  # it has none to make
    assert seen == [1]


@with_vnni
def test_zeros_in_a_layer_or_in_a_token_give_the_bias() -> None:
    layer = linear()
    layer.weight[5] = 0
    out = Int8Linear(layer, in_steps=False)(torch.stack([torch.zeros(64), torch.ones(64)]))
    assert torch.equal(out[0], layer.bias)
    assert out[1, 5] == layer.bias[5]


@with_vnni
def test_steps_meet_few_numbers_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    met: set[int] = set()

    def multiply(levels: torch.Tensor, *others: object) -> torch.Tensor:
        met.add(len(levels))
        return torch.ones(len(levels), 48)

    layer = Int8Linear(linear(), in_steps=True)
    monkeypatch.setattr(torch.ops.onednn, "qlinear_pointwise", multiply)
    for rows in range(FEW_ROWS + 1, 201):
        assert layer(torch.ones(rows, 1, 64)).shape == (rows, 1, 48)
    assert len(met) <= 4 * 8


@with_vnni
def test_a_token_does_not_depend_on_those_beside_it() -> None:
    layer, x = Int8Linear(linear(), in_steps=False), torch.randn(50, 64)
    alone = torch.cat([layer(token) for token in torch.split(x, 1)])
    assert torch.allclose(layer(x), alone, rtol=1e-5, atol=1e-6)


@with_vnni
@pytest.mark.parametrize("rows", [1, FEW_ROWS])
def test_a_few_rows_are_nearly_what_they_were(rows: int) -> None:
    layer, x = linear(), torch.randn(1, rows, 64)
    exact, rounded = layer(x), Int8Linear(layer, in_steps=True)(x)
    assert rounded.shape == exact.shape
    assert ((exact - rounded).norm() / exact.norm()) < 0.02
    assert not torch.equal(rounded, Int8Linear(layer, in_steps=False)(x))  # by another kernel


@with_vnni
def test_more_rows_are_of_several_pictures_and_share_nothing() -> None:
    layer, x = linear(), torch.randn(FEW_ROWS + 1, 64)
    assert torch.equal(Int8Linear(layer, in_steps=True)(x), Int8Linear(layer, in_steps=False)(x))


@with_vnni
def test_a_torch_without_the_kernel_for_few_rows_does_them_by_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(torch.backends.quantized), "supported_engines", ["onednn"])
    layer, x = linear(), torch.randn(1, 64)
    assert torch.equal(Int8Linear(layer, in_steps=True)(x), Int8Linear(layer, in_steps=False)(x))


@pytest.mark.parametrize("spread", [1.0, 2.0])
@pytest.mark.parametrize(("images", "heads"), [(1, HEADS_AT_ONCE), (2, 3), (3, 2 * HEADS_AT_ONCE + 1)])
def test_attention_in_bf16_is_nearly_what_it_was(images: int, heads: int, spread: float) -> None:
    torch.manual_seed(4)
    # as a layer's output is seen: not in one piece
    given = spread * torch.randn(images, 50, 3, heads, 16).permute(2, 0, 3, 1, 4)
    exact, rounded = attend(given), attend_bf16(given)
    assert (rounded.shape, rounded.dtype) == (exact.shape, torch.float32)
    assert not torch.equal(rounded, exact)
    assert ((exact - rounded).norm(dim=-1) / exact.norm(dim=-1)).max() < 0.05


@with_vnni
@pytest.mark.parametrize("fast", [True, False])
def test_attention_is_bf16_where_the_processor_multiplies_that(
    exact: BlipCaptioner, monkeypatch: pytest.MonkeyPatch, fast: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast)
    captioner = load_blip_captioner("demo", "cpu", "int8", ignore)
    ways = {block.attention.attend for block in captioner.blip.vision.blocks}  # type: ignore[union-attr]
    assert ways == {attend_bf16 if fast else attend}
    assert sum(a == b for a, b in zip(texts(exact, FEW), texts(captioner, FEW), strict=True)) >= FEW - 1


@with_vnni
def test_what_the_steps_read_is_fast_for_a_few_rows(int8: BlipCaptioner) -> None:
    """All of the decoder but the keys and values of the image, which are made before."""
    of_image = [(look.key, look.value) for look in (layer.image_attention for layer in int8.blip.text.layers)]  # type: ignore[union-attr]
    others = {module for both in of_image for module in both} | set(int8.blip.vision.modules())
    for module in int8.blip.modules():
        if isinstance(module, Int8Linear):
            assert (module.few is None) == (module in others)


@with_vnni
def test_int8_captions_of_pictures_alone_are_nearly_always_those_of_fp32(
    exact: BlipCaptioner, int8: BlipCaptioner
) -> None:
    alone = [int8.caption([int8.prepare(scene)])[0][0].text for scene in SCENES]
    assert sum(a == b for a, b in zip(texts(exact), alone, strict=True)) >= len(SCENES) - 2


@with_vnni
def test_every_layer_is_int8(int8: BlipCaptioner) -> None:
    left = [name for name, module in int8.blip.named_modules() if isinstance(module, torch.nn.Linear)]
    made = [module for module in int8.blip.modules() if isinstance(module, Int8Linear)]
    assert left == []
    assert len(made) == 6 * 4 + 3 * 10 + 2
    assert {module.weight.element_size() for module in made} == {1}


@with_vnni
def test_int8_captions_are_nearly_always_those_of_fp32(exact: BlipCaptioner, int8: BlipCaptioner) -> None:
    same = sum(a == b for a, b in zip(texts(exact), texts(int8), strict=True))
    assert same >= len(SCENES) - 2  # 99 of 100, on 1,000 scenes, is what `benchmarks.precision` looks for
    assert int8.info.precision == "int8"


def test_half_precision_as_on_a_gpu(exact: BlipCaptioner) -> None:
    """The same code on the CPU, where it is too slow to be offered."""
    blip = load_blip(DEMO, DEMO_MODEL / "model.safetensors").to(torch.bfloat16)
    info = ModelInfo("demo", "cpu", "a test", "bf16", "blip")
    half = BlipCaptioner(blip, DEMO, Vocabulary(DEMO_MODEL / "vocab.txt"), info)
    assert half.pixels([half.prepare(SCENES[0])]).dtype == torch.bfloat16
    same = sum(a == b for a, b in zip(texts(exact, FEW), texts(half, FEW), strict=True))
    assert same >= FEW - 2


def test_lavis_keeps_its_own_precision() -> None:
    with pytest.raises(DeviceError, match="PRECISION=int8 is for the fast path; LAVIS, which runs demo here"):
        load_captioner("demo", "lavis", "cpu", "int8", ignore)
