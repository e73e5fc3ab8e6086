"""What the image runs before the service, and its health check. Real folders; only what root may is pretended."""

import http.server
import os
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.settings import Settings, SettingsError
from scripts.container_health import is_alive
from scripts.container_start import (
    CannotStart,
    check_cache,
    container_settings,
    mount_of,
    mounts,
    temporary_folder,
)

MOUNTINFO = """\
22 1 0:21 / / rw,relatime master:1 - overlay overlay rw
23 22 0:5 / /proc rw,nosuid - proc proc rw
24 22 8:1 /home/a/docker-cache/torch /root/.cache/torch rw,relatime - ext4 /dev/sda1 rw
25 22 8:1 /volumes/1 /cache rw,relatime - ext4 /dev/sda1 rw
"""


class Rights:
    """os.access, were the folders named here somebody else's."""

    def __init__(self, *, read_only: tuple[Path, ...] = (), closed: tuple[Path, ...] = ()) -> None:
        self.read_only, self.closed = read_only, closed

    def __call__(self, path: Path, mode: int) -> bool:
        if any(path.is_relative_to(folder) for folder in self.closed):
            return False
        if mode & os.W_OK and any(path.is_relative_to(folder) for folder in self.read_only):
            return False
        return os.access(path, mode)


def weights(torch_home: Path, name: str = "model_large_caption.pth") -> Path:
    file = torch_home / "hub" / "checkpoints" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    return file


# --- what it was given ---


def test_mount_points_are_the_fifth_field() -> None:
    assert mounts(MOUNTINFO) == {Path("/"), Path("/proc"), Path("/root/.cache/torch"), Path("/cache")}


def test_weights_are_used_where_the_old_command_mounts_them() -> None:
    added = container_settings({}, {}, mounts(MOUNTINFO))
    assert added == {"IMAGE_ROOTS": "/images", "TORCH_HOME": "/root/.cache/torch"}


def test_without_the_old_mount_weights_stay_where_libraries_look() -> None:
    assert "TORCH_HOME" not in container_settings({}, {}, {Path("/"), Path("/cache")})


@pytest.mark.parametrize(
    ("environ", "in_file"),
    [({"IMAGE_ROOTS": "/pictures"}, {}), ({}, {"IMAGE_ROOTS": "/pictures"}), ({"IMAGE_ROOTS": ""}, {})],
)
def test_folders_that_are_set_are_left_as_they_are(environ: dict[str, str], in_file: dict[str, str]) -> None:
    environ["TORCH_HOME"] = "/weights"
    assert container_settings(environ, in_file, mounts(MOUNTINFO)) == {}


def test_the_mount_of_a_folder_is_the_nearest_around_it() -> None:
    assert mount_of(Path("/cache/torch"), mounts(MOUNTINFO)) == Path("/cache")
    assert mount_of(Path("/root/.cache/torch"), mounts(MOUNTINFO)) == Path("/root/.cache/torch")
    assert mount_of(Path("/elsewhere/torch"), mounts(MOUNTINFO)) == Path("/elsewhere/torch")


# --- temporary files ---


def test_temporary_files_go_to_the_first_folder_that_can_be_written() -> None:
    read_only_root = Rights(read_only=(Path("/tmp"), Path("/cache")))
    assert temporary_folder({}) == "/tmp"
    assert temporary_folder({}, read_only_root) == "/dev/shm"


def test_a_folder_for_temporary_files_that_is_set_is_used_or_refused(tmp_path: Path) -> None:
    assert temporary_folder({"TMPDIR": str(tmp_path)}) == str(tmp_path)
    with pytest.raises(CannotStart, match=re.escape(str(tmp_path))):
        temporary_folder({"TMPDIR": str(tmp_path)}, Rights(read_only=(tmp_path,)))


def test_without_any_folder_for_temporary_files_the_start_stops_with_the_cure() -> None:
    with pytest.raises(CannotStart, match="--tmpfs /tmp"):
        temporary_folder({}, Rights(read_only=(Path("/"),)))


# --- weights ---


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_that_can_be_written_is_good(tmp_path: Path, there: bool) -> None:
    if there:
        weights(tmp_path)
    assert check_cache(tmp_path, tmp_path) == ""
    assert check_cache(tmp_path / "made" / "later", tmp_path) == ""


def test_nothing_to_read_and_nowhere_to_write_stops_the_start_with_both_cures(tmp_path: Path) -> None:
    mine = os.getuid()
    with pytest.raises(CannotStart) as refusal:
        check_cache(tmp_path, Path("/root/.cache/torch"), Rights(read_only=(tmp_path,)))
    assert f"{tmp_path} cannot be written, and there are no weights in it (by user {mine})" in str(refusal.value)
    assert "FOLDER is what -v mounts at /root/.cache/torch" in str(refusal.value)
    assert f"sudo chown -R {mine} FOLDER" in str(refusal.value)
    assert 'docker run --user "$(stat -c %u:%g FOLDER)"' in str(refusal.value)


@pytest.mark.parametrize("leftover", ["model.pth.part", "model.pth.sha256.json"])
def test_leftovers_are_no_weights(tmp_path: Path, leftover: str) -> None:
    weights(tmp_path, leftover)
    with pytest.raises(CannotStart, match="there are no weights in it"):
        check_cache(tmp_path, tmp_path, Rights(read_only=(tmp_path,)))


def test_weights_that_can_only_be_read_are_used_and_the_limit_is_told(tmp_path: Path) -> None:
    weights(tmp_path)
    warning = check_cache(tmp_path, tmp_path, Rights(read_only=(tmp_path,)))
    assert "No other weights can be downloaded" in warning
    assert "sudo chown" in warning


def test_weights_that_nobody_but_their_owner_may_read_are_named(tmp_path: Path) -> None:
    file = weights(tmp_path)
    with pytest.raises(CannotStart, match=f"{re.escape(str(file))} cannot be read .*sudo chown"):
        check_cache(tmp_path, tmp_path, Rights(closed=(file,)))


def test_a_folder_that_may_not_be_looked_into_stops_the_start(tmp_path: Path) -> None:
    weights(tmp_path)
    with pytest.raises(CannotStart, match="sudo chown"):
        check_cache(tmp_path, tmp_path, Rights(closed=(tmp_path,)))


# --- PRIVATE ---


def test_private_stops_the_start_in_a_container_and_names_what_to_do_instead() -> None:
    with pytest.raises(SettingsError, match=re.escape("-p 127.0.0.1:7777:7777")):
        Settings.from_env({"PRIVATE": "true", "CAPTIONS_CONTAINER": "1"}, env_file=None)


def test_private_in_a_mounted_env_file_stops_it_too(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("PRIVATE=true\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=re.escape("-p 127.0.0.1:7777:7777")):
        Settings.from_env({"CAPTIONS_CONTAINER": "1"}, env_file=file)


# --- HEALTHCHECK ---


class Health(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/v2/health/live" else 500)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


class Sick(Health):
    status = 503


@pytest.fixture
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    with http.server.HTTPServer(("127.0.0.1", 0), request.param) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("port", "alive"), [(Health, True), (Sick, False)], indirect=["port"])
def test_a_service_is_alive_if_it_says_so(port: int, alive: bool) -> None:
    assert is_alive(port) is alive


@pytest.mark.parametrize("port", [Health], indirect=True)
def test_a_service_that_is_gone_is_not_alive(port: int) -> None:
    assert is_alive(port)
    assert not is_alive(1)  # nothing listens on it
