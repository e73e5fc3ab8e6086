"""Docker, or podman where there is no Docker engine: builds the image and runs containers of it."""

import json
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from config.values import CHECKOUT
from tests.service.running import free_port

PORT = 7777  # in the container
BUILD_TIMEOUT_S = 3600
COMMAND_TIMEOUT_S = 180
START_TIMEOUT_S = 240
REQUEST_TIMEOUT_S = 60
GRACE_S = 35  # what supervisors are to allow
# Makes a base image of Debian's packages, and containers.conf and its like below $STATE/conf; pulls nothing.
BOOTSTRAP = CHECKOUT.parent / "shared" / "tools" / "container_check.sh"


@dataclass(frozen=True)
class Engine:
    command: str
    environ: Mapping[str, str]
    image: str
    locked_in: tuple[str, ...]  # the flags of the strictest start
    network: tuple[str, ...] = ()

    def __call__(self, *arguments: str, timeout_s: float = COMMAND_TIMEOUT_S) -> subprocess.CompletedProcess[str]:
        """What `docker …` or `podman …` answers, stderr included in stdout. Never raises for its exit status."""
        return subprocess.run(
            [self.command, *arguments],
            env=os.environ | self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=timeout_s, check=False,
        )  # fmt: skip

    def inspect(self, what: str, name: str) -> Any:
        answer = self("inspect", "--type", what, name)
        assert answer.returncode == 0, answer.stdout
        return json.loads(answer.stdout)[0]


def find_engine() -> Engine | None:
    """With its image built. None where there is neither; raises RuntimeError where the build fails."""
    locked_in: tuple[str, ...] = ("--read-only", "--cap-drop=all", "--security-opt=no-new-privileges")
    index = os.environ.get("TORCH_INDEX", "")
    if (
        shutil.which("docker")
        and subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0
    ):
        engine = Engine("docker", {}, "captions:test", locked_in)
        _build(["docker", "build", "--tag", engine.image, f"--build-arg=TORCH_INDEX={index}", str(CHECKOUT)], {})
        return engine
    if not BOOTSTRAP.exists() or os.getuid() != 0:
        return None
    state = os.environ.get("STATE") or str(Path(tempfile.gettempdir()) / "container-check")
    image = "localhost/captions:test"
    options = ["-n", "-t", image, "-b", "--build-arg=PYTHON_DIGEST=", "-b", f"--build-arg=TORCH_INDEX={index}"]
    _build(["bash", str(BOOTSTRAP), *options, str(CHECKOUT)], {"STATE": state})
    environ = {
        "CONTAINERS_STORAGE_CONF": f"{state}/conf/storage.conf",
        "CONTAINERS_REGISTRIES_CONF": f"{state}/conf/registries.conf",
        "CONTAINERS_CONF": f"{state}/conf/containers.conf",
        "DISABLE_HC_SYSTEMD": "true",
    }
    locked_in = (*locked_in, "--read-only-tmpfs=false")  # Docker has no such tmpfs
    return Engine("podman", environ, image, locked_in, ("--network=slirp4netns",))


def _build(command: list[str], environ: dict[str, str]) -> None:
    with tempfile.TemporaryFile("w+") as log:
        built = subprocess.run(
            command, env=os.environ | environ, stdout=log, stderr=log, timeout=BUILD_TIMEOUT_S, check=False
        )
        if built.returncode != 0:
            log.seek(0)
            raise RuntimeError(f"The image cannot be built:\n{log.read()[-5000:]}")


@dataclass
class Container:
    engine: Engine
    name: str
    port: int
    started_at: float = field(default_factory=time.monotonic)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def logs(self) -> str:
        return self.engine("logs", self.name).stdout

    @property
    def exit_status(self) -> int:
        status: int = self.engine.inspect("container", self.name)["State"]["ExitCode"]
        return status

    @property
    def runs(self) -> bool:
        return bool(self.engine.inspect("container", self.name)["State"]["Running"])

    def execute(self, *command: str, environ: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        return self.engine("exec", *(f"--env={variable}" for variable in environ), self.name, *command)

    def get(self, path: str, **parameters: str) -> requests.Response:
        return self.ask("GET", path, params=parameters)

    def ask(self, method: str, path: str, **what: Any) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False  # no proxy on the way to this machine
            return session.request(method, self.url + path, timeout=REQUEST_TIMEOUT_S, **what)

    def wait_until(self, *model_status: str) -> dict[str, Any]:
        """The first /health whose model has such a status."""
        health: dict[str, Any] = {}
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                health = self.get("/health").json()
            except (requests.ConnectionError, ValueError):
                assert self.runs, self.logs
            if health.get("model_status") in model_status:
                return health
            time.sleep(0.2)
        raise AssertionError(f"never {model_status}: {health}\n{self.logs}")

    def wait_for_end(self) -> str:
        """The log of a container that stops by itself."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.runs:
            assert time.monotonic() < deadline, self.logs
            time.sleep(0.2)
        return self.logs

    def stop(self) -> float:
        """As `docker stop` does it; how many seconds it took."""
        begin = time.monotonic()
        answer = self.engine("stop", "--time", str(GRACE_S), self.name)
        assert answer.returncode == 0, answer.stdout
        return time.monotonic() - begin


@contextmanager
def container(
    engine: Engine, *flags: str, network: tuple[str, ...] | None = None, **environ: str
) -> Iterator[Container]:
    """A container of the image, removed in the end. network: the flags for it, if no port is to be published."""
    made = Container(engine, f"captions-test-{uuid.uuid4().hex[:12]}", free_port())
    published = (*engine.network, f"--publish=127.0.0.1:{made.port}:{PORT}") if network is None else network
    variables = [f"--env={name}={value}" for name, value in environ.items()]
    try:
        started = engine("run", "--detach", "--name", made.name, *published, *flags, *variables, engine.image)
        assert started.returncode == 0, started.stdout
        yield made
    finally:
        engine("rm", "--force", "--volumes", made.name)
