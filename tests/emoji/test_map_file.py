import hashlib
import re
from pathlib import Path

import pytest

from services.emoji.map_file import EmojiMap, MapFileError, load_map, parse_map
from services.emoji.mapper import EmojiMapper, EmojiPair

GOOD = """\
version: "7"
nouns:
  "fly": "🪰"
  "wave": "🌊"
  "leaf": "🍃"
  "glass": "🥛"
  "hot dog": "🌭"
verbs:
  "wave": "🌊"
  "park": "🅿️"
adjectives:
  "sunny": "☀️"
exact:
  "glasses": "👓"
  "skiing": "⛷️"
"""


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "map.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_good_map(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    loaded = load_map(path)
    assert loaded.version == "7"
    assert loaded.source == str(path)
    assert loaded.sha256 == hashlib.sha256(GOOD.encode()).hexdigest()


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("hot dogs", ["hot_dogs 🌭"]),
        ("flies", ["flies 🪰"]),
        ("flying", []),  # a noun has no -ing
        ("leaves on leaf", ["leaves 🍃", "leaf 🍃"]),
        ("parked, parking, parks", ["parked 🅿️", "parking 🅿️", "parks 🅿️"]),
        ("waving waves", ["waving 🌊", "waves 🌊"]),
        ("a glass", ["glass 🥛"]),
        ("glasses", ["glasses 👓"]),  # written beats made
        ("sunny sunnies sunnier", ["sunny ☀️"]),
        ("skiing skiings", ["skiing ⛷️"]),
    ],
)
def test_forms_follow_the_section(tmp_path: Path, caption: str, expected: list[str]) -> None:
    mapper = EmojiMapper(load_map(write(tmp_path, GOOD)).entries)
    assert [f"{pair.word} {pair.emoji}" for pair in mapper.map(caption)] == expected


def test_the_earlier_section_wins_where_two_make_one_form(tmp_path: Path) -> None:
    both = 'version: "1"\nverbs: {"leave": "👋"}\nnouns: {"leaf": "🍃"}\n'
    assert load_map(write(tmp_path, both)).entries["leaves"] == "🍃"


HEAD = 'version: "1"\n'


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("", None, "the file must hold"),
        ("- dog\n", 1, "the file must hold"),
        ('nouns:\n  "dog": "🐕"\n', None, "there is no version"),
        ("version: 2026-11-21\n", 1, "the version is not a string; put it in quotes"),
        ("version:\n", 1, "the version is empty"),
        ('version: " "\n', 1, "the version is empty"),
        (HEAD, None, "there are no entries"),
        (HEAD + HEAD, 2, "key 'version' stands in line 1 already"),
        (HEAD + 'noun:\n  "dog": "🐕"\n', 2, "unknown section 'noun'; there may be: version, groups, nouns"),
        (HEAD + "nouns:\n", 2, "section 'nouns' must hold"),
        (HEAD + 'nouns: "dog"\n', 2, "section 'nouns' must hold"),
        (HEAD + 'nouns:\n  "dog": "🐕"\n  "cat": "🐈"\n  "dog": "🐩"\n', 5, "'dog' stands in line 3 already"),
        (HEAD + 'nouns:\n  "dog": "🐕"\n  dog: "🐕"\n', 4, "'dog' stands in line 3 already"),
        (HEAD + 'nouns:\n  "wave": "🌊"\nverbs:\n  "wave": "👋"\n', 5, "'wave' has another emoji in line 3"),
        (HEAD + 'nouns:\n  no: "🚫"\n', 3, "key no is not a string; put it in quotes"),
        (HEAD + 'nouns:\n  on: "🔛"\n', 3, "key on is not a string"),
        (HEAD + 'nouns:\n  2: "2️⃣"\n', 3, "key 2 is not a string"),
        (HEAD + 'nouns:\n  ~: "🚫"\n', 3, "key ~ is not a string"),
        (HEAD + 'nouns:\n  [a, b]: "🚫"\n', 3, "a list or mapping where"),
        (HEAD + 'nouns:\n  "dog": 1\n', 3, "the value of 'dog' is not a string"),
        (HEAD + 'nouns:\n  "dog": yes\n', 3, "the value of 'dog' is not a string"),
        (HEAD + 'nouns:\n  "dog": ["🐕"]\n', 3, "a list or mapping where"),
        (HEAD + 'nouns:\n  "dog":\n', 3, "the value of 'dog' is empty"),
        (HEAD + 'nouns:\n  "dog": ""\n', 3, "the value of 'dog' is empty"),
        (HEAD + 'nouns:\n  "Dog": "🐕"\n', 3, "not lower-case words with one space between; write 'dog'"),
        (HEAD + 'nouns:\n  "hot  dog": "🌭"\n', 3, "write 'hot dog'"),
        (HEAD + 'nouns:\n  "hot-dog": "🌭"\n', 3, "write 'hot dog'"),
        (HEAD + 'nouns:\n  "dog\'s": "🐕"\n', 3, "write 'dog'"),
        (HEAD + 'nouns:\n  "": "🐕"\n', 3, "not lower-case words"),
        (HEAD + 'nouns:\n  "?": "❓"\n', 3, "not lower-case words"),
        (HEAD + 'nouns:\n  "no": "🚫"\n', 3, "'no' is a stop word, which never maps"),
        (HEAD + 'nouns:\n  <<: "🐕"\n', 3, "key << is not a string"),
        (HEAD + 'nouns: &a\n  "dog": "🐕"\nexact:\n  <<: *a\n', 2, "anchors (&) and aliases (*)"),
        (HEAD + 'nouns:\n  "dog": &a "🐕"\n', 3, "anchors (&) and aliases (*)"),
        (HEAD + 'nouns:\n  "dog": *a\n', 3, "anchors (&) and aliases (*)"),
        (HEAD + 'nouns: {"dog": "🐕"\n', 3, "not YAML"),
        (HEAD + "nouns: *missing\n", 2, "anchors (&) and aliases (*)"),
        (HEAD + '---\nversion: "2"\n', 2, "not YAML"),
        (HEAD + "nouns: !!python/name:os.system {}\n", None, "there are no entries"),
        ("\x00", None, "not YAML"),
        (b"\xff\xfe\xfd", None, "not UTF-8 text"),
        ("[" * 100_000, 1, "the file must hold"),  # recursion would end the process
        (HEAD + "nouns: {a: " + "[" * 100_000, 2, "a list or mapping where"),
        (HEAD + "nouns: [" + "{a: " * 100_000, 2, "a list or mapping where"),
        # values
        (HEAD + 'nouns:\n  "dog": "dog"\n', 3, "the value of 'dog', 'dog', is not exactly one emoji"),
        (HEAD + 'nouns:\n  "dog": "🐕🐕"\n', 3, "is not exactly one emoji"),
        (HEAD + 'nouns:\n  "dog": "🐕 x"\n', 3, "is not exactly one emoji"),
        (HEAD + 'nouns:\n  "sun": "☀"\n', 3, "is not fully qualified; write '☀️'"),
        (HEAD + 'nouns:\n  "tree": "🪾"\n', 3, "of Unicode Emoji 15.1 or earlier"),
        # sizes
        (HEAD + f'nouns:\n  "{"a" * 81}": "🐕"\n', 3, "a key of more than 80 characters"),
        (HEAD + f'nouns:\n  "dog": "{"🐕" * 41}"\n', 3, "a value of more than 40 characters"),
        (f'version: "{"1" * 65}"\n', 1, "a version of more than 64 characters"),
        (HEAD + "#" * 2 * 1024 * 1024, None, "larger than 2097152 bytes"),
        # contexts
        (HEAD + 'contexts:\n  "watch": "⌚"\n', 3, "is no context; write one like"),
        (HEAD + 'contexts:\n  "[watch]": "⌚"\n', 3, "is no context"),
        (HEAD + 'contexts:\n  "a [watch": "⌚"\n', 3, "is no context"),
        (HEAD + 'contexts:\n  "a [watch] [b]": "⌚"\n', 3, "more than lower-case words around"),
        (HEAD + 'contexts:\n  "A [watch]": "⌚"\n', 3, "more than lower-case words around"),
        (HEAD + 'contexts:\n  "a . [watch]": "⌚"\n', 3, "more than lower-case words around"),
        (HEAD + 'contexts:\n  "a [Watch]": "⌚"\n', 3, "is not lower-case words"),
        (HEAD + 'contexts:\n  "a [the]": "⌚"\n', 3, "'the' is a stop word"),
        (HEAD + 'nouns:\n  "a [watch]": "⌚"\n', 3, "is not lower-case words"),
        # clues
        (HEAD + 'contexts:\n  "a ... tennis [ball]": "🎾"\n', 3, "is no clue; write one like"),
        (HEAD + 'contexts:\n  "a ... [ball] b": "🎾"\n', 3, "is no clue"),
        (HEAD + 'contexts:\n  "tennis [ball] ...": "🎾"\n', 3, "is no clue"),
        (HEAD + 'contexts:\n  "... [ball]": "🎾"\n', 3, "is no clue"),
        (HEAD + 'contexts:\n  "... ... [ball]": "🎾"\n', 3, "more than lower-case words around"),
        (HEAD + 'contexts:\n  "Tennis ... [ball]": "🎾"\n', 3, "more than lower-case words around"),
        # groups
        (HEAD + 'groups: "dog"\n', 2, "section 'groups' must hold"),
        (HEAD + 'groups:\n  "animal": ""\n', 3, "the value of 'animal' is empty"),
        (HEAD + 'groups:\n  "animal": "dog  cat"\n', 3, "group 'animal' holds '', not one lower-case word"),
        (HEAD + 'groups:\n  "animal": "dog Cat"\n', 3, "group 'animal' holds 'Cat', not one"),
        (HEAD + f'groups:\n  "animal": "{"dog " * 1001}"\n', 3, "a group of more than 4000 characters"),
        (HEAD + 'contexts:\n  "<animal> [bat]": "🦇"\n', 3, "there is no group 'animal' above"),
        (HEAD + 'groups: {"a": "dog"}\ncontexts:\n  "<a> <a> [bat]": "🦇"\n', 4, "more than lower-case words"),
        (HEAD + 'groups: {"a": "dog"}\ncontexts:\n  "<a> bat": "🦇"\n', 4, "is no context"),
        (HEAD + 'groups: {"a": "dog"}\nnouns:\n  "<a> bat": "🦇"\n', 4, "is not lower-case words"),
        (HEAD + 'groups: {"a": "b c"}\ncontexts: {"<a> [x]": "🐕"}\nmute:\n  - "c [x]"\n', 5, "in line 3"),
        # muted phrases
        (HEAD + 'mute: "dog"\n', 2, "section 'mute' must hold `- phrase` lines"),
        (HEAD + 'mute:\n  "dog": "🐕"\n', 3, "section 'mute' must hold `- phrase` lines"),
        (HEAD + "mute:\n  - 2\n", 3, "a muted phrase is not a string"),
        (HEAD + 'mute:\n  - "dog"\n  - "dog"\n', 4, "'dog' stands in line 3 already"),
        (HEAD + 'nouns:\n  "dog": "🐕"\nmute:\n  - "dog"\n', 5, "'dog' has another emoji in line 3"),
        # canaries
        (HEAD + 'nouns:\n  "dog": "🐕"\ncanaries:\n  "a dog": "cat 🐈"\n', 5, "canary 'a dog' gives dog 🐕"),
        (HEAD + 'nouns:\n  "dog": "🐕"\ncanaries:\n  "a cat": "cat 🐈"\n', 5, "canary 'a cat' gives nothing"),
        (HEAD + 'nouns:\n  "dog": "🐕"\ncanaries:\n  "a dog": "dog"\n', 5, "a canary's value is"),
        (HEAD + 'nouns:\n  "dog": "🐕"\ncanaries:\n  "a dog": 2\n', 5, "is not a string"),
    ],
)
def test_errors_say_file_line_and_reason(
    tmp_path: Path, content: str | bytes, line: int | None, reason: str
) -> None:
    path = write(tmp_path, content)
    place = f"{path}:{line}: " if line else f"{path}: "
    with pytest.raises(MapFileError, match=f"^{re.escape(place)}.*{re.escape(reason)}"):
        load_map(path)


def test_canaries_are_kept(tmp_path: Path) -> None:
    canaries = 'canaries:\n  "a dog, a dog house": "dog 🐕"\n  "nothing": ""\n'
    content = f'{HEAD}nouns:\n  "dog": "🐕"\nmute:\n  - "dog house"\n{canaries}'.encode()
    assert parse_map(content, "somewhere") == EmojiMap(
        version="1",
        entries={"dog": "🐕", "dogs": "🐕", "dog house": "", "dog houses": ""},
        source="somewhere",
        sha256=hashlib.sha256(content).hexdigest(),
        nouns={"dog": "dog", "dogs": "dog"},
        canaries={"a dog, a dog house": (EmojiPair(emoji="🐕", word="dog"),), "nothing": ()},
    )


def test_what_is_no_mistake() -> None:
    said_twice = HEAD + 'nouns:\n  "wave": "🌊"\nverbs:\n  "wave": "🌊"\n'
    bare = HEAD + "nouns:\n  dog: 🐕\nmute: [hot day, 'a [hot dog] .']\n"
    assert parse_map(said_twice.encode(), "x").entries["waving"] == "🌊"
    assert parse_map(bare.encode(), "x").entries == {
        "dog": "🐕", "dogs": "🐕", "hot day": "", "hot days": "", "a [hot dog] .": ""
    }  # fmt: skip


def test_a_group_stands_for_its_words_except_where_a_line_above_says_otherwise() -> None:
    contexts = 'contexts:\n  "cat [bat]": "🐈"\n  "<animal> [bat]": "🦇"\n'
    muted = 'mute:\n  - "[bat] ... <animal>"\n  - "a [<animal>]"\n'
    content = HEAD + 'groups: {"animal": "dog cat"}\n' + contexts + muted
    assert parse_map(content.encode(), "x").entries == {
        "cat [bat]": "🐈", "dog [bat]": "🦇", "[bat] ... dog": "", "[bat] ... cat": "",
        "a [dog]": "", "a [cat]": "",
    }  # fmt: skip


def test_too_many_entries() -> None:
    many = HEAD + "exact:\n" + "".join(f'  "x{n}": "🐕"\n' for n in range(20_001))
    with pytest.raises(MapFileError, match=r"^x:20003: more than 20000 entries"):
        parse_map(many.encode(), "x")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(MapFileError, match=r"map\.yaml: cannot be read: No such file"):
        load_map(tmp_path / "map.yaml")
    with pytest.raises(MapFileError, match="cannot be read: Is a directory"):
        load_map(tmp_path)
