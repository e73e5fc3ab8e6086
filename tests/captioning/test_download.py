"""Downloads that break, race, fill the disk: from a real server, into real folders."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest

from services.captioning.captioner import LoadProgress
from services.captioning.download import CHUNK_BYTES, DownloadError, download
from tests.captioning.file_server import File, file_server

ROOT = Path(__file__).parents[2]
CONTENT = bytes(range(256)) * (1 << 14)  # 4 MiB, of whole chunks
HALF = len(CONTENT) // 2

# A process of its own: arguments are the URL, the path.
DOWNLOAD = """
import logging, sys
from pathlib import Path
from services.captioning.download import download
logging.basicConfig(level=logging.INFO, format="%(message)s")
download(sys.argv[1], Path(sys.argv[2]), lambda progress: None, lambda part: None)
"""


@pytest.fixture
def file() -> File:
    return File(CONTENT)


@pytest.fixture
def url(file: File) -> Iterator[str]:
    with file_server(file) as url:
        yield url


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "model.pth"


def get(url: str, path: Path) -> list[LoadProgress]:
    seen: list[LoadProgress] = []
    download(url, path, seen.append, lambda part: None)
    assert list(path.parent.iterdir()) == [path]  # nothing else is left
    return seen


def break_off(file: File, url: str, path: Path, after: int = HALF) -> None:
    """A download that fails after so many bytes, for good."""
    file.breaks_after = [after, 0]
    with pytest.raises(DownloadError):
        download(url, path, lambda progress: None, lambda part: None)
    assert not path.exists()
    file.breaks_after.clear()
    file.asked.clear()


def test_a_broken_connection_is_made_again_where_it_broke(file: File, url: str, path: Path) -> None:
    file.breaks_after = [HALF, CHUNK_BYTES]
    seen = get(url, path)
    assert path.read_bytes() == CONTENT
    assert file.asked == ["", f"bytes={HALF}-", f"bytes={HALF + CHUNK_BYTES}-"]
    assert seen[-1] == LoadProgress("downloading", len(CONTENT), len(CONTENT))


def test_the_next_start_goes_on(file: File, url: str, path: Path) -> None:
    break_off(file, url, path)
    seen = get(url, path)
    assert path.read_bytes() == CONTENT
    assert file.asked == [f"bytes={HALF}-"]
    assert seen[0].n_bytes > HALF


@pytest.mark.parametrize("fault", ["another version", "ranges ignored", "wrong range", "no longer so long"])
def test_what_cannot_go_on_starts_over(file: File, url: str, path: Path, fault: str) -> None:
    break_off(file, url, path)
    if fault == "another version":
        file.content, file.etag = CONTENT[::-1], '"two"'
    elif fault == "ranges ignored":
        file.ranges = False
    elif fault == "wrong range":
        file.content_range = f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"
    else:
        file.status = 416
        with pytest.raises(DownloadError, match="416"):  # this server says so without a range too
            get(url, path)
        assert file.asked == [f"bytes={HALF}-", ""]
        file.status = 0
    get(url, path)
    assert path.read_bytes() == file.content


@pytest.mark.parametrize("etag", ["", 'W/"one"'])
def test_without_a_strong_etag_nothing_is_kept(file: File, url: str, path: Path, etag: str) -> None:
    file.etag = etag
    break_off(file, url, path)
    assert list(path.parent.iterdir()) == []
    get(url, path)
    assert file.asked == [""]


def test_another_address_starts_over(file: File, url: str, path: Path) -> None:
    break_off(file, url, path)
    get(f"{url}?other", path)
    assert file.asked == [""]


@pytest.mark.parametrize("status", [404, 503])
def test_an_error_of_the_server_keeps_what_has_come(file: File, url: str, path: Path, status: int) -> None:
    break_off(file, url, path)
    file.status = status
    with pytest.raises(DownloadError, match=str(status)):
        get(url, path)
    file.status = 0
    file.asked.clear()
    get(url, path)
    assert file.asked == [f"bytes={HALF}-"]


def test_what_fails_the_check_is_removed(url: str, path: Path) -> None:
    def check(part: Path) -> None:
        assert part.read_bytes() == CONTENT
        raise ValueError("no checkpoint")

    with pytest.raises(ValueError, match="no checkpoint"):
        download(url, path, lambda progress: None, check)
    assert list(path.parent.iterdir()) == []


@contextmanager
def started(url: str, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that downloads; ended at the end."""
    command = [sys.executable, "-c", DOWNLOAD, url, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for_bytes(path: Path) -> None:
    part = path.with_name(f"{path.name}.part")
    until = time.monotonic() + 120
    while not (part.exists() and part.stat().st_size):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_two_processes_download_once(file: File, url: str, path: Path) -> None:
    file.may_go_on = Event()
    with started(url, path) as first:
        wait_for_bytes(path)
        with started(url, path) as second:
            assert second.stderr
            assert b"waiting" in second.stderr.readline()
            file.may_go_on.set()
            assert [first.wait(60), second.wait(60)] == [0, 0]
    assert path.read_bytes() == CONTENT
    assert file.asked == [""]
    assert list(path.parent.iterdir()) == [path]


def test_a_killed_process_leaves_no_lock_and_its_bytes(file: File, url: str, path: Path) -> None:
    file.may_go_on = Event()
    with started(url, path):
        wait_for_bytes(path)
    came = path.with_name("model.pth.part").stat().st_size
    file.may_go_on.set()
    get(url, path)
    assert file.asked == ["", f"bytes={came}-"]
    assert path.read_bytes() == CONTENT


def test_a_full_disk_is_noticed_before_it_is_full(file: File, url: str, path: Path) -> None:
    file.claims_bytes = 10**18
    with pytest.raises(DownloadError, match=r"1,000,000,000,000,000,000 bytes.*The disk is full: make room"):
        get(url, path)
    assert list(path.parent.iterdir()) == []


def mounted(folder: Path, options: str, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`command` in Python, where `folder` is a file system of its own, which no other process sees."""
    folder.mkdir(parents=True)
    mount = f'mount -t tmpfs -o {options} none "$0" && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mount, str(folder), sys.executable, "-c", command, *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if "unshare:" in done.stderr or "mount:" in done.stderr:
        pytest.skip("needs the right to mount")
    return done


def test_a_disk_that_fills_up_is_said_plainly(url: str, path: Path) -> None:
    # another process fills it after the look at the free space
    filled = "import shutil; shutil.disk_usage = lambda path: shutil._ntuple_diskusage(1, 0, 10**12)"
    done = mounted(path.parent, "size=2m", filled + DOWNLOAD, url, str(path))
    assert "No space left on device. The disk is full: make room" in done.stderr


def test_a_read_only_cache_is_said_plainly(url: str, path: Path) -> None:
    done = mounted(path.parent, "ro", DOWNLOAD, url, str(path))
    assert f"{path.parent} cannot be written: make it writable" in done.stderr


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_said_plainly(url: str, path: Path) -> None:
    path.parent.mkdir(mode=0o500)
    with pytest.raises(DownloadError, match="cannot be written: make it writable"):
        get(url, path)


def test_the_proxy_of_the_environment_is_used(
    file: File, url: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", url.removesuffix("/model.pth"))
    get("http://models.invalid/model.pth", path)
    assert file.asked_by == ["GET http://models.invalid/model.pth HTTP/1.1"]
    path.unlink()
    monkeypatch.setenv("NO_PROXY", "models.invalid")
    with pytest.raises(DownloadError):
        get("http://models.invalid/model.pth", path)
    assert len(file.asked_by) == 1
