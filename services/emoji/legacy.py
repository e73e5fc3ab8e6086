"""The layout of the old service, two files in one folder -> an `EmojiMap`.

    emoji_mappings.json    {"dog": "🐶", "hot_dog": "🌭", …}: words, and phrases joined by `_`
    mwe.txt                the phrases that are looked for, one a line, joined by `_`

Such maps grew by hand for years, so a bad entry costs itself and not the map. A phrase of mwe.txt without an emoji
does nothing: the old service swallowed its words. Plurals are made as for the nouns of a map of ours.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from services.emoji.emojis import all_emojis
from services.emoji.inflect import noun_forms
from services.emoji.map_file import EmojiMap, MapFileError
from services.emoji.map_reader import MAX_BYTES
from services.emoji.words import clauses, is_stop_phrase

MAPPINGS, PHRASES = "emoji_mappings.json", "mwe.txt"
_MAX_KEY_CHARACTERS = 80
_SELECTOR = "\ufe0f"  # "draw the character before as a picture"; often lost or added by hand

logger = logging.getLogger(__name__)


def load_legacy(path: Path) -> EmojiMap:
    """The map of an emoji_mappings.json and, where there is one, the mwe.txt beside it. Raises MapFileError."""
    phrases = path.with_name(PHRASES)
    try:
        return parse_legacy(_read(path), _read(phrases) if phrases.exists() else None, str(path))
    except OSError as exc:
        raise MapFileError(f"{exc.filename}: cannot be read: {exc.strerror}") from exc


def parse_legacy(mappings: bytes, phrases: bytes | None, source: str) -> EmojiMap:
    """Check and compile the two files; without `phrases` every phrase of `mappings` is looked for.

    Bad entries are left out, with one warning that counts them. The map has no version of its own: it is named by
    the sha256 of both files, one after the other. Raises MapFileError when there is nothing to be used.
    """
    known = None if phrases is None else _known_phrases(phrases, source)
    entries: dict[str, str] = {}
    left_out: Counter[str] = Counter()
    written = _written(mappings, source)
    for key, value in written.items():
        emoji, phrase = _qualified(value), _normal(key)
        if not emoji:
            left_out["not exactly one emoji"] += 1
        elif not phrase:
            left_out["not words that may map"] += 1
        elif known is not None and _is_phrase(key) and _as_listed(key) not in known:
            left_out[f"phrases that are not in {PHRASES}"] += 1
        else:
            entries[phrase] = emoji  # of two spellings the last counts, as of two equal keys in JSON
    if left_out:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in left_out.items())
        logger.warning("%s: %d of %d entries left out (%s)", source, left_out.total(), len(written), reasons)
    if not entries:
        raise MapFileError(f"{source}: none of its {len(written)} entries can be used")
    sha256 = hashlib.sha256(mappings + (phrases or b"")).hexdigest()
    nouns = _nouns(entries)
    return EmojiMap(
        version=f"sha256-{sha256[:12]}",
        entries={form: entries[noun] for form, noun in nouns.items()},
        source=source,
        sha256=sha256,
        nouns=nouns,
    )


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _text(content: bytes, source: str) -> str:
    if len(content) > MAX_BYTES:
        raise MapFileError(f"{source}: larger than {MAX_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise MapFileError(f"{source}: not UTF-8 text") from exc


def _written(mappings: bytes, source: str) -> dict[str, object]:
    try:
        written = json.loads(_text(mappings, source))
    except json.JSONDecodeError as exc:
        raise MapFileError(f"{source}:{exc.lineno}: not JSON: {exc.msg}") from exc
    except (ValueError, RecursionError) as exc:  # a number of thousands of digits; lists in lists without end
        if isinstance(exc, MapFileError):
            raise
        raise MapFileError(f"{source}: not JSON that can be read: {exc}") from exc
    if not isinstance(written, dict):
        raise MapFileError(f'{source}: must hold {{"word": "emoji", …}}')
    return written


def _known_phrases(phrases: bytes, source: str) -> frozenset[str]:
    return frozenset(_as_listed(line) for line in _text(phrases, f"{source}: {PHRASES}").splitlines())


def _as_listed(phrase: str) -> str:
    return phrase.strip().lower().replace("_", " ")


def _is_phrase(key: str) -> bool:
    return " " in _as_listed(key)  # a word with a hyphen (t-shirt) never was one


def _normal(key: str) -> str:
    """The key as captions are read; "" when it is not plain words, or only words that never map."""
    words = clauses(key) if len(key) <= _MAX_KEY_CHARACTERS else []
    return " ".join(words[0]) if len(words) == 1 and not is_stop_phrase(words[0]) else ""


def _qualified(value: object) -> str:
    """The emoji as Unicode writes it in full; "" when it is not exactly one."""
    text = value.strip() if isinstance(value, str) else ""
    spellings = (text, text + _SELECTOR, text.replace(_SELECTOR, ""))
    return next((spelling for spelling in spellings if spelling in all_emojis()), "")


def _nouns(phrases: Iterable[str]) -> dict[str, str]:
    """Each phrase and its plurals -> the phrase: for want of better knowledge all are nouns."""
    nouns = {phrase: phrase for phrase in phrases}
    for phrase in list(nouns):
        for form in noun_forms(phrase):
            nouns.setdefault(form, phrase)
    return nouns
