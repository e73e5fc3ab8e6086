"""What docs/emoji_map.md and its schema say is what the loader takes."""

import json
import re
from pathlib import Path

from services.emoji.map_file import parse_map
from services.emoji.map_reader import CANARIES, CONTEXTS, ENTRY_SECTIONS, GROUPS, MUTED, VERSION
from services.emoji.mapper import EmojiMapper

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs" / "emoji_map.schema.json").read_text(encoding="utf-8"))


def pattern(name: str) -> re.Pattern[str]:
    return re.compile(SCHEMA["$defs"][name]["pattern"])


def test_the_example_is_a_map_and_does_what_it_says() -> None:
    text = (ROOT / "docs" / "emoji_map.md").read_text(encoding="utf-8")
    example = text.split("```yaml\n")[1].split("```")[0]
    mapper = EmojiMapper(parse_map(example.encode(), "the example").entries)
    words = {pair.word for pair in mapper.map("leaves, shaking hands, an orange shirt, a couch potato, an orange")}
    assert words == {"leaves", "shaking_hands", "orange"}
    assert [pair.emoji for pair in mapper.map("a ball, a tennis player hits the ball")] == ["🎾"]
    assert [pair.emoji for pair in mapper.map("a cow is walking, a ball for the goalie")] == ["⚽"]


def test_the_schema_knows_the_sections_of_the_loader() -> None:
    assert set(SCHEMA["properties"]) == {VERSION, GROUPS, *ENTRY_SECTIONS, MUTED, CANARIES}


def test_the_schema_takes_the_bundled_map() -> None:
    content = (ROOT / "emoji_map.yaml").read_bytes()
    for key, emoji in parse_map(content, "the map").entries.items():
        assert pattern("context" if "[" in key else "phrase").search(key)
        assert not emoji or pattern("emoji").search(emoji)


def test_the_schema_marks_common_mistakes() -> None:
    for key in ("Dog", "hot-dog", "hot  dog", " dog", "dog.", "a [dog]", ""):
        assert not pattern("phrase").search(key)
    for key in ("tennis ... [ball]", "[ball] ... tennis", "<animal> is [walking]"):
        assert pattern("context").search(key)
    for key in ("dog", "a [Dog]", "a [dog", "a[dog]", "A [dog]"):
        assert not pattern("context").search(key)
    assert CONTEXTS in SCHEMA["properties"]
