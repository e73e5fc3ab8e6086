"""The map that comes with the project: what it must know, and that each of its values is one emoji."""

from pathlib import Path

import pytest
import regex  # type: ignore[import-untyped]

from services.emoji.inflect import noun_forms
from services.emoji.map_file import EmojiMap, load_map
from services.emoji.mapper import EmojiMapper
from training.things import THINGS, Thing

MAP_PATH = Path(__file__).parents[2] / "emoji_map.yaml"

# Unicode TR51, fully-qualified forms alone: what is text by default is followed by U+FE0F, or by a skin tone.
_DRAWN = r"(?:(?!\p{Regional_Indicator})\p{Emoji_Presentation}|\p{Extended_Pictographic}\uFE0F)"
_PART = rf"{_DRAWN}\p{{Emoji_Modifier}}?"
ONE_EMOJI = regex.compile(rf"(?:{_PART}(?:\u200D{_PART})*|[0-9#*]\uFE0F\u20E3|\p{{Regional_Indicator}}{{2}})")


@pytest.fixture(scope="module")
def bundled() -> EmojiMap:
    return load_map(MAP_PATH)


@pytest.fixture(scope="module")
def mapper(bundled: EmojiMap) -> EmojiMapper:
    return EmojiMapper(bundled.entries)


def rows(mapper: EmojiMapper, caption: str) -> list[tuple[str, str]]:
    return [(pair.word, pair.emoji) for pair in mapper.map(caption)]


def without_selector(emoji: str) -> str:
    return emoji.replace("\ufe0f", "")


def test_the_example_of_the_interface(mapper: EmojiMapper) -> None:
    caption = "a man in a military uniform handing flowers to a little girl"
    assert rows(mapper, caption) == [
        ("man", "🧑"),
        ("military_uniform", "👔"),
        ("handing", "✋"),
        ("flowers", "🌼"),
        ("girl", "👧"),
    ]


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.singular)
def test_every_drawn_thing(mapper: EmojiMapper, thing: Thing) -> None:
    for words, caption in [
        (thing.singular, f"{thing.article} {thing.singular} next to it"),
        (thing.plural, f"two {thing.plural} and three"),
    ]:
        found = [(word, without_selector(emoji)) for word, emoji in rows(mapper, caption)]
        assert found == [(words.replace(" ", "_"), without_selector(thing.emoji))]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        # phrases whose words would mislead
        ("a hot dog on a plate", [("hot_dog", "🌭"), ("plate", "🍽️")]),
        ("a red fire hydrant", [("fire_hydrant", "🧯")]),
        ("a polar bear", [("polar_bear", "🐻‍❄️")]),
        ("a stop sign", [("stop_sign", "🛑")]),
        ("two parking meters", [("parking_meters", "🅿️")]),
        ("a computer mouse", [("computer_mouse", "🖱️")]),
        ("orange cones", [("orange_cones", "🚧")]),
        ("the base runner at home plate", [("home_plate", "⚾")]),
        ("a wet suit", [("wet_suit", "🤿")]),
        ("a bow tie", [("bow_tie", "👔")]),
        # words that mean too much to be mapped
        ("a living thing", []),
        ("a bat, a pen and a watch", []),
        ("parked in the back on the right side", []),
        ("a light in a can by a crane", []),
        ("a glass with glasses", []),
        ("flying and sitting", []),
        # inflected
        ("leaves", [("leaves", "🍃")]),
        ("children smiling", [("children", "🧒"), ("smiling", "😊")]),
        ("women who swam", [("women", "👩"), ("swam", "🏊")]),
        ("knives, mice and geese", [("knives", "🔪"), ("geese", "🪿")]),
        # where the drawn scenes are
        ("on the grass", [("grass", "🌿")]),
        ("in the snow", [("snow", "❄️")]),
        ("on the water", [("water", "💧")]),
        ("under the night sky", [("night_sky", "🌌")]),
        ("in front of a brick wall", [("brick_wall", "🧱")]),
        ("on the road", [("road", "🛣️")]),
        ("in the sunset", [("sunset", "🌇")]),
        ("in the rain", [("rain", "🌧️")]),
    ],
)
def test_captions(mapper: EmojiMapper, caption: str, expected: list[tuple[str, str]]) -> None:
    assert rows(mapper, caption) == expected


def test_every_value_is_one_emoji(bundled: EmojiMap) -> None:
    assert [(k, v) for k, v in bundled.entries.items() if not ONE_EMOJI.fullmatch(v)] == []


@pytest.mark.parametrize("text", ["", "a", "🐕🐕", "🐕 ", "☀", "1", "🐕\ufe0f\ufe0f", "🇺", "🧑‍"])
def test_what_is_not_one_emoji(text: str) -> None:
    assert not ONE_EMOJI.fullmatch(text)


def test_every_phrase_comes_out_of_its_own_text(bundled: EmojiMap, mapper: EmojiMapper) -> None:
    for phrase, emoji in bundled.entries.items():
        assert rows(mapper, phrase) == [(phrase.replace(" ", "_"), emoji)]


def test_plurals_of_things_are_made_not_written() -> None:
    written = MAP_PATH.read_text(encoding="utf-8")
    for thing in THINGS:
        assert thing.plural in (thing.singular, *noun_forms(thing.singular))
        if thing.plural != thing.singular:
            assert f'"{thing.plural}":' not in written
