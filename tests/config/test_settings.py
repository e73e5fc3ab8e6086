"""Text in, typed settings or a named refusal out."""

import os
from dataclasses import FrozenInstanceError, fields
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import pytest

from config.settings import Settings, SettingsError, specs
from config.values import CHECKOUT, as_text

DEFAULTS = {
    "port": 7777,
    "private": False,
    "auto_update": True,
    "offline": False,
    "model": "blip_caption/large_coco",
    "models": (),
    "model_idle_s": 0.0,
    "devices": ("auto",),
    "engine": "auto",
    "precision": "auto",
    "image_roots": (CHECKOUT / "examples",),
    "max_image_bytes": 32 * 1024 * 1024,
    "max_image_pixels": 50_000_000,
    "decode_slots": 8,
    "queue_capacity": 64,
    "max_batch": 8,
    "request_timeout_s": 120.0,
    "model_call_timeout_s": 300.0,
    "url_timeout_s": 20.0,
    "url_allowed_ports": (80, 443),
    "url_allowed_hosts": (),
    "url_allowed_networks": (),
    "url_fetch_proxy": "",
    "service_name": "blip2",
    "cors_origins": ("*",),
    "api_keys_file": None,
    "rate_limit": "",
    "trusted_proxies": (),
    "drain_s": 3.0,
    "grace_s": 25.0,
    "log_level": "info",
    "log_format": "text",
    "tracing": False,
    "emoji_map": CHECKOUT / "emoji_map.yaml",
    "emoji_map_url": "",
    "emoji_map_github": "",
    "emoji_map_refresh_s": 3600,
    "warnings": (),
}

GOOD = [
    *[("PRIVATE", text, "private", True) for text in ("true", "TRUE", "True", "1", "yes", "on", " On ")],
    *[("AUTO_UPDATE", text, "auto_update", False) for text in ("false", "False", "0", "no", "NO", "off")],
    ("PORT", "1", "port", 1),
    ("PORT", " 65535\n", "port", 65535),
    ("MODEL", "demo", "model", "demo"),
    ("MODEL", "blip2_opt/caption_coco_opt2.7b", "model", "blip2_opt/caption_coco_opt2.7b"),
    ("MODELS", "demo", "models", ("demo",)),
    ("MODELS", " demo, blip2_opt/pretrain_opt2.7b,", "models", ("demo", "blip2_opt/pretrain_opt2.7b")),
    ("MODEL_IDLE_SECONDS", "0.5", "model_idle_s", 0.5),
    ("ENGINE", "LAVIS", "engine", "lavis"),
    ("DEVICE", "CPU", "devices", ("cpu",)),
    ("DEVICE", "cuda", "devices", ("cuda",)),
    ("DEVICE", "cuda:11", "devices", ("cuda:11",)),
    ("DEVICE", "cuda:0, CUDA:1", "devices", ("cuda:0", "cuda:1")),
    ("IMAGE_ROOTS", "", "image_roots", ()),
    ("IMAGE_ROOTS", " ", "image_roots", ()),
    ("IMAGE_ROOTS", "tests", "image_roots", (CHECKOUT / "tests",)),
    ("IMAGE_ROOTS", f"/ {os.pathsep} {CHECKOUT}{os.pathsep}", "image_roots", (Path("/"), CHECKOUT)),
    ("MAX_IMAGE_BYTES", "1048576", "max_image_bytes", 1_048_576),
    ("MAX_IMAGE_PIXELS", "100", "max_image_pixels", 100),
    ("DECODE_SLOTS", "2", "decode_slots", 2),
    ("QUEUE_CAPACITY", "1", "queue_capacity", 1),
    ("MAX_BATCH", "64", "max_batch", 64),
    ("REQUEST_TIMEOUT_SECONDS", "0.5", "request_timeout_s", 0.5),
    ("MODEL_CALL_TIMEOUT_SECONDS", "60", "model_call_timeout_s", 60.0),
    ("URL_TIMEOUT_SECONDS", "7", "url_timeout_s", 7.0),
    ("URL_ALLOWED_PORTS", "80, 8080,", "url_allowed_ports", (80, 8080)),
    ("URL_ALLOWED_HOSTS", "NAS, photos.example.org", "url_allowed_hosts", ("nas", "photos.example.org")),
    ("URL_ALLOWED_NETWORKS", "192.168.1.0/24,10.0.0.5, fd00::/8", "url_allowed_networks",
     (IPv4Network("192.168.1.0/24"), IPv4Network("10.0.0.5/32"), IPv6Network("fd00::/8"))),
    ("URL_FETCH_PROXY", "http://proxy:3128", "url_fetch_proxy", "http://proxy:3128"),
    ("URL_FETCH_PROXY", "http://[fd00::1]:3128", "url_fetch_proxy", "http://[fd00::1]:3128"),
    ("SERVICE_NAME", "blip", "service_name", "blip"),
    ("CORS_ORIGINS", "", "cors_origins", ()),
    ("CORS_ORIGINS", "*", "cors_origins", ("*",)),
    ("CORS_ORIGINS", "https://A.example, http://localhost:3000,", "cors_origins",
     ("https://a.example", "http://localhost:3000")),
    ("CORS_ORIGINS", "chrome-extension://abc", "cors_origins", ("chrome-extension://abc",)),
    ("API_KEYS_FILE", "pyproject.toml", "api_keys_file", CHECKOUT / "pyproject.toml"),
    *[("RATE_LIMIT", text, "rate_limit", text) for text in ("60/minute", "1/second", "999999/day", "5/hour")],
    ("TRUSTED_PROXIES", "127.0.0.1, fd00::/8", "trusted_proxies",
     (IPv4Network("127.0.0.1/32"), IPv6Network("fd00::/8"))),
    ("DRAIN_SECONDS", "0", "drain_s", 0.0),
    ("GRACE_SECONDS", "60", "grace_s", 60.0),
    ("LOG_LEVEL", "WARNING", "log_level", "warning"),
    ("EMOJI_MAP", "pyproject.toml", "emoji_map", CHECKOUT / "pyproject.toml"),
    *[
        ("EMOJI_MAP_URL", url, "emoji_map_url", url)
        for url in ("https://a.example/map.yaml", "https://a.example:8443/raw/m%20p?token=a#b")
    ],
    *[
        ("EMOJI_MAP_GITHUB", file, "emoji_map_github", file)
        for file in ("o-w/r.e_p@v1.0:map.yaml", "o/r@feature/x:maps/my map.yaml", "o/r@01ab:é/emoji_mappings.json")
    ],
    ("EMOJI_MAP_REFRESH_SECONDS", "60", "emoji_map_refresh_s", 60),
]  # fmt: skip

BAD = [
    *[("PORT", text) for text in ("0", "65536", "-1", "77.7", "7_777", "+80", "0x50", "٧٧٧٧", "9" * 5000)],
    *[("PRIVATE", text) for text in ("t", "y", "2", "enabled", "true # yes", "01")],
    *[("MODEL", text) for text in ("blip_caption", "a/b/c", "/large_coco", "Demo", "blip x/y", "a/b\n/c")],
    *[("MODELS", text) for text in ("demo,demo", "demo;a/b", "demo,blip", "demo a/b")],
    *[("MODEL_IDLE_SECONDS", text) for text in ("-1", "10m", "604801")],
    *[("DEVICE", text) for text in ("gpu", "cuda:", "cuda:-1", "cuda:0,1", "mps", "0")],
    *[("DEVICE", text) for text in ("cuda:0,cuda:0", "cuda:0,", "cpu,cuda:0", "cuda:0;cuda:1", "cuda:00,cuda:0")],
    *[("IMAGE_ROOTS", text) for text in ("no-such-folder", "pyproject.toml", "tests,config", "a\0b")],
    ("IMAGE_ROOTS", f"tests{os.pathsep}no-such-folder"),
    ("IMAGE_ROOTS", "~no-such-user-here/pictures"),
    *[("MAX_IMAGE_BYTES", text) for text in ("0", "32M", "32MiB", "1e6", str(2**30 + 1))],
    ("MAX_IMAGE_PIXELS", "0"),
    ("DECODE_SLOTS", "0"),
    ("QUEUE_CAPACITY", "0"),
    *[("MAX_BATCH", text) for text in ("0", "65")],
    *[("REQUEST_TIMEOUT_SECONDS", text) for text in ("0", "nan", "inf", "-5", "1e3", "2m", "3601", ".5")],
    ("URL_TIMEOUT_SECONDS", "0"),
    *[("URL_ALLOWED_PORTS", text) for text in ("0", "65536", "http", "80;443", "80-90", "*")],
    *[("URL_ALLOWED_HOSTS", text) for text in ("192.168.1.5", "*.example.org", "http://nas", "nas:80", "a_b")],
    *[("URL_ALLOWED_NETWORKS", text) for text in ("192.168.1.5/24", "nas", "10.0.0.0/33", "127.1", "fd00::/8%1")],
    *[("URL_FETCH_PROXY", text) for text in ("proxy:3128", "https://a:1", "http://a", "http://u:p@a:1", "http://a:0")],
    *[("URL_FETCH_PROXY", text) for text in ("http://a:1/", "http://a:99999", "socks5://a:1")],
    ("SERVICE_NAME", "a\x07b"),
    ("SERVICE_NAME", "x" * 65),
    *[("CORS_ORIGINS", text) for text in ("https://a.example/", "https://a.example/x", "a.example", "*,https://a.b")],
    ("CORS_ORIGINS", "https://*.example"),
    *[("API_KEYS_FILE", text) for text in ("no-such-file", "tests")],
    *[("RATE_LIMIT", text) for text in ("60", "0/minute", "6/fortnight", "6 per day", "1000000/day", "-1/day")],
    *[("TRUSTED_PROXIES", text) for text in ("*", "proxy", "10.0.0.1/8")],
    ("DRAIN_SECONDS", "-1"),
    ("GRACE_SECONDS", "soon"),
    ("LOG_LEVEL", "verbose"),
    ("EMOJI_MAP", "no-such-map.yaml"),
    ("EMOJI_MAP", "tests"),
    *[("EMOJI_MAP_URL", text) for text in ("http://a.example/map.yaml", "https://a.example", "a.example/m.yaml")],
    *[("EMOJI_MAP_URL", text) for text in ("https://me:secret@a.example/m", "https://a.example/m p", "https:///m")],
    *[("EMOJI_MAP_GITHUB", text) for text in ("o/r", "o/r:map.yaml", "o@main:map.yaml", "o/r@main:/map.yaml")],
    *[("EMOJI_MAP_GITHUB", text) for text in ("o/r/s@main:map.yaml", "o/r@:map.yaml", "o/r@main:", "o/r@a b:m")],
    *[("EMOJI_MAP_REFRESH_SECONDS", text) for text in ("0", "59", "604801", "1h")],
]  # fmt: skip


def test_the_defaults() -> None:
    settings = Settings.from_env({}, None)
    assert {f.name: getattr(settings, f.name) for f in fields(settings)} == DEFAULTS


@pytest.mark.parametrize(("env", "text", "name", "expected"), GOOD)
def test_a_good_value_is_parsed_and_typed(env: str, text: str, name: str, expected: object) -> None:
    value = getattr(Settings.from_env({env: text}, None), name)
    assert (value, type(value)) == (expected, type(expected))


@pytest.mark.parametrize(("env", "text"), BAD)
def test_a_bad_value_is_refused_by_name(env: str, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({env: text}, None)
    spec = next(spec for _, spec in specs() if spec.env == env)
    assert caught.value.problems == (f"{env}={text.strip()!r} in the environment; allowed: {spec.allowed}",)
    assert caught.value.problems[0] in str(caught.value)


def test_everything_wrong_is_said_at_once(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("PORTT=1\nDEVICE=gpu\nbroken\n")
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"PORT": "0", "LOG_LEVEL": "loud"}, file)
    assert [problem.split(";")[0] for problem in caught.value.problems] == [
        ".env line 3 cannot be understood: write NAME=value",
        "PORTT in .env is unknown: did you mean PORT?",
        "PORT='0' in the environment",
        "DEVICE='gpu' in .env",
        "LOG_LEVEL='loud' in the environment",
    ]


@pytest.mark.parametrize(
    ("environ", "served"),
    [
        ({}, ("blip_caption/large_coco",)),
        ({"MODEL": "demo"}, ("demo",)),
        ({"MODELS": "demo,a/b"}, ("demo", "a/b")),
        ({"MODELS": "demo,a/b", "MODEL": "demo"}, ("demo", "a/b")),
        ({"MODELS": "", "MODEL": "demo"}, ("demo",)),
    ],
)
def test_one_model_or_several_are_served(environ: dict[str, str], served: tuple[str, ...]) -> None:
    assert Settings.from_env(environ, None).served_models == served


@pytest.mark.parametrize("model", ["a/b", "c/d"])
def test_two_settings_do_not_name_different_default_models(tmp_path: Path, model: str) -> None:
    file = tmp_path / ".env"
    file.write_text("MODELS=demo,a/b\n")
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"MODEL": model}, file)
    assert caught.value.problems == (
        f"MODEL='{model}' and MODELS='demo,a/b' are both set and differ; "
        "allowed: one of them, or MODEL the first of MODELS",
    )


def test_one_address_of_a_map_is_enough(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("EMOJI_MAP_URL=https://a.example/map.yaml\n")
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"EMOJI_MAP_GITHUB": "owner/repo@main:map.yaml"}, file)
    assert caught.value.problems == ("EMOJI_MAP_URL and EMOJI_MAP_GITHUB are both set; allowed: one of them",)


@pytest.mark.parametrize(
    ("environ", "file_text", "expected"),
    [
        ({}, "PORT=8000\n", 8000),
        ({"PORT": "9000"}, "PORT=8000\n", 9000),
        ({"PORT": ""}, "PORT=8000\n", 8000),
        ({"PORT": "  "}, "PORT=\n", 7777),
        ({"PORT": "9000"}, "PORT=not looked at\n", 9000),
    ],
)
def test_the_environment_wins_over_the_file(
    tmp_path: Path, environ: dict[str, str], file_text: str, expected: int
) -> None:
    file = tmp_path / ".env"
    file.write_text(file_text)
    assert Settings.from_env(environ, file).port == expected


def test_a_message_names_the_file_that_was_read(tmp_path: Path) -> None:
    file = tmp_path / "other.env"
    file.write_text("PORT=x\n")
    with pytest.raises(SettingsError, match=r"PORT='x' in other\.env; allowed: a whole number"):
        Settings.from_env({}, file)


def test_an_empty_value_of_the_environment_can_switch_file_input_off(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("IMAGE_ROOTS=/\n")
    assert Settings.from_env({"IMAGE_ROOTS": ""}, file).image_roots == ()


@pytest.mark.parametrize("env", [spec.env for _, spec in specs() if not spec.empty_counts])
def test_an_empty_value_means_not_set(env: str) -> None:
    assert Settings.from_env({env: "  "}, None) == Settings()


@pytest.mark.parametrize(
    ("environ", "host", "origins"),
    [
        ({}, "0.0.0.0", ("*",)),
        ({"PRIVATE": "true"}, "127.0.0.1", ()),
        ({"PRIVATE": "true", "CORS_ORIGINS": "*"}, "127.0.0.1", ("*",)),
        ({"PRIVATE": "false", "CORS_ORIGINS": ""}, "0.0.0.0", ()),
    ],
)
def test_private_decides_address_and_origins(environ: dict[str, str], host: str, origins: tuple[str, ...]) -> None:
    settings = Settings.from_env(environ, None)
    assert (settings.host, settings.cors_origins) == (host, origins)


def test_without_arguments_the_environment_is_read_at_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "7001")
    assert Settings.from_env(env_file=None).port == 7001
    monkeypatch.setenv("PORT", "7002")
    assert Settings.from_env(env_file=None).port == 7002


def test_foreign_names_in_the_environment_are_nobodys_business() -> None:
    assert Settings.from_env({"PORTT": "1", "API_PORT": "2", "SHELL": "sh"}, None) == Settings()


def test_settings_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Settings().port = 1  # type: ignore[misc]


def test_every_default_is_a_value_that_its_own_kind_allows() -> None:
    # Paths are left out: whether they exist is no property of the table.
    for name, spec in specs():
        default = getattr(Settings, name)
        if name not in ("image_roots", "emoji_map"):
            assert spec.kind.parse(as_text(default)) == default, name
