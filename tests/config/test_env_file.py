""".env: what is read, whose names are let pass, what stops the start."""

import os
from pathlib import Path

import pytest

from config.env_file import EnvFile, export_library_settings, read_env_file
from config.settings import Settings

KNOWN = ("PORT", "PRIVATE", "LOG_LEVEL", "MAX_IMAGE_BYTES", "MAX_IMAGE_PIXELS")


def _read(folder: Path, text: str) -> EnvFile:
    file = folder / ".env"
    file.write_bytes(text.encode())
    return read_env_file(file, KNOWN)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        ("\n \n# a comment\n", {}),
        ("PORT=1", {"PORT": "1"}),
        ("PORT=1\r\nPRIVATE=true\r\n", {"PORT": "1", "PRIVATE": "true"}),
        ("export PORT = 1 # the port\n", {"PORT": "1"}),
        ("PORT='1'\nPRIVATE=\"no\"\n", {"PORT": "1", "PRIVATE": "no"}),
        ("PORT=\n", {"PORT": ""}),
        ("PORT=1\nPORT=2\n", {"PORT": "2"}),
        ("PORT=1\nLOG_LEVEL=${PORT}\n", {"PORT": "1", "LOG_LEVEL": "${PORT}"}),
        ("\ufeffPORT=1\n", {"PORT": "1"}),
    ],
)
def test_what_is_read(tmp_path: Path, text: str, values: dict[str, str]) -> None:
    assert _read(tmp_path, text) == EnvFile(values)


def test_no_file_is_no_values(tmp_path: Path) -> None:
    assert read_env_file(tmp_path / ".env", KNOWN) == EnvFile({})


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("PORT\n", [1]),
        ("PORT=1\nPRIVATE true\n", [2]),
        ("PORT=1\n\n  \n# why\nPRIVATE: true\n", [5]),
        ("=1\nPORT=1\nLOG_LEVEL\n", [1, 3]),
        ('PORT="1\nPRIVATE=true\n', [1]),
    ],
)
def test_a_line_that_cannot_be_parsed_is_a_problem_with_its_number(
    tmp_path: Path, text: str, lines: list[int]
) -> None:
    expected = tuple(f".env line {line} cannot be understood: write NAME=value" for line in lines)
    assert _read(tmp_path, text).problems == expected


def test_a_broken_line_is_not_repeated_because_it_may_hold_a_secret(tmp_path: Path) -> None:
    assert "hf_abcdef" not in _read(tmp_path, "HF_TOKEN hf_abcdef\n").problems[0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"\xff\xfeP\0O\0", "it is not UTF-8 text"), (b"PORT=1\0\n", "it holds a null byte")],
)
def test_a_file_that_is_no_text_is_a_problem(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / ".env"
    file.write_bytes(content)
    assert read_env_file(file, KNOWN) == EnvFile({}, (f".env cannot be read: {reason}",))


def test_a_folder_in_place_of_the_file_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert read_env_file(tmp_path / ".env", KNOWN).problems == (".env cannot be read: Is a directory",)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("PROT", "did you mean PORT?"),
        ("port", "did you mean PORT?"),
        ("LOGLEVEL", "did you mean LOG_LEVEL?"),
        ("MAX_BYTES", "did you mean MAX_IMAGE_BYTES?"),
        ("API_KEY", "the settings are LOG_LEVEL, MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS, PORT, PRIVATE"),
        ("'HF HOME'", "the settings are LOG_LEVEL, MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS, PORT, PRIVATE"),
    ],
)
def test_an_unknown_name_is_a_problem_with_a_remedy(tmp_path: Path, name: str, remedy: str) -> None:
    read = _read(tmp_path, f"{name}=x\n")
    assert read.problems == (f"{name.strip(chr(39))} in .env is unknown: {remedy}",)
    assert read.warnings == ()


REPLACED = [
    ("API_HOST", "PRIVATE"),
    ("API_PORT", "PORT"),
    ("API_URL", "EMOJI_MAP"),
    ("API_TIMEOUT", "REQUEST_TIMEOUT_SECONDS"),
    ("ALLOW_PRIVATE_URLS", "URL_ALLOWED_NETWORKS"),
    ("MODEL_DIR", "TORCH_HOME"),
    ("WEB_CONCURRENCY", "containers"),
    ("DISCORD_TOKEN", "no Discord bot"),
    ("MYSQL_HOST", "no database"),
]
COMPOSE = ["COMPOSE_PROJECT_NAME", "DOCKER_HOST"]
PROCESS = ["PYTHONUNBUFFERED", "LD_PRELOAD", "PATH", "HOME", "TZ", "LANG", "LC_ALL"]
LIBRARY = [
    *("HF_HOME", "HF_TOKEN", "TRANSFORMERS_OFFLINE", "TORCH_HOME", "PYTORCH_CUDA_ALLOC_CONF"),
    *("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MKL_NUM_THREADS"),
    *("HTTPS_PROXY", "no_proxy", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "GUNICORN_CMD_ARGS", "FLASK_DEBUG"),
]


@pytest.mark.parametrize(
    ("name", "remark"),
    [
        *REPLACED,
        *[(name, "Docker Compose") for name in COMPOSE],
        *[(name, "in the environment before the start") for name in PROCESS],
        *[(name, "handed on to the libraries") for name in LIBRARY],
    ],
)
def test_a_foreign_name_only_warns_once_and_says_what_becomes_of_it(
    tmp_path: Path, name: str, remark: str
) -> None:
    read = _read(tmp_path, f"{name}=1\n{name}=2\n")
    assert read.problems == ()
    assert len(read.warnings) == 1
    assert read.warnings[0].startswith(f"{name} in .env is not a setting of this service: ")
    assert remark in read.warnings[0]


def test_the_files_of_the_old_services_are_accepted(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        "PORT=7777                    # the port\nPRIVATE=False\nAUTO_UPDATE=True   # on\n"
        "\nAPI_HOST=localhost\nAPI_PORT=8080\nAPI_TIMEOUT=2.0\n"
    )
    settings = Settings.from_env({}, file)
    assert settings == Settings()
    assert [warning.split()[0] for warning in settings.warnings] == ["API_HOST", "API_PORT", "API_TIMEOUT"]


def test_only_names_of_libraries_are_exported_and_the_environment_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".env"
    names = [*LIBRARY, *COMPOSE, *PROCESS, *[name for name, _ in REPLACED], "PORT", "UNKNOWN"]
    file.write_text("".join(f"{name}=from file\n" for name in names) + "broken\nCUDA_VISIBLE_DEVICES=\n")
    # A dictionary of its own in place of os.environ: the libraries' real variables stay untouched.
    environ = {"HF_HOME": "from environment"}
    monkeypatch.setattr(os, "environ", environ)

    export_library_settings(file)

    assert environ.pop("HF_HOME") == "from environment"
    assert environ.pop("CUDA_VISIBLE_DEVICES") == ""
    assert environ == dict.fromkeys(set(LIBRARY) - {"HF_HOME", "CUDA_VISIBLE_DEVICES"}, "from file")


def test_exporting_from_no_file_changes_nothing(tmp_path: Path) -> None:
    before = dict(os.environ)
    export_library_settings(tmp_path / ".env")
    assert dict(os.environ) == before
