"""What the image, the compose file and the proxy promise, as far as it can be seen without a Docker engine.

`make test-container` builds the image and runs it.
"""

import fnmatch
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.settings import Settings
from config.values import CHECKOUT

DOCKERFILE = CHECKOUT / "Dockerfile"
NGINX = CHECKOUT / "deploy" / "compose" / "nginx.conf"
PROFILES = {"captions-cpu": ["cpu"], "captions-gpu": ["gpu"], "edge": ["edge"]}
# A part of a folder is enough where the rest is nobody's business at run time
NEEDED = ["REST.py", "config", "demo_model", "emoji_map.yaml", "examples", "services"]


def instructions() -> list[tuple[str, str]]:
    """(instruction, its text) of the Dockerfile, continued lines in one, without comments."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(name, " ".join(rest.split())) for name, _, rest in (line.partition(" ") for line in lines)]


def texts(instruction: str) -> list[str]:
    return [text for name, text in instructions() if name == instruction]


def dockerignore() -> list[str]:
    lines = (CHECKOUT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def gets_in(path: str) -> bool:
    """Whether `path` is sent to the build: the last rule counts that matches it, or a folder that it is in."""
    inside, parents = True, [path, *map(str, Path(path).parents)][:-1]
    for rule in dockerignore():
        pattern = rule.removeprefix("!")
        anywhere = pattern.removeprefix("**/")
        if any(
            fnmatch.fnmatchcase(Path(parent).name if anywhere != pattern else parent, anywhere)
            and (anywhere != "*" or "/" not in parent)
            for parent in parents
        ):
            inside = rule.startswith("!")
    return inside


# --- the Dockerfile ---


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    lint = [str(hadolint), "--no-color", "--failure-threshold", "style", str(DOCKERFILE)]
    said = subprocess.run(lint, capture_output=True, text=True, check=False)
    assert (said.stdout + said.stderr, said.returncode) == ("", 0)


def test_the_base_image_is_named_by_tag_and_digest_which_a_build_may_choose() -> None:
    assert texts("FROM") == [
        "python:${PYTHON_TAG}${PYTHON_DIGEST} AS base",
        "base AS packages",
        "base AS service",
    ]
    defaults = dict(text.split("=", 1) for text in texts("ARG") if "=" in text)
    assert defaults["PYTHON_TAG"] == "3.11-slim-bookworm"
    assert re.fullmatch(r"@sha256:[0-9a-f]{64}", defaults["PYTHON_DIGEST"])


def test_every_file_that_is_copied_is_there_and_is_sent_to_the_build() -> None:
    sources = [text.split()[:-1] for text in texts("COPY") if not text.startswith("--from")]
    assert sources == [["requirements.installed.txt"], ["."]]
    assert gets_in("requirements.installed.txt")
    for needed in [*NEEDED, "scripts/__init__.py", "scripts/container_start.py", "scripts/container_health.py"]:
        assert (CHECKOUT / needed).exists()
        assert gets_in(needed)


def test_all_of_the_service_gets_in_and_nothing_else_that_is_in_the_checkout() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    inside = {path for path in listed if gets_in(path)}
    assert {path for path in listed if path.startswith(("services/", "config/", "demo_model/"))} <= inside
    assert {path for path in inside if path.split("/")[0] not in NEEDED} == {
        "requirements.installed.txt",
        "scripts/__init__.py",
        "scripts/container_start.py",
        "scripts/container_health.py",
    }


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".git/config",
        ".venv/bin/python",
        "tests/fakes.py",
        "deploy/compose/tls/privkey.pem",
        "api_keys",
        "services/__pycache__/errors.cpython-311.pyc",
        "training/runs/1/model.safetensors",
    ],
)
def test_secrets_history_and_tests_stay_out(path: str) -> None:
    assert not gets_in(path)


def test_it_runs_as_a_user_without_a_name_to_log_in_under_tini() -> None:
    assert texts("USER") == ["10001:10001"]
    assert texts("ENTRYPOINT") == ['["tini", "--"]']
    assert "--uid 10001 " in texts("RUN")[1]
    assert "--shell /usr/sbin/nologin" in texts("RUN")[1]


def test_nothing_that_compiles_is_installed() -> None:
    installed = re.findall(r"apt-get install [^&]*", " ".join(texts("RUN")))
    assert installed == ["apt-get install --yes --no-install-recommends 'tini=0.19.*' "]


def test_it_serves_on_the_default_port_and_says_so() -> None:
    assert texts("EXPOSE") == [str(Settings.port)]


def test_the_health_check_asks_only_whether_the_process_answers() -> None:
    (check,) = texts("HEALTHCHECK")
    assert check.endswith('CMD ["python", "-m", "scripts.container_health"]')
    script = (CHECKOUT / "scripts" / "container_health.py").read_text(encoding="utf-8")
    assert re.findall(r'"(/[^"]*)"', script) == ["/v2/health/live"]


def test_its_labels_tell_the_version_that_the_project_has() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"VERSION={project['version']}" in texts("ARG")
    (labels,) = texts("LABEL")
    assert f'title="{project["name"]}"' in labels
    assert f'description="{project["description"]}"' in labels
    assert 'version="${VERSION}"' in labels


# --- docker-compose.yml ---


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text(encoding="utf-8"))
    return content


def test_each_service_has_a_profile_so_that_none_starts_by_itself(compose: dict[str, Any]) -> None:
    assert {name: service["profiles"] for name, service in compose["services"].items()} == PROFILES


@pytest.mark.parametrize("name", PROFILES)
def test_each_is_locked_in_bounded_and_restarted(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert service["stop_grace_period"] == "35s"
    assert service["pids_limit"] > 0
    assert service["deploy"]["resources"]["limits"]["memory"]
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}
    assert "privileged" not in service
    assert not any("docker.sock" in volume for volume in service["volumes"])


@pytest.mark.parametrize("name", ["captions-cpu", "captions-gpu"])
def test_the_service_is_published_for_this_machine_alone_until_one_says_otherwise(
    compose: dict[str, Any], name: str
) -> None:
    service = compose["services"][name]
    assert service["ports"] == ["${ADDRESS:-127.0.0.1}:${PORT:-7777}:7777"]
    assert service["volumes"] == ["cache:/cache", "${IMAGES:-./examples}:/images:ro"]


def test_what_it_sets_are_settings(compose: dict[str, Any]) -> None:
    settings = compose["x-captions"]["environment"]
    defaults = {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", str(text)) for name, text in settings.items()}
    assert Settings.from_env(defaults, env_file=None) == Settings(
        **{**vars(Settings.from_env({}, env_file=None)), "trusted_proxies": _networks(defaults["TRUSTED_PROXIES"])}
    )


def _networks(text: str) -> tuple[Any, ...]:
    return Settings.from_env({"TRUSTED_PROXIES": text}, env_file=None).trusted_proxies


def test_the_proxy_alone_is_believed_and_nobody_else_gets_its_address(compose: dict[str, Any]) -> None:
    edge = compose["services"]["edge"]["networks"]["inside"]["ipv4_address"]
    assert compose["x-captions"]["environment"]["TRUSTED_PROXIES"] == edge
    (pool,) = compose["networks"]["inside"]["ipam"]["config"]
    (proxy,) = _networks(edge)
    assert proxy.subnet_of(_networks(pool["subnet"])[0])
    assert not proxy.overlaps(_networks(pool["ip_range"])[0])


def test_gpus_are_asked_for_by_their_profile_alone(compose: dict[str, Any]) -> None:
    resources = {name: service["deploy"]["resources"] for name, service in compose["services"].items()}
    assert [name for name, of in resources.items() if "reservations" in of] == ["captions-gpu"]
    (gpus,) = resources["captions-gpu"]["reservations"]["devices"]
    assert gpus == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}


# --- the proxy ---


def test_the_proxy_takes_what_the_service_takes() -> None:
    text = NGINX.read_text(encoding="utf-8")
    (megabytes,) = re.findall(r"client_max_body_size (\d+)m;", text)
    # services/web/body.py: a picture of MAX_IMAGE_BYTES as base64 with its wrapping
    assert int(megabytes) * 2**20 > 1.5 * Settings.max_image_bytes
    (seconds,) = re.findall(r"proxy_read_timeout (\d+)s;", text)
    assert int(seconds) > Settings.request_timeout_s


def test_the_proxy_buffers_limits_and_sets_what_is_believed() -> None:
    text = NGINX.read_text(encoding="utf-8")
    assert "proxy_request_buffering on;" in text
    assert "limit_req zone=requests" in text
    assert "limit_conn connections" in text
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in text  # never $proxy_add_x_forwarded_for
    for header in ("Proto", "Host", "Prefix"):
        assert f"proxy_set_header X-Forwarded-{header} " in text
    assert re.search(r"location = /metrics \{\s+return 404", text)
