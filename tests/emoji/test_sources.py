"""Addresses of published maps, and what a start makes of the settings."""

from pathlib import Path

import pytest

import REST
from config.settings import Settings
from services.emoji.sources import PUBLISHED_MAP_URL, PublishedMap, github_url


@pytest.mark.parametrize(
    ("file", "url"),
    [
        ("owner/repo@main:map.yaml", "https://raw.githubusercontent.com/owner/repo/main/map.yaml"),
        ("o/r@feature/x:a/b.yaml", "https://raw.githubusercontent.com/o/r/feature/x/a/b.yaml"),
        ("o/r@v1:my map é?.yaml", "https://raw.githubusercontent.com/o/r/v1/my%20map%20%C3%A9%3F.yaml"),
        ("o/r@a#b:m:n@p.yaml", "https://raw.githubusercontent.com/o/r/a%23b/m%3An%40p.yaml"),
    ],
)
def test_a_file_on_github(file: str, url: str) -> None:
    assert github_url(file) == url


@pytest.mark.parametrize(
    ("url", "urls"),
    [
        ("https://a.example/m.yaml?t=1", ("https://a.example/m.yaml?t=1",)),
        ("https://a.example/b/emoji_mappings.json", ("https://a.example/b/emoji_mappings.json", "https://a.example/b/mwe.txt")),
        ("https://a.example/my_emoji_mappings.json", ("https://a.example/my_emoji_mappings.json",)),
    ],
)  # fmt: skip
def test_the_files_of_a_map(url: str, urls: tuple[str, ...]) -> None:
    assert PublishedMap(url).urls == urls


def test_a_name_for_people_has_no_token() -> None:
    assert PublishedMap("https://a.example/m.yaml?token=SECRET#x").name == "https://a.example/m.yaml"


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, PUBLISHED_MAP_URL),
        ({"EMOJI_MAP": "pyproject.toml"}, ""),
        ({"EMOJI_MAP_URL": "https://a.example/m.yaml"}, "https://a.example/m.yaml"),
        ({"EMOJI_MAP_GITHUB": "o/r@main:m.yaml"}, "https://raw.githubusercontent.com/o/r/main/m.yaml"),
    ],
)
def test_where_the_service_looks(environ: dict[str, str], url: str) -> None:
    assert REST._map_url(Settings.from_env(environ, None)) == url


def test_the_projects_own_map_refreshes_the_bundled_one_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    project_url = "https://project.example/emoji_map.yaml"
    monkeypatch.setattr(REST, "PUBLISHED_MAP_URL", project_url)
    assert REST._map_url(Settings.from_env({}, None)) == project_url
    assert REST._map_url(Settings.from_env({"EMOJI_MAP": str(Path(__file__))}, None)) == ""
    mine = {"EMOJI_MAP_URL": "https://a.example/m.yaml"}
    assert REST._map_url(Settings.from_env(mine, None)) == mine["EMOJI_MAP_URL"]
