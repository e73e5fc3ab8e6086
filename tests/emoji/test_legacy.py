"""Maps in the layout of the old service."""

import hashlib
import json
import logging
from pathlib import Path

import pytest

from services.emoji.legacy import parse_legacy
from services.emoji.map_file import EmojiMap, MapFileError
from services.emoji.mapper import EmojiMapper
from services.emoji.sources import load_map_file

MAPPINGS = {"dog": "🐶", "hot_dog": "🌭", "ice_cream": "🍦", "t-shirt": "👕", "bus": "🚌", "leaf": "🍃"}


def parse(mappings: object, phrases: str | None = None) -> EmojiMap:
    return parse_legacy(json.dumps(mappings).encode(), phrases.encode() if phrases is not None else None, "old")


def rows(emoji_map: EmojiMap, caption: str) -> list[tuple[str, str]]:
    return [(pair.word, pair.emoji) for pair in EmojiMapper(emoji_map.entries).map(caption)]


def test_words_and_phrases_and_their_plurals() -> None:
    emoji_map = parse(MAPPINGS, "hot_dog\nIce_Cream\r\n")
    assert rows(emoji_map, "Dogs and hot dogs, an ice cream, t-shirts, buses, leaves, a dog") == [
        ("dogs", "🐶"), ("hot_dogs", "🌭"), ("ice_cream", "🍦"), ("t_shirts", "👕"), ("buses", "🚌"),
        ("leaves", "🍃"), ("dog", "🐶"),
    ]  # fmt: skip
    assert emoji_map.nouns["hot dogs"] == "hot dog"


def test_a_phrase_without_an_emoji_swallows_nothing() -> None:
    emoji_map = parse({"girl": "👧"}, "little_girl\n")
    assert rows(emoji_map, "a little girl") == [("girl", "👧")]


def test_a_phrase_counts_when_mwe_txt_has_it_or_is_missing() -> None:
    caption = "a hot dog"
    assert rows(parse(MAPPINGS, "ice_cream\n"), caption) == [("dog", "🐶")]
    assert rows(parse(MAPPINGS, ""), caption) == [("dog", "🐶")]
    assert rows(parse(MAPPINGS, None), caption) == [("hot_dog", "🌭")]


@pytest.mark.parametrize(
    ("entry", "phrase", "emoji"),
    [
        ({"spider": "🕷"}, "spider", "🕷️"),  # fully qualified, as Unicode writes it
        ({"coffee": "☕️"}, "coffee", "☕"),
        ({"German_short-haired_pointer": "🐶"}, "german short haired pointer", "🐶"),
        ({"baseball bat": "🏏", "baseball_bat": "⚾"}, "baseball bat", "⚾"),
        ({"café": " ☕ "}, "café", "☕"),
    ],
)
def test_spellings(entry: dict[str, str], phrase: str, emoji: str) -> None:
    assert parse(entry).entries[phrase] == emoji


BAD = {
    "polar_bear": "🐻❄️",  # two, for want of a joiner
    "star": "★",
    "rail": "🛤.",
    "nothing": "",
    "number": 5,
    "none": None,
    "list": ["🐶"],
    "f*ck": "🔞",
    "can't_[stop]": "✋",
    "above": "👆",
    "": "🐶",
    "x" * 81: "🐶",
    "not_listed": "🐶",
}


def test_bad_entries_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        emoji_map = parse({**BAD, "dog": "🐶"}, "hot_dog\n")
    assert emoji_map.entries == {"dog": "🐶", "dogs": "🐶"}
    (record,) = caplog.records
    assert {len(BAD), len(BAD) + 1} <= {*record.args} if isinstance(record.args, tuple) else False


def test_a_map_without_bad_entries_is_loaded_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        parse(MAPPINGS)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("mappings", "phrases", "reason"),
    [
        (b"", None, "old:1: not JSON"),
        (b'{\n"a": }', None, "old:2: not JSON"),
        (b"[" * 100_000, None, "not JSON that can be read"),
        (b'{"a": ' + b"1" * 5000 + b"}", None, "not JSON that can be read"),
        (b'["dog"]', None, "must hold"),
        (b"{}", None, "none of its 0 entries"),
        (b'{"dog": "dog"}', None, "none of its 1 entries"),
        (b"\xff", None, "not UTF-8"),
        (b'{"dog": "\xf0\x9f\x90\xb6"}', b"\xff", "mwe.txt: not UTF-8"),
        (b" " * 2_100_000, None, "larger than"),
    ],
)
def test_what_is_no_map_at_all(mappings: bytes, phrases: bytes | None, reason: str) -> None:
    with pytest.raises(MapFileError, match=reason):
        parse_legacy(mappings, phrases, "old")


def test_both_files_of_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "emoji_mappings.json"
    mappings = "\ufeff" + json.dumps(MAPPINGS, ensure_ascii=False)
    path.write_text(mappings, encoding="utf-8")
    assert rows(load_map_file(path), "a hot dog") == [("hot_dog", "🌭")]
    (tmp_path / "mwe.txt").write_text("ice_cream\n", encoding="utf-8")
    emoji_map = load_map_file(path)
    assert rows(emoji_map, "a hot dog") == [("dog", "🐶")]
    assert emoji_map.sha256 == hashlib.sha256((mappings + "ice_cream\n").encode()).hexdigest()
    assert emoji_map.version == f"sha256-{emoji_map.sha256[:12]}"
    assert emoji_map.source == str(path)


def test_a_folder_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(MapFileError, match=r"emoji_mappings\.json: cannot be read: No such file"):
        load_map_file(tmp_path / "emoji_mappings.json")
    (tmp_path / "emoji_mappings.json").write_text("{}", encoding="utf-8")
    (tmp_path / "mwe.txt").mkdir()
    with pytest.raises(MapFileError, match=r"mwe\.txt: cannot be read: Is a directory"):
        load_map_file(tmp_path / "emoji_mappings.json")
