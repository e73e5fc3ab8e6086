"""What holds for any map and any text: tried on many made at random, always the same ones."""

import contextlib
import random

import pytest

from services.emoji.inflect import noun_forms, verb_forms
from services.emoji.map_file import MapFileError, all_forms, parse_map
from services.emoji.map_reader import Entry
from services.emoji.mapper import EmojiMapper, EmojiPair
from services.emoji.words import STOP_WORDS, clauses

WORDS = ["dog", "cat", "hot", "house", "park", "the", "of", "fly", "leaf", "box", "man", "bus", "swim", "tie"]
EMOJIS = ["🐕", "🐈", "🏠", "🪰", "🍃", ""]
SEEDS = range(300)


def some_phrase(chance: random.Random) -> str:
    return " ".join(chance.choices(WORDS, k=chance.randint(1, 3)))


def some_entries(chance: random.Random) -> dict[str, str]:
    entries = {some_phrase(chance): chance.choice(EMOJIS) for _ in range(chance.randrange(1, 12))}
    for _ in range(chance.randrange(3)):
        gap = chance.choice([" ", " ... "])
        entries[f"{chance.choice(WORDS)}{gap}[{some_phrase(chance)}]"] = chance.choice(EMOJIS)
    return entries


def some_caption(chance: random.Random) -> str:
    return "".join(chance.choice(WORDS) + chance.choice([" ", " ", " ", ", ", "-"]) for _ in range(12))


@pytest.mark.parametrize("seed", SEEDS)
def test_rows_are_words_of_the_caption_in_order_each_once(seed: int) -> None:
    chance = random.Random(seed)
    mapper, caption = EmojiMapper(some_entries(chance)), some_caption(chance)
    words = [pair.word for pair in mapper.map(caption)]
    text = "|".join("_".join(clause) for clause in clauses(caption))
    assert len(set(words)) == len(words)
    assert STOP_WORDS.isdisjoint(words)
    places = [segment.words for segment in mapper.segments(caption) if segment.emoji]
    assert words == list(dict.fromkeys("_".join(place) for place in places))
    assert all(word in text for word in words)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_phrase_comes_out_of_its_own_text(seed: int) -> None:
    entries = {key: emoji for key, emoji in some_entries(random.Random(seed)).items() if "[" not in key}
    mapper = EmojiMapper(entries)
    for phrase, emoji in entries.items():
        if not STOP_WORDS.issuperset(phrase.split()):
            expected = [EmojiPair(emoji=emoji, word=phrase.replace(" ", "_"))] if emoji else []
            assert mapper.map(phrase) == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_an_entry_more_removes_no_unrelated_row(seed: int) -> None:
    chance = random.Random(seed)
    entries, caption = some_entries(chance), some_caption(chance)
    before = EmojiMapper(entries).map(caption)
    stranger = chance.choice(["zebra", "hot zebra", "zebra hot", "zebra [hot]", "[dog] zebra", "zebra ... [dog]"])
    assert EmojiMapper({**entries, stranger: "🦓"}).map(caption) == before
    after = EmojiMapper({**entries, "zebra": "🦓"}).map(f"{caption}, a zebra")
    assert after == [*before, EmojiPair("🦓", "zebra")]


@pytest.mark.parametrize("seed", SEEDS)
def test_any_unicode_is_taken(seed: int) -> None:
    chance = random.Random(seed)
    mapper = EmojiMapper(some_entries(chance))
    pieces = [*WORDS, " ", "'", "’s", "-", "_", "[", "]", ".", "\x00", "\n", "İ", "ß", "\u200d", "\u0301"]
    for _ in range(20):
        text = "".join(
            chance.choice(pieces) if chance.random() < 0.7 else chr(chance.randrange(0x110000)) for _ in range(20)
        )
        words = [pair.word for pair in mapper.map(text)]
        assert len(set(words)) == len(words)
        assert "" not in words


@pytest.mark.parametrize("seed", SEEDS)
def test_no_garbage_stops_the_reader_other_than_by_its_own_error(seed: int) -> None:
    chance = random.Random(seed)
    pieces = [
        *('version: "1"\n', "nouns:\n", "mute:\n", '  "dog": "🐕"\n', "  - x\n", "canaries:\n", "---\n", "...\n"),
        *("{", "[", "&a", "*a", "\t", ": ", "? ", "!!x ", "%", '"', "'", "|\n", "\x07", "\ufeff", "- "),
    ]
    content = "".join(chance.choices(pieces, k=chance.randrange(12))).encode()
    with contextlib.suppress(MapFileError):
        assert parse_map(content, "x").entries


@pytest.mark.parametrize("noun", ["dog", "hot dog", "leaf", "bus", "city", "person", "mouse", "sheep", "knife"])
def test_the_forms_of_a_noun_lead_back_to_it(noun: str) -> None:
    forms = all_forms([Entry(noun, "🐕", "nouns", 1)])
    assert {entry.phrase for entry in forms.values()} == {noun}
    assert set(forms) == {noun, *noun_forms(noun)}


@pytest.mark.parametrize("verb", ["walk", "swim", "cry", "dance", "shake hands", "tie", "ski"])
def test_the_forms_of_a_verb_lead_back_to_it(verb: str) -> None:
    mapper = EmojiMapper({form: entry.emoji for form, entry in all_forms([Entry(verb, "🚶", "verbs", 1)]).items()})
    for form in [verb, *verb_forms(verb)]:
        assert mapper.map(f"two {form} there") == [EmojiPair("🚶", form.replace(" ", "_"))]
