"""auto falls back with a reason; a device asked for by name does not."""

import logging

import pytest
import torch

from services.captioning.devices import DeviceError, choose_device

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
