"""The whole service with a captioner that needs no model: every other stage is the real one."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

from flask import Flask
from PIL import Image

from services.captioning.batcher import Batcher, ModelStatus
from services.captioning.captioner import (
    Caption,
    Captioner,
    DecodingOptions,
    LoadCaptioner,
    ModelInfo,
    ReportProgress,
)
from services.emoji.in_use import MapHolder, MapInUse
from services.emoji.map_file import EmojiMap, load_map
from services.images.decode import decode
from services.images.fetch import UrlFetcher
from services.images.files import FileReader
from services.images.policy import UrlPolicy
from services.images.source import SourceReader
from services.pipeline import Pipeline
from services.web.app import create_app
from services.web.keys import ApiKeys
from services.web.models import ServedModel
from services.web.options import WebOptions
from services.web.proxies import Network

FAKE_INFO = ModelInfo(
    model="fake/colours", device="cpu", device_reason="a fake needs no GPU", precision="fp32", engine="fake"
)
WAIT_S = 60.0  # for what should come at once; more than any machine needs

Colour = tuple[int, int, int]


class FakeCaptioner:
    """Says the colour in the middle of a picture, or what it is told to.

    text: what to say of every picture. error: what to raise instead, until it is set to None again.
    gate: captioning waits until this event is set. `began` is set when the first picture is in its hands.
    """

    def __init__(
        self, text: str | None = None, error: Exception | None = None, gate: threading.Event | None = None
    ) -> None:
        self.info = FAKE_INFO
        self.text = text
        self.error = error
        self.gate = gate
        self.began = threading.Event()
        self.batch_sizes: list[int] = []

    def prepare(self, picture: Any) -> Colour:
        """RGB picture -> the colour of its middle."""
        colour: Colour = picture.getpixel((picture.width // 2, picture.height // 2))
        return colour

    def caption(self, pictures: Sequence[Colour], options: DecodingOptions | None) -> list[list[Caption]]:
        self.batch_sizes.append(len(pictures))
        self.began.set()
        if self.gate and not self.gate.wait(WAIT_S):
            raise AssertionError("the test never opened the gate")
        if self.error:
            raise self.error
        texts = [colour_caption(colour) if self.text is None else self.text for colour in pictures]
        return [[Caption(text)] * (options.num_captions if options else 1) for text in texts]


def colour_caption(colour: Colour) -> str:
    """What FakeCaptioner says of a picture of this colour; no word of it maps to an emoji."""
    return "only #{:02x}{:02x}{:02x}".format(*colour)


def picture(colour: Colour = (255, 0, 0), size: tuple[int, int] = (8, 8), file_format: str = "PNG") -> bytes:
    """An image file of one colour."""
    file = BytesIO()
    Image.new("RGB", size, colour).save(file, file_format)
    return file.getvalue()


@cache
def bundled_map() -> EmojiMap:
    """The real map, read once: that takes longer than most tests."""
    return load_map(Path(__file__).parents[1] / "emoji_map.yaml")


def loads(captioner: Captioner) -> LoadCaptioner:
    """A loader that has the model at once."""

    def load(_: ReportProgress) -> Captioner:
        return captioner

    return load


@contextmanager
def make_pipeline(
    captioner: FakeCaptioner | None = None,
    *,
    load: LoadCaptioner | None = None,
    second_load: LoadCaptioner | None = None,
    wait_until: ModelStatus | None = ModelStatus.LOADED,
    image_roots: Sequence[Path] = (),
    url_policy: UrlPolicy | None = None,
    max_image_bytes: int = 1_000_000,
    max_image_pixels: int = 1_000_000,
    queue_capacity: int = 64,
    max_batch: int = 8,
    decode_slots: int = 8,
    url_timeout_s: float = 5.0,
    model_call_timeout_s: float = 300.0,
    model_idle_s: float = 0.0,
    others: Mapping[str, FakeCaptioner] = MappingProxyType({}),
    emoji_maps: MapHolder | None = None,
) -> Iterator[Pipeline]:
    """A running pipeline; its threads end with the block.

    load: in place of `captioner`, for loading that is slow or fails. second_load: of a second device.
    others: more models, by their names, on the first device.
    wait_until: None to begin at once.
    """
    captioner = captioner or FakeCaptioner()
    loaders = [load or loads(captioner), *([second_load] if second_load else [])]
    models = {FAKE_INFO.model: loaders, **{name: [loads(other)] for name, other in others.items()}}
    batcher = Batcher(models, queue_capacity, max_batch, model_call_timeout_s, model_idle_s)
    reader = SourceReader(
        UrlFetcher(max_image_bytes, url_policy),
        FileReader(image_roots, max_image_bytes),
        max_image_bytes,
    )
    pipeline = Pipeline(
        reader=reader,
        decode=partial(decode, max_pixels=max_image_pixels),
        batcher=batcher,
        emoji_maps=emoji_maps or MapHolder(MapInUse.of(bundled_map())),
        decode_slots=decode_slots,
        url_timeout_s=url_timeout_s,
    )
    batcher.start()
    try:
        if wait_until:
            wait_for(lambda: pipeline.state.status is wait_until)
        yield pipeline
    finally:
        if captioner.gate:
            captioner.gate.set()
        batcher.stop(grace_s=0)
        assert batcher.join(WAIT_S), "a thread of the batcher did not end"


@contextmanager
def make_app(
    captioner: FakeCaptioner | None = None,
    *,
    service_name: str = "blip2",
    private: bool = False,
    cors_origins: tuple[str, ...] = ("*",),
    max_image_bytes: int = 1_000_000,
    request_timeout_s: float = WAIT_S,
    api_keys: ApiKeys | None = None,
    rate_limit: str = "",
    trusted_proxies: tuple[Network, ...] = (),
    others: Mapping[str, FakeCaptioner] = MappingProxyType({}),
    **stages: Any,
) -> Iterator[Flask]:
    """The application on `make_pipeline(captioner, **stages)`."""
    options = WebOptions(
        service_name=service_name,
        models=tuple(ServedModel(name, name.split("/")[1]) for name in (FAKE_INFO.model, *others)),
        private=private,
        cors_origins=cors_origins,
        max_image_bytes=max_image_bytes,
        request_timeout_s=request_timeout_s,
        api_keys=api_keys,
        rate_limit=rate_limit,
        trusted_proxies=trusted_proxies,
    )
    with make_pipeline(captioner, max_image_bytes=max_image_bytes, others=others, **stages) as pipeline:
        yield create_app(options, pipeline)


def wait_for(is_so: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
    """Returns as soon as `is_so()`; AssertionError when it does not come to be."""
    tick = threading.Event()
    for _ in range(int(timeout_s / 0.005)):
        if is_so():
            return
        tick.wait(0.005)
    raise AssertionError("waited in vain")
