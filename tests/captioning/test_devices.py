"""auto falls back with a reason; a device asked for by name does not."""

import logging

import pytest
import torch

from services.captioning.devices import DeviceError, choose_device, choose_precision

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")


def test_cpu_by_name() -> None:
    choice = choose_device("cpu")
    assert choice.device == torch.device("cpu")
    assert choice.reason == "asked for by DEVICE=cpu"


@without_gpu
def test_auto_falls_back_to_the_cpu_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        choice = choose_device("auto")
    assert choice.device == torch.device("cpu")
    assert choice.reason.startswith("no usable GPU: ")
    assert len(choice.reason) > len("no usable GPU: ")
    assert caplog.records


@without_gpu
@pytest.mark.parametrize("requested", ["cuda", "cuda:0", "cuda:7"])
def test_a_gpu_by_name_is_not_replaced(requested: str) -> None:
    with pytest.raises(DeviceError, match=f"DEVICE={requested} does not work"):
        choose_device(requested)


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_auto_is_exact(device: str) -> None:
    assert choose_precision("auto", torch.device(device)) == "fp32"


@pytest.mark.parametrize(
    ("requested", "device", "possible"),
    [
        ("bf16", "cpu", "auto, fp32, int8"),
        ("fp16", "cpu", "auto, fp32, int8"),
        ("int4", "cpu", "auto, fp32, int8"),
        ("int8", "cuda:1", "auto, fp32, bf16, fp16"),
    ],
)
def test_a_precision_that_the_device_lacks_is_not_replaced(requested: str, device: str, possible: str) -> None:
    with pytest.raises(DeviceError) as caught:
        choose_precision(requested, torch.device(device))
    expected = f"PRECISION={requested} does not work for BLIP on {device}; there it can be {possible}"
    assert str(caught.value) == expected


def test_int8_without_its_instructions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    with pytest.raises(DeviceError, match=r"AVX512-VNNI, which this one lacks; use PRECISION=fp32"):
        choose_precision("int8", torch.device("cpu"))
