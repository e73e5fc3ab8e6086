"""A map file (YAML) -> a checked, compiled `EmojiMap`.

    version: "2026-11-21"
    nouns:                # found in the singular and in the plural
      "hot dog": "🌭"
    verbs:                # found as juggle, juggles, juggling, juggled
      "juggle": "🤹"
    adjectives:           # found as they stand
      "sunny": "☀️"
    exact:                # likewise: forms of which no others are to be made
      "skiing": "⛷️"

Keys are lower case and belong in quotes, because YAML reads a bare no, on or 2 as something else.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from services.emoji.inflect import noun_forms, verb_forms
from services.emoji.words import clauses, is_stop_phrase

_VERSION = "version"
# Section -> the forms that are made of its keys. Where two keys make the same form, the earlier section wins.
_SECTIONS: dict[str, Callable[[str], list[str]]] = {
    "nouns": noun_forms,
    "verbs": verb_forms,
    "adjectives": lambda _: [],
    "exact": lambda _: [],
}
_MAX_DEPTH = 2  # the file, and a section in it
_STRING_TAG = "tag:yaml.org,2002:str"
_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader  # the same, ten times faster


class MapFileError(ValueError):
    """A map file that cannot be used; the message says file, line where there is one, and reason."""


@dataclass(frozen=True)
class EmojiMap:
    """A map as it is served. `entries`: every form that is found, inflections included -> its emoji."""

    version: str
    entries: Mapping[str, str]
    source: str  # where it was read
    sha256: str  # of the file's bytes, hexadecimal


@dataclass(frozen=True)
class _Written:
    """One entry as its author wrote it."""

    phrase: str
    emoji: str
    section: str
    line: int


def load_map(path: Path) -> EmojiMap:
    """Read, check and compile a map file. Raises `MapFileError`."""
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise MapFileError(f"{path}: cannot be read: {exc.strerror}") from exc
    version, written = _MapReader(path).read(content)
    return EmojiMap(
        version=version,
        entries=_compile(written),
        source=str(path),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _compile(written: list[_Written]) -> dict[str, str]:
    """Add the inflected forms; a form that somebody wrote himself is never replaced by a made one."""
    entries = {entry.phrase: entry.emoji for entry in written}
    for section, forms_of in _SECTIONS.items():
        for entry in written:
            if entry.section == section:
                for form in forms_of(entry.phrase):
                    entries.setdefault(form, entry.emoji)
    return entries


class _MapReader:
    """Reads the YAML by its nodes, which know their lines; plain loading would forget duplicate keys."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: list[_Written] = []
        self._first: dict[str, _Written] = {}  # by phrase: "swing" may be both a noun and a verb

    def read(self, content: bytes) -> tuple[str, list[_Written]]:
        version = ""
        for key, value in self._items(self._compose(content), "the file"):
            if key.value == _VERSION:
                version = self._text(value, "the version")
            elif key.value in _SECTIONS:
                self._read_section(key.value, value)
            else:
                allowed = ", ".join([_VERSION, *_SECTIONS])
                raise self._error(key, f"unknown section {key.value!r}; there may be: {allowed}")
        if not version:
            raise self._error(None, 'there is no version; write one, for example version: "1"')
        if not self._written:
            raise self._error(None, "there are no entries")
        return version, self._written

    def _compose(self, content: bytes) -> yaml.Node | None:
        try:
            text = content.decode("utf-8")
            self._check_depth(text)
            root: yaml.Node | None = yaml.compose(text, Loader=_LOADER)
        except UnicodeDecodeError as exc:
            raise self._error(None, "not UTF-8 text") from exc
        except yaml.MarkedYAMLError as exc:
            line = f":{exc.problem_mark.line + 1}" if exc.problem_mark else ""
            raise MapFileError(f"{self._path}{line}: not YAML: {exc.problem}") from exc
        except yaml.YAMLError as exc:
            raise self._error(None, f"not YAML: {' '.join(str(exc).split())}") from exc
        return root

    def _check_depth(self, text: str) -> None:
        """Refuse what composing would recurse into: the C parser overflows its stack on deep nesting."""
        depth = 0
        for event in yaml.parse(text, Loader=_LOADER):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:
                raise self._error(event, "a list or mapping where a key or value belongs")

    def _read_section(self, section: str, node: yaml.Node) -> None:
        for key, value in self._items(node, f"section {section!r}"):
            phrase = key.value
            words = clauses(phrase)
            if words != [phrase.split(" ")]:
                normal = " ".join(word for clause in words for word in clause)
                hint = f"; write {normal!r}" if normal else ""
                raise self._error(key, f"key {phrase!r} is not lower-case words with one space between{hint}")
            if is_stop_phrase(words[0]):
                raise self._error(key, f"key {phrase!r} is a stop word, which never maps")
            emoji = self._text(value, f"the value of {phrase!r}")
            entry = _Written(phrase, emoji, section, _line(key))
            first = self._first.setdefault(phrase, entry)
            if first.emoji != emoji:
                raise self._error(key, f"key {phrase!r} has another emoji in line {first.line}")
            self._written.append(entry)

    def _items(self, node: yaml.Node | None, what: str) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
        """The pairs of a mapping, each key a string that was not there before."""
        if not isinstance(node, yaml.MappingNode):
            raise self._error(node, f"{what} must hold `key: value` lines")
        lines: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag != _STRING_TAG:
                shown = f" {key.value}" if isinstance(key, yaml.ScalarNode) else ""
                raise self._error(key, f"key{shown} is not a string; put it in quotes")
            if key.value in lines:
                raise self._error(key, f"key {key.value!r} stands in line {lines[key.value]} already")
            lines[key.value] = _line(key)
            yield key, value

    def _text(self, node: yaml.Node, what: str) -> str:
        text = str(node.value).strip() if isinstance(node, yaml.ScalarNode) else None
        if text == "":
            raise self._error(node, f"{what} is empty")
        if text is None or node.tag != _STRING_TAG:
            raise self._error(node, f"{what} is not a string; put it in quotes")
        return text

    def _error(self, where: yaml.Node | yaml.Event | None, reason: str) -> MapFileError:
        line = f":{_line(where)}" if where is not None else ""
        return MapFileError(f"{self._path}{line}: {reason}")


def _line(where: yaml.Node | yaml.Event) -> int:
    return where.start_mark.line + 1 if where.start_mark else 1
