"""The pages that show what the bundled map gives for many captions, and the scripts that made them."""

import random
from collections import Counter
from pathlib import Path

import pytest

from scripts import emoji_nouns, emoji_sample
from services.emoji.emojis import all_emojis
from services.emoji.map_file import load_map
from services.emoji.mapper import EmojiMapper, EmojiPair

ROOT = Path(__file__).parents[2]
CAPTIONS = ROOT.parent / "shared" / "data" / "captions.txt"
SAMPLE = ROOT / "docs" / "emoji_map_sample.md"


def cells(page: Path) -> list[list[str]]:
    """The rows of the page's table, without its head."""
    lines = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_the_page_of_nouns_shows_400_each_with_an_emoji() -> None:
    rows = cells(emoji_nouns.PAGE)
    assert len({noun for noun, *_ in rows}) == len(rows) == 400
    assert {emoji for _, _, emoji, _ in rows} <= all_emojis()


def test_the_page_of_nouns_holds_against_the_map() -> None:
    """Every frequent word of the captions is in the table with its emoji, or judged below it."""
    if not CAPTIONS.exists():
        pytest.skip("the captions are not part of the project")
    captions = CAPTIONS.read_text(encoding="utf-8").splitlines()
    words = emoji_nouns.count_words(captions, EmojiMapper(load_map(emoji_nouns.MAP).entries))
    judged = emoji_nouns.passed_over(emoji_nouns.PAGE.read_text(encoding="utf-8"))
    nouns = [word for word in words if word.noun not in judged][:400]
    assert [[word.noun, str(word.count), word.emoji] for word in nouns] == [
        row[:3] for row in cells(emoji_nouns.PAGE)
    ]


def test_words_are_counted_with_their_plurals_and_phrases() -> None:
    mapper = EmojiMapper({"dog": "🐕", "dogs": "🐕", "hot dog": "🌭", "bus": "🚌"})
    captions = ["a dog on a bus", "two dogs, a hot dog", "busses and a bus", *["the bus"] * 200, "a bu"]
    words = {word.noun: word for word in emoji_nouns.count_words(captions, mapper)}
    assert set(words) == {"dog", "bus", "two", "hot", "busses", "bu"}
    assert (words["dog"].count, words["dog"].emojis, words["dog"].emoji) == (3, Counter({"🐕": 2, "🌭": 1}), "🐕")
    assert (words["bus"].count, words["two"].emoji) == (202, "")
    assert emoji_nouns.table([words["dog"]])[2:] == ["| dog | 3 | 🐕 | 100 % |"]


def test_the_words_passed_over_stand_in_blocks() -> None:
    assert emoji_nouns.passed_over("# x\n```\none two\n```\nthree\n```\nfour\nfive\n```\n") == {
        "one", "two", "four", "five"
    }  # fmt: skip


def test_the_page_of_the_sample_counts_its_verdicts_right() -> None:
    rows = cells(SAMPLE)
    n_right = sum(verdict.startswith("right") for *_, verdict in rows)
    assert len(rows) == 200
    assert all(verdict.startswith(("right", "wrong: ")) for *_, verdict in rows)
    assert f"**{n_right} of 200 are right" in SAMPLE.read_text(encoding="utf-8")
    assert n_right >= 194


def test_a_sample_is_drawn_from_all_rows() -> None:
    mapper = EmojiMapper({"dog": "🐕", "cat": "🐈"})
    mappings = emoji_sample.all_mappings(["a dog | a cat", "no", "a cat"], mapper)
    cat = EmojiPair("🐈", "cat")
    assert [pair for _, pair in mappings] == [EmojiPair("🐕", "dog"), cat, cat]
    drawn = random.Random(1).sample(mappings, 3)
    assert sorted(emoji_sample.table(drawn)[2:]) == [
        "| cat | 🐈 | a cat | |", "| cat | 🐈 | a dog a cat | |", "| dog | 🐕 | a dog a cat | |"
    ]  # fmt: skip
