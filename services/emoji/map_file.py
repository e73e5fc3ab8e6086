"""A map file (YAML) -> a checked, compiled `EmojiMap`. docs/emoji_map.md tells authors how to write one."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from services.emoji.inflect import noun_forms, verb_forms
from services.emoji.map_reader import MAX_BYTES, Entry, MapFileError, MapReader
from services.emoji.mapper import EmojiMapper, EmojiPair

__all__ = ["EmojiMap", "MapFileError", "load_map", "parse_map"]

# Section -> the forms that are made of its keys. Where two keys make the same form, the earlier section wins.
_FORMS: dict[str, Callable[[str], list[str]]] = {
    "nouns": noun_forms,
    "verbs": verb_forms,
    "mute": noun_forms,
}


@dataclass(frozen=True)
class EmojiMap:
    """A map as it is served. `entries`: every form that is found, inflections included -> its emoji, or "" where
    the form is to yield nothing; `EmojiMapper` reads them."""

    version: str
    entries: Mapping[str, str]
    source: str  # where it was read
    sha256: str  # of the file's bytes, hexadecimal
    nouns: Mapping[str, str] = field(default_factory=dict)  # each form of a noun -> the noun as it is written
    canaries: Mapping[str, tuple[EmojiPair, ...]] = field(default_factory=dict)  # caption -> all of its pairs

    @cached_property
    def mapper(self) -> EmojiMapper:
        """Its mapper, made once: that takes as long as a thousand captions."""
        return EmojiMapper(self.entries)


def load_map(path: Path) -> EmojiMap:
    """Read, check and compile a map file. Raises `MapFileError`."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise MapFileError(f"{path}: cannot be read: {exc.strerror}") from exc
    return parse_map(content, str(path))


def parse_map(content: bytes, source: str) -> EmojiMap:
    """Check and compile the bytes of a map file, and try its canaries. `source` says where they come from, in
    errors and in the map. Raises `MapFileError`."""
    reader = MapReader(source)
    written = reader.read(content)
    forms = all_forms(written.entries)
    entries = {form: entry.emoji for form, entry in forms.items()}
    emoji_map = EmojiMap(
        version=written.version,
        entries=entries,
        source=source,
        sha256=hashlib.sha256(content).hexdigest(),
        nouns={form: entry.phrase for form, entry in forms.items() if entry.section == "nouns"},
        canaries={canary.caption: canary.pairs for canary in written.canaries},
    )
    for canary in written.canaries:
        pairs = tuple(emoji_map.mapper.map(canary.caption))
        if pairs != canary.pairs:
            said = " ".join(f"{pair.word} {pair.emoji}" for pair in pairs) or "nothing"
            raise reader.error(canary.line, f"canary {canary.caption!r} gives {said}")
    return emoji_map


def all_forms(written: list[Entry]) -> dict[str, Entry]:
    """Every form that is found -> the entry it comes from. A form that was written is not replaced."""
    forms = {entry.phrase: entry for entry in written}
    for section, forms_of in _FORMS.items():
        for entry in written:
            if entry.section == section and "[" not in entry.phrase:
                for form in forms_of(entry.phrase):
                    forms.setdefault(form, entry)
    return forms
