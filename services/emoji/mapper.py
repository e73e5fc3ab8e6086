"""A caption and a map give pairs of emoji and word. Pure: no files, no network, no state."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.emoji.words import clauses, is_stop_phrase


@dataclass(frozen=True)
class EmojiPair:
    """One row of a caption's mapping: `word` as it stands in the caption, lower case, joined by `_`."""

    emoji: str
    word: str


class EmojiMapper:
    """Finds the map's words and phrases in captions, the longest phrase first. Safe to share by threads.

    `entries` holds every form that is to be found -> its emoji, as `EmojiMap.entries` does: lower case,
    words joined by one space, inflected forms included. Function words map to nothing, whatever it says.
    """

    def __init__(self, entries: Mapping[str, str]) -> None:
        self._emojis: dict[str, str] = {}
        self._longest_from: dict[str, int] = {}  # first word -> words in the longest phrase it begins
        for phrase, emoji in entries.items():
            words = phrase.split()
            if is_stop_phrase(words):
                continue
            self._emojis[phrase] = emoji
            self._longest_from[words[0]] = max(len(words), self._longest_from.get(words[0], 0))

    def map(self, caption: str) -> list[EmojiPair]:
        """The pairs of a caption: one for each distinct word, in order of first appearance; never raises."""
        found: dict[str, str] = {}
        for words in clauses(caption):
            start = 0
            while start < len(words):
                phrase = self._longest_phrase(words, start)
                if phrase:
                    found.setdefault(phrase.replace(" ", "_"), self._emojis[phrase])
                start += 1 + phrase.count(" ")
        return [EmojiPair(emoji=emoji, word=word) for word, emoji in found.items()]

    def _longest_phrase(self, words: list[str], start: int) -> str:
        """The longest phrase of the map that begins at `start`; "" when there is none."""
        for length in range(self._longest_from.get(words[start], 0), 0, -1):
            phrase = " ".join(words[start : start + length])
            if phrase in self._emojis:
                return phrase
        return ""
