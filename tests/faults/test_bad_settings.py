"""A configuration that cannot be used stops the start, with what is wrong and what is allowed in its place."""

import os
from pathlib import Path

import pytest

import REST

BAD = [
    ("PORT", "http", "a whole number from 1 to 65535"),
    ("PRIVATE", "maybe", "true, false, 1, 0, yes, no, on or off"),
    ("MODEL", "large", "demo, or name/type"),
    ("DEVICE", "gpu", "auto, cpu, cuda or cuda:N"),
    ("PRECISION", "fp8", "auto, fp32, bf16, fp16, int8 or int4"),
    ("QUEUE_CAPACITY", "0", "a whole number from 1 to 1024"),
    ("MAX_BATCH", "many", "a whole number from 1 to 64"),
    ("MAX_IMAGE_BYTES", "32M", "a whole number from 1 to 1073741824"),
    ("REQUEST_TIMEOUT_SECONDS", "2m", "a number from 0.1 to 3600"),
    ("IMAGE_ROOTS", "no/such/folder", "existing folders"),
    ("URL_ALLOWED_NETWORKS", "192.168.1.5/24", "networks like 192.168.1.0/24"),
    ("CORS_ORIGINS", "example.org", "`*`, or origins like https://example.org"),
    ("EMOJI_MAP", "no-such-map.yaml", "an existing file"),
    ("LOG_LEVEL", "loud", "debug, info, warning, error or critical"),
]


def message_of_a_start(monkeypatch: pytest.MonkeyPatch, **settings: str) -> str:
    """What `python REST.py` says before it ends; gunicorn must not begin."""

    def begin(*_: object) -> None:
        raise AssertionError("the service started")

    monkeypatch.setattr(os, "execv", begin)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stopped:
        REST.main()
    return str(stopped.value.code)  # a text: it goes to stderr, and the exit status is 1


@pytest.mark.parametrize(("name", "value", "allowed"), BAD, ids=[name for name, _, _ in BAD])
def test_a_bad_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str) -> None:
    message = message_of_a_start(monkeypatch, **{name: value})
    assert f"{name}={value!r} in the environment; allowed: {allowed}" in message


def test_all_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    message = message_of_a_start(monkeypatch, **{name: value for name, value, _ in BAD})
    for name, value, allowed in BAD:
        assert f"{name}={value!r} in the environment; allowed: {allowed}" in message


def test_two_settings_that_contradict_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = {"EMOJI_MAP_URL": "https://example.org/map.yaml", "EMOJI_MAP_GITHUB": "owner/repo@main:map.yaml"}
    message = message_of_a_start(monkeypatch, **sources)
    assert "EMOJI_MAP_URL and EMOJI_MAP_GITHUB are both set; allowed: one of them" in message


def test_an_emoji_map_that_is_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "map.yaml"
    broken.write_text("emojis: [")
    assert str(broken) in message_of_a_start(monkeypatch, EMOJI_MAP=str(broken))
