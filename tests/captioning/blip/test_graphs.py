"""Recorded computations: the same captions, one recording a shape, and a way out where recording fails.

What stands in for a GPU plays a recording as CUDA does: it sees only the tensors that were there while recording,
and writes its result to the same place each time.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from services.captioning.blip import graphs
from services.captioning.blip.captioner import BlipCaptioner, load_blip_captioner
from services.captioning.blip.graphs import Graphs, Recording, Run
from services.captioning.captioner import DecodingOptions, LoadProgress
from training.scenes import draw_scene

SCENES = [draw_scene(31_013, index).picture for index in range(6)]


class FakeDevice:
    def __init__(self, error: Exception | None = None, off_by: float = 0.0) -> None:
        self.recorded = self.played = 0
        self.error, self.off_by = error, off_by

    def capture(self, run: Run) -> tuple[Callable[[], object], Tensor]:
        if self.error is not None:
            raise self.error
        self.recorded += 1
        result = run().clone()

        def play() -> None:
            self.played += 1
            result.copy_(run() + self.off_by)

        return play, result


def ignore(progress: LoadProgress) -> None:
    """For tests that don't look at the progress."""


@pytest.fixture
def demo() -> BlipCaptioner:
    return load_blip_captioner("demo", "cpu", "fp32", ignore)


def unpacked() -> BlipCaptioner:
    """Its encoder takes several images at once, as on a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("services.captioning.blip.captioner.pack", lambda vision: None)
        return load_blip_captioner("demo", "cpu", "fp32", ignore)


def texts(captioner: BlipCaptioner, images: int, options: DecodingOptions | None = None) -> list[list[str]]:
    pictures = [captioner.prepare(scene) for scene in SCENES[:images]]
    return [[caption.text for caption in of_one] for of_one in captioner.caption(pictures, options)]


SHAPES: list[tuple[int, DecodingOptions]] = [
    (1, DecodingOptions()),
    (3, DecodingOptions()),
    (6, DecodingOptions(num_beams=5, max_length=24)),
    (2, DecodingOptions(num_beams=1)),
    (2, DecodingOptions(top_p=0.9, num_captions=3, seed=5)),
    (2, DecodingOptions(prompt="a small drawn picture of two")),
]


def test_recorded_captions_are_the_plain_ones(demo: BlipCaptioner) -> None:
    recording, device = unpacked(), FakeDevice()
    recording._graphs = Graphs(recording.blip, device.capture)
    for images, options in SHAPES + SHAPES[::-1]:  # recordings are taken up again for other pictures
        assert texts(recording, images, options) == texts(demo, images, options)
    assert device.played > 50


def test_each_shape_is_recorded_once() -> None:
    captioner, device = unpacked(), FakeDevice()
    captioner._graphs = Graphs(captioner.blip, device.capture)
    for _ in range(3):
        texts(captioner, 2)
    assert device.recorded == 2  # the encoder and the step
    texts(captioner, 3)
    assert device.recorded == 4


def test_lengths_that_are_near_share_a_recording(demo: BlipCaptioner) -> None:
    captioner, device = unpacked(), FakeDevice()
    captioner._graphs = Graphs(captioner.blip, device.capture)
    for max_length in (30, 24, 17, 32):
        options = DecodingOptions(max_length=max_length)
        assert texts(captioner, 2, options) == texts(demo, 2, options)
    assert device.recorded == 2
    texts(captioner, 2, DecodingOptions(max_length=33))
    assert device.recorded == 3


def test_recordings_that_were_not_used_for_longest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "KEPT", 2)
    captioner, device = unpacked(), FakeDevice()
    captioner._graphs = Graphs(captioner.blip, device.capture)
    for images in (1, 2, 1, 3, 1):
        texts(captioner, images)
    assert device.recorded == 6  # three shapes, each once
    texts(captioner, 2)  # it had to go for the third
    assert device.recorded == 8


@pytest.mark.parametrize("device", [FakeDevice(error=RuntimeError("no graphs here")), FakeDevice(off_by=9.0)])
def test_where_recording_fails_or_errs_all_is_computed_plainly(
    demo: BlipCaptioner, device: FakeDevice, caplog: pytest.LogCaptureFixture
) -> None:
    captioner = unpacked()
    captioner._graphs = Graphs(captioner.blip, device.capture)
    assert texts(captioner, 2) == texts(demo, 2)
    recorded = device.recorded
    assert texts(captioner, 3) == texts(demo, 3)
    assert device.recorded == recorded  # not tried again
    assert caplog.text.count("CUDA graphs do not work here") == 1


def test_no_memory_for_a_recording_makes_the_batch_smaller() -> None:
    captioner = unpacked()
    captioner._graphs = Graphs(captioner.blip, FakeDevice(error=torch.OutOfMemoryError("full")).capture)
    with pytest.raises(Exception, match="full") as caught:
        texts(captioner, 2)
    assert type(caught.value).__name__ == "DeviceOutOfMemory"


def test_a_recording_reads_only_what_it_is_given() -> None:
    given = torch.ones(3)
    double = Recording(lambda x: 2 * x, (given,), FakeDevice().capture)
    given.fill_(5)
    first = double(torch.tensor([1.0, 2.0, 3.0]))
    assert first.tolist() == [2, 4, 6]
    assert double(torch.zeros(3)) is first


def test_a_recording_of_nothing_is_not_kept(demo: BlipCaptioner, caplog: pytest.LogCaptureFixture) -> None:
    """It gives back what it was recorded with, whatever the pictures are."""

    def capture(run: Run) -> tuple[Callable[[], object], Tensor]:
        return lambda: None, run().clone()

    recorder = Graphs(demo.blip, capture)
    pixels = demo.pixels([demo.prepare(SCENES[0])])
    with torch.inference_mode():
        assert torch.equal(recorder.encode(pixels), demo.blip.vision(pixels))
    assert "CUDA graphs do not work here" in caplog.text
    assert not recorder._encoders
