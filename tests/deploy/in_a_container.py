"""The image built and run: `make test-container`. Of the other tests no file has such a name, so they do without.

Slow (minutes, gigabytes), as it installs every package anew; a build that changes no package takes seconds.
"""

import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest
import requests

from config.values import CHECKOUT
from tests.deploy.engine import GRACE_S, Container, Engine, container, find_engine

EXAMPLES = CHECKOUT / "examples"
DRAWN = [json.loads(line) for line in (EXAMPLES / "captions.jsonl").read_text(encoding="utf-8").splitlines()]
EXACT = 0.8  # of ten; the demonstration model gets nineteen of twenty
CLIENTS = 8
OLD_TORCH_HOME = "/root/.cache/torch"


@pytest.fixture(scope="session")
def engine() -> Engine:
    found = find_engine()
    if found is None:
        pytest.fail("needs a Docker engine, or, as root, podman with a base image of Debian's packages")
    return found


@pytest.fixture(scope="module")
def demo(engine: Engine) -> Iterator[Container]:
    """The demonstration model, with everything taken away that can be."""
    with container(engine, *engine.locked_in, f"--volume={EXAMPLES}:/images:ro", MODEL="demo") as running:
        running.wait_until("loaded")
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One that user 10001 can read and not write: as Docker makes it for a -v, and as the old service left it."""
    made = tmp_path / "torch"
    made.mkdir(mode=0o755)
    return made


def captions(running: Container) -> list[str]:
    found = []
    for drawn in DRAWN:
        answer = running.ask("POST", "/v3/analyze", files={"file": (EXAMPLES / drawn["file"]).read_bytes()})
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["predictions"][0]["text"])
    return found


# --- the image ---


def test_the_size_of_the_image_and_the_time_of_a_start(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    size = engine.inspect("image", engine.image)["Size"]
    with container(engine, *engine.locked_in, MODEL="demo") as running:
        running.wait_until("loading", "loaded")
        answers_s = time.monotonic() - running.started_at
        running.wait_until("loaded")
        captions_s = time.monotonic() - running.started_at
    with capsys.disabled():
        print(f"\nimage: {size / 1e9:.2f} GB; /health after {answers_s:.1f} s, captions after {captions_s:.1f} s")


def test_nothing_is_in_it_that_the_service_does_without(engine: Engine) -> None:
    look = "for tool in gcc cc g++ make git; do command -v $tool; done; ls -A /app /app/scripts"
    answer = engine("run", "--rm", "--network=none", "--entrypoint", "sh", engine.image, "-c", look)
    assert answer.stdout.split() == [
        *("/app:", "REST.py", "__pycache__", "config", "demo_model", "emoji_map.yaml", "examples"),
        *("requirements.installed.txt", "scripts", "services"),
        *("/app/scripts:", "__init__.py", "__pycache__", "container_health.py", "container_start.py"),
    ]


def test_its_labels_user_and_ports(engine: Engine) -> None:
    config = engine.inspect("image", engine.image)["Config"]
    assert config["User"] == "10001:10001"
    assert set(config["ExposedPorts"]) == {"7777/tcp"}
    assert set(config["Volumes"]) == {"/cache", "/images"}
    assert config["Labels"]["org.opencontainers.image.title"] == "captions"


# --- locked in ---


def test_it_captions_the_examples_and_nearly_all_as_they_were_drawn(demo: Container) -> None:
    right = sum(found == drawn["caption"] for found, drawn in zip(captions(demo), DRAWN, strict=True))
    assert right >= EXACT * len(DRAWN)


def test_pictures_of_the_volume_can_be_named(demo: Container) -> None:
    answer = demo.get("/v3/analyze", file=f"/images/{DRAWN[0]['file']}")
    assert answer.status_code == 200, answer.text


def test_an_upload_larger_than_memory_keeps_finds_room(demo: Container) -> None:
    padded = (EXAMPLES / DRAWN[0]["file"]).read_bytes() + bytes(4_000_000)  # JPEG ends before
    answer = demo.ask("POST", "/v3/analyze", files={"file": padded})
    assert answer.status_code == 200, answer.text


def test_it_has_no_rights(demo: Container) -> None:
    assert demo.execute("id", "-u").stdout.split() == ["10001"]
    status = dict(
        line.split(":\t", 1) for line in demo.execute("cat", "/proc/1/status").stdout.splitlines() if ":\t" in line
    )
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    for path in ("/app/x", "/tmp/x", "/opt/venv/x"):
        assert demo.execute("touch", path).returncode != 0, path


def test_its_health_check_tells_a_living_service_from_none(demo: Container) -> None:
    image = demo.engine.inspect("image", demo.engine.image)
    check = (image.get("Healthcheck") or image["Config"]["Healthcheck"])["Test"]  # podman's and Docker's place
    assert check[0] == "CMD"
    healthy = demo.execute(*check[1:])
    assert healthy.returncode == 0, healthy.stdout
    unhealthy = demo.execute(*check[1:], environ=("PORT=9",))
    assert unhealthy.returncode == 1, unhealthy.stdout
    assert "does not answer" in unhealthy.stdout


def test_any_user_may_run_it(engine: Engine) -> None:
    with container(engine, *engine.locked_in, "--user=12345:12345", MODEL="demo") as running:
        running.wait_until("loaded")
        assert running.execute("id", "-u").stdout.split() == ["12345"]
        assert captions(running)


def test_the_demonstration_model_needs_no_network(engine: Engine) -> None:
    with container(engine, *engine.locked_in, network=("--network=none",), MODEL="demo") as running:
        picture = f"examples/{DRAWN[0]['file']}"
        deadline = time.monotonic() + 240
        while (answer := running.execute("python", "-m", "services.client", picture)).returncode != 0:
            assert time.monotonic() < deadline, answer.stdout + running.logs
            time.sleep(0.5)
        assert DRAWN[0]["caption"] in answer.stdout


# --- stopping ---


def test_it_stops_within_its_grace_time_under_load(engine: Engine) -> None:
    with container(engine, *engine.locked_in, MODEL="demo") as running:
        running.wait_until("loaded")
        outcomes, stopping, done = Counter[str](), threading.Event(), threading.Event()
        picture = (EXAMPLES / DRAWN[0]["file"]).read_bytes()

        def ask() -> None:
            while not done.is_set():
                try:
                    answer = running.ask(
                        "POST", "/v3/analyze", data=picture, headers={"Content-Type": "image/jpeg"}
                    )
                except requests.RequestException:
                    # once its port is closed; before that none may be cut off
                    outcomes["closed" if stopping.is_set() else "cut off"] += 1
                    time.sleep(0.1)
                    continue
                code = answer.json().get("error", {}).get("code", "ok")
                outcomes[f"{answer.status_code} {code}"] += 1

        clients = [threading.Thread(target=ask) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        while outcomes["200 ok"] < CLIENTS:
            time.sleep(0.1)
        stopping.set()
        try:
            seconds = running.stop()
        finally:
            done.set()
            for client in clients:
                client.join()
        assert running.exit_status == 0, running.logs
        assert seconds < GRACE_S
        assert set(outcomes) <= {"200 ok", "503 overloaded", "closed"}, outcomes
        assert outcomes["503 overloaded"] > 0


# --- starts that cannot be ---


def test_private_stops_the_start_and_names_the_publishing_that_is_meant(engine: Engine) -> None:
    with container(engine, MODEL="demo", PRIVATE="true") as stopped:
        assert "-p 127.0.0.1:7777:7777" in stopped.wait_for_end()
        assert stopped.exit_status == 1


def test_a_cache_that_cannot_be_written_stops_the_start_with_the_cure(engine: Engine, folder: Path) -> None:
    with container(engine, f"--volume={folder}:{OLD_TORCH_HOME}") as stopped:
        log = stopped.wait_for_end()
    assert f"{OLD_TORCH_HOME} cannot be written, and there are no weights in it (by user 10001)" in log
    assert "sudo chown -R 10001 FOLDER" in log
    assert 'docker run --user "$(stat -c %u:%g FOLDER)"' in log


def test_weights_of_another_owner_that_only_they_can_read_stop_it_too(engine: Engine, folder: Path) -> None:
    weights(folder).chmod(0o600)
    with container(engine, f"--volume={folder}:{OLD_TORCH_HOME}") as stopped:
        assert "model_large_caption.pth cannot be read (by user 10001)" in stopped.wait_for_end()


# --- the old command ---


def weights(folder: Path) -> Path:
    """What is no checkpoint, where the default model's is looked for: the service says so if it reads it."""
    file = folder / "hub" / "checkpoints" / "model_large_caption.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    return file


def test_weights_are_looked_for_where_the_old_command_mounts_them(
    engine: Engine, folder: Path, tmp_path: Path
) -> None:
    weights(folder)
    # the vocabulary, which would be downloaded first; in the layout of the hub's own cache
    hub, words = tmp_path / "hub", (CHECKOUT / "demo_model" / "vocab.txt").read_text(encoding="utf-8")
    words += "".join(f"word{number}\n" for number in range(30_524 - 379))  # as many as the default model has
    for name, text in {"refs/main": "1", "snapshots/1/vocab.txt": words}.items():
        file = hub / "models--bert-base-uncased" / name
        file.parent.mkdir(parents=True)
        file.write_text(text, encoding="utf-8")
    volumes = (f"--volume={folder}:{OLD_TORCH_HOME}", f"--volume={hub}:/cache/huggingface/hub:ro")
    with container(engine, *volumes, OFFLINE="true") as running:
        health = running.wait_until("failed")
        assert f"{OLD_TORCH_HOME}/hub/checkpoints/model_large_caption.pth" in health["error"]
        assert "could not be downloaded" not in health["error"]
        assert "No other weights can be downloaded" in running.logs
        # and the container lives: that it cannot caption is no reason to restart it
        assert running.get("/v2/health/live").status_code == 200


def test_run_as_the_owner_it_writes_there(engine: Engine, folder: Path) -> None:
    owner = f"{folder.stat().st_uid}:{folder.stat().st_gid}"
    with container(
        engine, f"--volume={folder}:{OLD_TORCH_HOME}", f"--user={owner}", network=("--network=none",)
    ) as run:
        deadline = time.monotonic() + 240
        while not (folder / "hub" / "checkpoints").exists():
            assert time.monotonic() < deadline, run.logs
            time.sleep(0.2)


# --- compose ---


@pytest.mark.parametrize("profile", ["cpu", "gpu", "edge"])
def test_compose_accepts_its_file(profile: str) -> None:
    tools = [["docker", "compose"], ["docker-compose"]]
    tool = next(
        (
            t
            for t in tools
            if which(t[0]) and subprocess.run([*t, "version"], capture_output=True, check=False).returncode == 0
        ),
        None,
    )
    if tool is None:
        pytest.skip("needs docker compose, or Debian's docker-compose")
    command = [*tool, "--file", str(CHECKOUT / "docker-compose.yml"), "--profile", profile, "config", "--quiet"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
