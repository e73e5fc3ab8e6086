"""Which readers are loaded for pictures, and how many pictures are decoded at once."""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image, ImageFile

from services.errors import TooLarge, UnreadableImage
from services.images import decode as decoding
from services.images.decode import LARGE_AT_ONCE, decode
from tests.fakes import WAIT_S, picture, wait_for
from tests.images.bombs import HUNGRY
from tests.images.tricky import exif, four_corners, saved

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

HANGS_S = 600  # a machine at rest takes a second; this only ends what hangs

LIST_READERS = """
import json, sys
from pathlib import Path
from services.images.decode import decode
from services.errors import CaptioningError
for path in sys.argv[1:]:
    try:
        decode(Path(path).read_bytes(), 10**6)
    except CaptioningError:
        pass
from PIL import Image
print(json.dumps([sorted(name for name in sys.modules if name.startswith("PIL.")), sorted(Image.OPEN)]))
"""

HOLD_64 = """
import threading
from tests.fakes import make_pipeline, picture
from tests.images.memory import peak_bytes
from services.images import decode
from services.pipeline import BytesSource

decode.LARGE_PIXELS = 250_000
source = BytesSource(picture(size=(1000, 1000), file_format="WEBP"))
with make_pipeline(decode_slots=8, queue_capacity=64, max_image_pixels=1_000_000) as pipeline:
    pipeline.analyze(source, 600)
    before = peak_bytes()
    threads = [threading.Thread(target=pipeline.analyze, args=(source, 600)) for _ in range(63)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(peak_bytes() - before)
"""

MEASURE = """
import sys
from pathlib import Path
from services.images.decode import decode
from tests.images.memory import peak_bytes

data = Path(sys.argv[1]).read_bytes()
before = peak_bytes()
decode(data, 10**8)
print(peak_bytes() - before)
"""


def _run(code: str, *arguments: Path, **environment: str) -> str:
    command, others = [sys.executable, "-c", code, *map(str, arguments)], os.environ | environment
    return subprocess.run(command, env=others, capture_output=True, text=True, timeout=HANGS_S, check=True).stdout


def test_no_reader_is_loaded_but_those_of_the_five_formats(tmp_path: Path) -> None:
    names = ["PNG", "JPEG", "GIF", "BMP", "WEBP", "MPO", "TIFF", "ICO", "PPM", "TGA", "PCX"]
    for name in names:
        (tmp_path / name).write_bytes(saved(four_corners(), name, exif=exif(6)))
    (tmp_path / "EPS").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")

    modules, registered = json.loads(_run(LIST_READERS, *sorted(tmp_path.iterdir())))

    readers = {name.removeprefix("PIL.") for name in modules if name.endswith("ImagePlugin")}
    assert readers == {f"{name}ImagePlugin" for name in ("Png", "Jpeg", "Gif", "Bmp", "WebP")}
    assert set(registered) == {"PNG", "JPEG", "GIF", "BMP", "DIB", "WEBP"}
    assert "PIL.ImageCms" not in modules  # nothing that reads colour profiles


def test_only_so_many_large_pictures_are_decoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    large, small = picture(size=(20, 20)), picture(size=(10, 10))
    held: list[ImageFile.ImageFile] = []
    gate = threading.Event()

    def hold(opened: ImageFile.ImageFile) -> Image.Image:
        if opened.size == (20, 20):
            held.append(opened)
            assert gate.wait(WAIT_S)
        return Image.new("RGB", opened.size)

    monkeypatch.setattr(decoding, "LARGE_PIXELS", 399)
    monkeypatch.setattr(decoding, "_upright_rgb", hold)
    with ThreadPoolExecutor(8) as pool:
        try:
            decoded = [pool.submit(decode, large, 1000) for _ in range(8)]
            wait_for(lambda: len(held) == LARGE_AT_ONCE)
            assert decode(small, 1000).size == (10, 10)  # goes past those that wait
            assert not gate.wait(0.2)
            assert len(held) == LARGE_AT_ONCE
        finally:
            gate.set()
        assert {future.result(WAIT_S).size for future in decoded} == {(20, 20)}


@pytest.mark.parametrize("size", [(400, 400), (10_000, 1)])
def test_a_refused_picture_gives_its_turn_back(monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    monkeypatch.setattr(decoding, "LARGE_PIXELS", 399)
    cut = picture(size=size, file_format="BMP")[:-1]
    for _ in range(LARGE_AT_ONCE + 1):
        with pytest.raises(UnreadableImage):
            decode(cut, 10**6)
    assert decode(picture(size=size), 10**6).size == size


@on_linux
@pytest.mark.parametrize("name", HUNGRY)
def test_a_pixel_takes_24_bytes_at_most(tmp_path: Path, name: str) -> None:
    data = HUNGRY[name]((2000, 1000))
    (tmp_path / name).write_bytes(data)
    assert int(_run(MEASURE, tmp_path / name)) < 24 * 2_000_000 + 3 * len(data) + 4_000_000


@on_linux
def test_64_large_pictures_at_once_need_the_memory_of_two() -> None:
    """A megapixel takes up to 24 MB. The other six that have slots hold no more than their files."""
    # the C library gives the memory of large pictures back at once; here of these too, which stand for them
    assert int(_run(HOLD_64, MALLOC_MMAP_THRESHOLD_="65536")) < 50_000_000


def test_too_little_memory_is_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(_: ImageFile.ImageFile) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr(decoding, "_upright_rgb", no_memory)
    with pytest.raises(TooLarge, match="too little memory"):
        decode(picture(), 1000)
