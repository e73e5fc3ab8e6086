"""The content of a map file -> its checked entries. Every error names the file, the line and the reason."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from services.emoji.emojis import what_is_wrong
from services.emoji.map_yaml import Group, Scalar, YamlError, read_sections
from services.emoji.mapper import EDGE, GAP, MUTE, EmojiPair, split_context
from services.emoji.words import clauses, is_stop_phrase

MAX_BYTES = 2 * 1024 * 1024  # our own map has 150 kB
_MAX_ENTRIES = 20_000
_MAX_CANARIES = 1_000
_MAX_CHARACTERS = {"key": 80, "value": 40, "version": 64, "caption": 400, "group": 4000}

VERSION, GROUPS, CONTEXTS, MUTED, CANARIES = "version", "groups", "contexts", "mute", "canaries"
ENTRY_SECTIONS = ("nouns", "verbs", "adjectives", "exact", CONTEXTS)
_ALLOWED = (VERSION, GROUPS, *ENTRY_SECTIONS, MUTED, CANARIES)
_GROUP = re.compile(r"<([^<>\[\]]*)>")  # in a context: one of the words of a group

T = TypeVar("T")


class MapFileError(ValueError):
    """A map file that cannot be used; the message says file, line where there is one, and reason."""


class Entry(NamedTuple):
    """One entry as its author wrote it; the emoji of a muted phrase is MUTE."""

    phrase: str
    emoji: str
    section: str
    line: int


class Canary(NamedTuple):
    """A caption, and the pairs that the map must give for it."""

    caption: str
    pairs: tuple[EmojiPair, ...]
    line: int


@dataclass
class WrittenMap:
    """What a map file says, in its order."""

    version: str = ""
    entries: list[Entry] = field(default_factory=list)
    canaries: list[Canary] = field(default_factory=list)


class MapReader:
    """Reads one file. `source` is its name in errors."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._written = WrittenMap()
        self._first: dict[str, Entry] = {}  # by phrase: "swing" may be both a noun and a verb
        self._groups: dict[str, list[str]] = {}  # name -> words

    def read(self, content: bytes) -> WrittenMap:
        """Raises `MapFileError`."""
        if len(content) > MAX_BYTES:
            raise self.error(0, f"larger than {MAX_BYTES} bytes")
        try:
            for name, value in self._unique(read_sections(content)):
                self._read_section(name, value)
        except YamlError as exc:
            raise self.error(exc.line, str(exc)) from exc
        if not self._written.version:
            raise self.error(0, 'there is no version; write one, for example version: "1"')
        if not self._written.entries:
            raise self.error(0, "there are no entries")
        return self._written

    def error(self, line: int, reason: str) -> MapFileError:
        """The error to raise; line 0 is none in particular."""
        return MapFileError(f"{self._source}:{line}: {reason}" if line else f"{self._source}: {reason}")

    def _read_section(self, name: Scalar, value: Scalar | Group) -> None:
        if name.value == VERSION:
            self._written.version = self._text(value, "the version", "version")
        elif name.value == GROUPS:
            self._read_groups(value)
        elif name.value == MUTED:
            self._read_muted(value)
        elif name.value == CANARIES:
            self._read_canaries(value)
        elif name.value in ENTRY_SECTIONS:
            for key, emoji in self._pairs(name.value, value):
                self._read_entry(key, emoji, name.value)
        else:
            raise self.error(name.line, f"unknown section {name.value!r}; there may be: {', '.join(_ALLOWED)}")

    def _read_groups(self, value: Scalar | Group) -> None:
        for name, words in self._pairs(GROUPS, value):
            found = self._text(words, f"the value of {name.value!r}", "group").split(" ")
            if wrong := [word for word in found if clauses(word) != [[word]]]:
                raise self.error(words.line, f"group {name.value!r} holds {wrong[0]!r}, not one lower-case word")
            self._groups[name.value] = found

    def _read_entry(self, key: Scalar, value: Scalar, section: str) -> None:
        emoji = self._text(value, f"the value of {key.value!r}", "value")
        if wrong := what_is_wrong(emoji):
            raise self.error(value.line, f"the value of {key.value!r}, {emoji!r}, {wrong}")
        self._add(key, emoji, section)

    def _read_muted(self, value: Scalar | Group) -> None:
        if not isinstance(value, Group) or value.is_mapping:
            raise self.error(value.line, f"section {MUTED!r} must hold `- phrase` lines")
        for phrase in value.scalars:
            self._text(phrase, "a muted phrase", "key")
            self._add(phrase, MUTE, MUTED)

    def _add(self, key: Scalar, emoji: str, section: str) -> None:
        group = _GROUP.search(key.value) if section in (CONTEXTS, MUTED) else None
        if not group:
            self._check_phrase(key, section)
            self._append(key, Entry(key.value, emoji, section, key.line))
            return
        if group[1] not in self._groups:
            raise self.error(key.line, f"there is no group {group[1]!r} above; write it in section {GROUPS!r}")
        before, after = key.value[: group.start()], key.value[group.end() :]
        words = self._groups[group[1]]
        self._check_phrase(key._replace(value=f"{before}{words[0]}{after}"), CONTEXTS)
        for phrase in [f"{before}{word}{after}" for word in words]:
            if phrase not in self._first:  # what stands above is an exception
                self._append(key, Entry(phrase, emoji, section, key.line))

    def _append(self, key: Scalar, entry: Entry) -> None:
        first = self._first.setdefault(entry.phrase, entry)
        if first.emoji != entry.emoji:
            raise self.error(key.line, f"key {entry.phrase!r} has another emoji in line {first.line}")
        if entry.section == MUTED and first is not entry:
            raise self.error(key.line, f"key {entry.phrase!r} stands in line {first.line} already")
        self._written.entries.append(entry)
        if len(self._written.entries) > _MAX_ENTRIES:
            raise self.error(key.line, f"more than {_MAX_ENTRIES} entries")

    def _check_phrase(self, key: Scalar, section: str) -> None:
        self._check_length(key, "key")
        phrase = key.value
        if section == CONTEXTS or (section == MUTED and "[" in phrase):
            phrase = self._check_context(key)
        words = clauses(phrase)
        if words != [phrase.split(" ")]:
            normal = " ".join(word for clause in words for word in clause)
            hint = f"; write {normal!r}" if normal and phrase is key.value else ""
            raise self.error(key.line, f"key {key.value!r} is not lower-case words with one space between{hint}")
        if is_stop_phrase(words[0]):
            raise self.error(key.line, f"key {phrase!r} is a stop word, which never maps")

    def _check_context(self, key: Scalar) -> str:
        """The part in brackets of a context whose other words are in order."""
        before, phrase, after = split_context(key.value)
        if key.value != " ".join([*before, f"[{phrase}]", *after]) or not before + after:
            raise self.error(key.line, f'{key.value!r} is no context; write one like "wearing a [watch]"')
        if GAP in before + after:
            if len(before + after) != 2 or before[1:] + after[:-1] != [GAP]:
                raise self.error(key.line, f'{key.value!r} is no clue; write one like "tennis ... [ball]"')
            before, after = before[:1], after[1:]
        around = [*before[before[:1] == [EDGE] :], *after[: len(after) - (after[-1:] == [EDGE])]]
        if any(clauses(word) != [[word]] for word in around):
            raise self.error(key.line, f"{key.value!r} holds more than lower-case words around the brackets")
        return phrase

    def _read_canaries(self, value: Scalar | Group) -> None:
        for key, expected in self._pairs(CANARIES, value):
            self._check_length(key, "caption")
            said = self._string(expected, f"the value of {key.value!r}", "caption").split()
            if len(said) % 2:
                raise self.error(expected.line, 'a canary\'s value is "word emoji word emoji ...", "" for nothing')
            pairs = tuple(EmojiPair(emoji=e, word=w) for w, e in zip(said[::2], said[1::2], strict=True))
            self._written.canaries.append(Canary(key.value, pairs, key.line))
            if len(self._written.canaries) > _MAX_CANARIES:
                raise self.error(key.line, f"more than {_MAX_CANARIES} canaries")

    def _pairs(self, section: str, value: Scalar | Group) -> Iterator[tuple[Scalar, Scalar]]:
        if not isinstance(value, Group) or not value.is_mapping:
            raise self.error(value.line, f"section {section!r} must hold `key: value` lines")
        scalars = value.scalars
        yield from self._unique(zip(scalars[::2], scalars[1::2], strict=True))

    def _unique(self, pairs: Iterator[tuple[Scalar, T]]) -> Iterator[tuple[Scalar, T]]:
        """The same pairs, each key a string that was not there before."""
        lines: dict[str, int] = {}
        for key, value in pairs:
            if not key.is_string:
                raise self.error(key.line, f"key {key.value} is not a string; put it in quotes")
            if key.value in lines:
                raise self.error(key.line, f"key {key.value!r} stands in line {lines[key.value]} already")
            lines[key.value] = key.line
            yield key, value

    def _text(self, value: Scalar | Group, what: str, kind: str) -> str:
        text = self._string(value, what, kind).strip()
        if not text:
            raise self.error(value.line, f"{what} is empty")
        return text

    def _string(self, value: Scalar | Group, what: str, kind: str) -> str:
        if isinstance(value, Group):
            raise self.error(value.line, f"{what} is not a string")
        if not value.is_string:
            reason = "is not a string; put it in quotes" if value.value else "is empty"
            raise self.error(value.line, f"{what} {reason}")
        self._check_length(value, kind)
        return value.value

    def _check_length(self, text: Scalar, kind: str) -> None:
        if len(text.value) > _MAX_CHARACTERS[kind]:
            raise self.error(text.line, f"a {kind} of more than {_MAX_CHARACTERS[kind]} characters")
