"""The map that comes with the project: what it must know, and what it must not say."""

import json
import re
from pathlib import Path

import pytest

from services.emoji.emojis import all_emojis
from services.emoji.inflect import noun_forms
from services.emoji.map_file import EmojiMap, load_map
from services.emoji.mapper import EDGE, GAP, EmojiMapper, split_context
from services.emoji.words import STOP_WORDS
from training.things import THINGS, Thing

ROOT = Path(__file__).parents[2]
MAP_PATH = ROOT / "emoji_map.yaml"
SHARED = ROOT.parent / "shared" / "data"


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
        ("the living room", [("living_room", "🛋️")]),
        ("two baseball players", [("baseball_players", "⚾")]),
        ("a couch potato, couch potatoes", []),
        ("orange cones", [("orange_cones", "🚧")]),
        ("the base runner at home plate", [("base_runner", "⚾"), ("home_plate", "⚾")]),
        ("a wet suit", [("wet_suit", "🤿")]),
        ("a coffee table", []),
        # words whose neighbours decide
        ("a batter holding a bat", [("batter", "⚾"), ("bat", "⚾")]),
        ("a small bat clinging to a branch", [("bat", "🦇")]),
        ("a player hits the ball with a racket", [("ball", "🎾"), ("racket", "🎾")]),
        ("a ball in the mitt of a catcher", [("ball", "⚾"), ("catcher", "⚾")]),
        ("a dog with a ball", [("dog", "🐕")]),
        ("bats flying at night", [("bats", "🦇"), ("night", "🌃")]),
        ("a laptop and a mouse", [("laptop", "💻"), ("mouse", "🖱️")]),
        ("a cat and a mouse", [("cat", "🐈"), ("mouse", "🐁")]),
        ("a black tie", [("tie", "👔")]),
        ("a tie dye shirt", [("shirt", "👕")]),
        ("a boy with glasses", [("boy", "👦"), ("glasses", "👓")]),
        ("glasses of beer", [("glasses", "🍺"), ("beer", "🍺")]),
        ("some glasses", [("glasses", "🥛")]),
        ("a pair of glasses", [("glasses", "👓")]),
        ("glasses next to a book", [("glasses", "👓"), ("book", "📕")]),
        ("a table with plates and blue glasses", [("plates", "🍽️"), ("glasses", "🥛")]),
        ("a glass table", []),
        ("a glass of wine", [("glass", "🍷"), ("wine", "🍷")]),
        ("riding a wave", [("wave", "🌊")]),
        ("two women wave at a car", [("women", "👩"), ("wave", "👋"), ("car", "🚗")]),
        ("cows in a pen", [("cows", "🐄")]),
        ("pigs lying in their muddy pen", [("pigs", "🐖")]),
        ("a blue pen next to a cup", [("pen", "🖊️"), ("cup", "☕")]),
        ("writing with a pen", [("pen", "🖊️")]),
        ("wearing a watch", [("watch", "⌚")]),
        ("a golden watch on his wrist", [("watch", "⌚")]),
        ("a crowd gathers to watch a race", [("crowd", "👥"), ("watch", "👀"), ("race", "🏁")]),
        ("a man watches a dog", [("man", "🧑"), ("watches", "👀"), ("dog", "🐕")]),
        ("a construction crane", [("construction_crane", "🏗️")]),
        ("a crane", []),
        ("a crane next to a tall building", [("crane", "🏗️"), ("building", "🏢")]),
        ("cranes by a pond", [("cranes", "🐦"), ("pond", "🏞️")]),
        ("a bench in the park", [("bench", "🪑"), ("park", "🏞️")]),
        ("a parked car, trucks parking", [("car", "🚗"), ("trucks", "🚚")]),
        ("a dog can swim, a man can swim", [("dog", "🐕"), ("man", "🧑"), ("swim", "🏊")]),
        ("a cow that is walking on a road", [("cow", "🐄"), ("road", "🛣️")]),
        ("a woman walking a dog", [("woman", "👩"), ("walking", "🚶"), ("dog", "🐕")]),
        ("a trash can", [("trash_can", "🗑️")]),
        ("an orange and white cat", [("cat", "🐈")]),
        ("an apple and an orange", [("apple", "🍎"), ("orange", "🍊")]),
        ("two oranges", [("oranges", "🍊")]),
        ("an orange on a plate", [("orange", "🍊"), ("plate", "🍽️")]),
        ("the cat is orange, an orange truck", [("cat", "🐈"), ("truck", "🚚")]),
        ("wild turkeys", [("turkeys", "🦃")]),
        ("the right side at the back, on his back", []),
        ("a light brown bag", [("bag", "👜")]),
        ("a light on the wall", [("light", "💡")]),
        ("a green apple", [("apple", "🍏")]),
        ("a baby elephant next to a baby", [("elephant", "🐘"), ("baby", "👶")]),
        ("giraffes walking past people walking", [("giraffes", "🦒"), ("people", "👥"), ("walking", "🚶")]),
        # inflected
        ("leaves", [("leaves", "🍃")]),
        ("children smiling", [("children", "🧒"), ("smiling", "😊")]),
        ("women who swam", [("women", "👩"), ("swam", "🏊")]),
        ("knives and geese", [("knives", "🔪"), ("geese", "🪿")]),
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


def test_every_entry_decides_its_own_text(bundled: EmojiMap, mapper: EmojiMapper) -> None:
    """Nothing in the map is without effect, and nothing that could map is swallowed by another entry."""
    for key, emoji in bundled.entries.items():
        before, phrase, after = split_context(key) if "[" in key else ([], key, [])
        text = " ".join("so" if word == GAP else word for word in (*before, phrase, *after) if word != EDGE)
        segments = {segment.key: segment for segment in mapper.segments(text)}
        if "[" in key:
            assert key in segments
        else:
            assert rows(mapper, text) == ([(phrase.replace(" ", "_"), emoji)] if emoji else [])


def test_it_is_of_the_size_and_kind_that_is_promised(bundled: EmojiMap) -> None:
    shown = {emoji for emoji in bundled.entries.values() if emoji}
    assert len(bundled.entries) > 5_000
    assert shown <= all_emojis()
    assert len(shown) > 600
    assert STOP_WORDS.isdisjoint(bundled.entries)
    assert len(bundled.canaries) >= 50


def test_plurals_of_things_are_made_not_written() -> None:
    written = MAP_PATH.read_text(encoding="utf-8")
    for thing in THINGS:
        assert thing.plural in (thing.singular, *noun_forms(thing.singular))
        if thing.plural not in (thing.singular, "oranges"):
            assert not re.search(rf'^  "{thing.plural}":', written, re.MULTILINE)


def test_the_sample_of_captions_that_people_judged(mapper: EmojiMapper) -> None:
    gold = SHARED / "emoji_gold_dev.jsonl"
    if not gold.exists():
        pytest.skip("the judged captions are not part of the project")
    lost = []
    for line in gold.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        words = {word for word, _ in rows(mapper, row["caption"])}
        lost += [want["word"] for want in row["expect"] if words.isdisjoint({want["word"], *want.get("alt", [])})]
        lost += [trap["word"] for trap in row["forbid"] if not trap.get("emoji") and trap["word"] in words]
    assert lost == []
