import random

import pytest

from services.emoji.mapper import REACH, EmojiMapper, EmojiPair, Segment
from services.emoji.words import STOP_WORDS, clauses

ENTRIES = {
    "dog": "🐕",
    "dogs": "🐕",
    "hot dog": "🌭",
    "hot dog stand": "🏪",
    "cat": "🐈",
    "man": "🧑",
    "ice cream": "🍦",
    "t shirt": "👕",
    "slice of pizza": "🍕",
    "café": "☕",
    "2": "2️⃣",
    "fire": "🔥",
    "truck": "🚚",
    "fire truck": "🚒",
}


def rows(caption: str) -> list[tuple[str, str]]:
    return [(pair.word, pair.emoji) for pair in EmojiMapper(ENTRIES).map(caption)]


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("", []),
        ("nothing that is known", []),
        ("a dog", [("dog", "🐕")]),
        # case, punctuation, possessives
        ("A DOG.", [("dog", "🐕")]),
        ("(dog), 'cat'; \"man\"!", [("dog", "🐕"), ("cat", "🐈"), ("man", "🧑")]),
        ("the dog's tail and the man’s hand", [("dog", "🐕"), ("man", "🧑")]),
        ("the dogs' tails", [("dogs", "🐕")]),
        ("man/dog:cat", [("man", "🧑"), ("dog", "🐕"), ("cat", "🐈")]),
        # the longest phrase, and nothing of it twice
        ("a hot dog", [("hot_dog", "🌭")]),
        ("a hot dog stand", [("hot_dog_stand", "🏪")]),
        ("a hot dog standing", [("hot_dog", "🌭")]),
        ("a hot day", []),
        ("hot hot dog", [("hot_dog", "🌭")]),
        ("a fire in a truck by a fire truck", [("fire", "🔥"), ("truck", "🚚"), ("fire_truck", "🚒")]),
        ("a slice of pizza", [("slice_of_pizza", "🍕")]),
        # hyphens and underscores join as a space does
        ("a hot-dog", [("hot_dog", "🌭")]),
        ("a hot_dog", [("hot_dog", "🌭")]),
        ("a T-shirt", [("t_shirt", "👕")]),
        # no phrase across punctuation
        ("it is hot, dog", [("dog", "🐕")]),
        ("it is hot. Dog", [("dog", "🐕")]),
        ("it is hot - dog", [("dog", "🐕")]),
        ('"hot" dog', [("dog", "🐕")]),
        ("'hot' dog", [("dog", "🐕")]),
        ("ice: cream", []),
        ("hot  \t\n dog", [("hot_dog", "🌭")]),
        # one row a word, in order of first appearance; another form is another word
        ("a cat, a dog and a cat", [("cat", "🐈"), ("dog", "🐕")]),
        ("a dog's dog", [("dog", "🐕")]),
        ("a dog among dogs", [("dog", "🐕"), ("dogs", "🐕")]),
        ("a dog with a hot dog", [("dog", "🐕"), ("hot_dog", "🌭")]),
        # only whole words
        ("a doghouse for a catamaran", []),
        ("it's 2 dogs", [("2", "2️⃣"), ("dogs", "🐕")]),
        # composed and decomposed letters are one
        ("a café", [("café", "☕")]),
        ("a cafe\u0301", [("café", "☕")]),
    ],
)
def test_caption_to_rows(caption: str, expected: list[tuple[str, str]]) -> None:
    assert rows(caption) == expected


def test_pairs_are_plain_values() -> None:
    assert EmojiMapper({"dog": "🐕"}).map("Dog") == [EmojiPair(emoji="🐕", word="dog")]


def test_stop_words_never_map_by_themselves() -> None:
    mapper = EmojiMapper({**dict.fromkeys(STOP_WORDS, "❌"), "up and down": "❌", "slice of pizza": "🍕"})
    assert mapper.map(" ".join(sorted(STOP_WORDS)) + ", up and down") == []
    assert mapper.map("a slice of pizza") == [EmojiPair("🍕", "slice_of_pizza")]


def test_an_entry_more_keeps_unrelated_rows() -> None:
    caption = "a man and a dog by a fire truck"
    before = EmojiMapper(ENTRIES).map(caption)
    after = EmojiMapper({**ENTRIES, "purple elephant": "🐘"}).map(caption)
    assert after == before


@pytest.mark.parametrize(
    "text",
    [
        *("\x00", "\ud800 dog \udfff", "\u200d\ufe0f", "\u2028dog", "İ ẞ ŉ", "🐕🐕‍🦺"),
        *("مرحبا", "नमस्ते", "' - ' -- ''s", "’s", "'", "-", "_"),
    ],
)
def test_odd_texts_do_not_raise(text: str) -> None:
    rows_of_text = rows(text)
    assert rows_of_text in ([], [("dog", "🐕")])


def test_random_unicode_does_not_raise() -> None:
    chance = random.Random(5)
    known = set(ENTRIES)
    for _ in range(2_000):
        text = "".join(
            chance.choice(["dog", "hot", " ", "'", "-", chr(chance.randrange(0x110000))])
            for _ in range(chance.randrange(20))
        )
        found = [word.replace("_", " ") for word, _ in rows(text)]
        assert set(found) <= known
        assert len(found) == len(set(found))


def test_time_grows_with_the_length_of_the_text_alone() -> None:
    mapper = EmojiMapper({"a" + " b" * 7: "🅱️", "a b [b]": "🅱️", "c ... [b]": "🅱️", "[b] ... c": "🅱️"})
    assert len(mapper.map("a b b " * 30_000 + "-'" * 30_000)) == 1  # takes hours if it grows with the square


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a watch", [("watch", "⌚")]),
        ("to watch", [("watch", "👀")]),
        ("watch", []),
        ("a watch tower", [("tower", "🗼")]),  # the context of most words wins, here a muted one
        ("a, watch", []),  # no context across punctuation
        ("watch it", [("watch", "👁️")]),  # EDGE: where the clause begins
        ("people, watch it", [("people", "👥"), ("watch", "👁️")]),
        ("people watch it", [("people", "👥")]),
        ("watch dogs", [("watch_dogs", "🐕")]),  # a longer phrase before any context
        ("people to watch", [("people", "👥"), ("watch", "👀")]),  # words of a context stay free
        ("dog house", []),
        ("a house", [("house", "🏠")]),
        ("dog dog house house", [("dog", "🐕"), ("house", "🏠")]),
    ],
)
def test_contexts_and_mutes(caption: str, expected: list[tuple[str, str]]) -> None:
    entries = {"a [watch]": "⌚", "to [watch]": "👀", ". [watch] it": "👁️", "watch dogs": "🐕", "people": "👥",
               "a [watch] tower": "", "tower": "🗼", "dog house": "", "dog": "🐕", "house": "🏠"}  # fmt: skip
    assert [(pair.word, pair.emoji) for pair in EmojiMapper(entries).map(caption)] == expected


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a ball", ""),
        ("a tennis ball", "🎾"),
        ("tennis players hit a yellow ball", "🎾"),
        ("a ball and a goalie", "⚽"),
        ("a ball for tennis", ""),  # that clue must stand before
        ("a goalie holds a ball", ""),
        ("a tennis player throws a ball at the goalie", "🎾"),  # the clue written first
        ("a player of tennis kicks the ball", "⚽"),  # a context before any clue
        ("tennis, a ball", ""),  # no clue across punctuation
        ("a ball ball and a goalie", "⚽"),
        ("tennis in the rain with a ball bearing", ""),  # a longer phrase before any clue
    ],
)
def test_clues(caption: str, expected: str) -> None:
    entries = {"tennis ... [ball]": "🎾", "[ball] ... goalie": "⚽", "kicks the [ball]": "⚽", "ball bearing": ""}
    assert [pair.emoji for pair in EmojiMapper(entries).map(caption)] == ([expected] if expected else [])


def test_a_clue_has_a_reach() -> None:
    mapper = EmojiMapper({"tennis ... [ball]": "🎾"})
    assert mapper.map("tennis " + "so " * (REACH - 1) + "ball")
    assert not mapper.map("tennis " + "so " * REACH + "ball")


def test_a_muted_clue_beats_the_bare_word() -> None:
    mapper = EmojiMapper({"man ... [walking]": "🚶", "dog ... [walking]": "", "walking": "🚶"})
    assert mapper.map("a dog walking") == []
    assert [pair.word for pair in mapper.map("a man and a dog walking")] == ["walking"]
    assert [pair.word for pair in mapper.map("walking a dog")] == ["walking"]


def test_segments_are_all_words_with_what_decided() -> None:
    segments = EmojiMapper({"a [hot dog] on": "🌭", "fire": ""}).segments("A hot dog on fire, now")
    assert segments == [
        Segment(("a",), "", ""),
        Segment(("hot", "dog"), "a [hot dog] on", "🌭"),
        Segment(("on",), "", ""),
        Segment(("fire",), "fire", ""),
        Segment(("now",), "", ""),
    ]


def test_clauses() -> None:
    assert clauses("The dog's hot-dog, two cats' beds") == [
        ["the", "dog", "hot", "dog"],
        ["two", "cats"],
        ["beds"],
    ]
