"""A caption and a map give pairs of emoji and word. Pure: no files, no network, no state."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.emoji.words import clauses, is_stop_phrase

MUTE = ""  # instead of an emoji: the phrase yields nothing, and none of its words does
EDGE = "."  # in a context: the beginning or the end of a clause, where no word is
GAP = "..."  # in a context: any words, or none
REACH = 40  # how many words away a clue may stand: more than captions have, so that long texts take no long time


@dataclass(frozen=True)
class EmojiPair:
    """One row of a caption's mapping: `word` as it stands in the caption, lower case, joined by `_`."""

    emoji: str
    word: str


@dataclass(frozen=True)
class Segment:
    """What the mapper made of some neighbouring words of a caption."""

    words: tuple[str, ...]
    key: str  # the entry that decided; "" where there is none, and then `words` is one word
    emoji: str  # "" where nothing is given


def split_context(key: str) -> tuple[list[str], str, list[str]]:
    """
    >>> split_context("pour [hot water] on")
    (['pour'], 'hot water', ['on'])
    """
    before, _, rest = key.partition("[")
    phrase, _, after = rest.partition("]")
    return before.split(), phrase, after.split()


class EmojiMapper:
    """Finds the map's words and phrases in captions, the longest phrase first. Safe to share by threads.

    `entries` holds every form that is to be found -> its emoji, as `EmojiMap.entries` does: lower case, words
    joined by one space, inflected forms included. A form with a part in brackets ("a [watch]") is a context: that
    part maps where the other words stand around it, which stay free for other entries; the context of most words
    wins, and any context over the bare word. "tennis ... [ball]" and "[ball] ... tennis" are clues: one word
    before, or after, up to REACH words away in the same clause; they come after the contexts, the first of them in
    `entries` first. MUTE as an emoji yields nothing. Function words map to nothing, whatever `entries` says.
    """

    def __init__(self, entries: Mapping[str, str]) -> None:
        self._emojis: dict[str, str] = {}
        # first word -> second word -> words in the longest phrase that begins so
        self._longest_from: dict[str, dict[str, int]] = {}
        # phrase in brackets -> its clues before and after it: word -> (rank, key)
        self._clues: dict[str, tuple[dict[str, tuple[int, str]], dict[str, tuple[int, str]]]] = {}
        shapes: dict[str, set[tuple[int, int]]] = {}
        for key, emoji in entries.items():
            # as split_context does, at half of its time: there are thousands
            before, bracket, rest = key.partition("[")
            phrase, _, after = rest.partition("]") if bracket else (key, "", "")
            if phrase not in shapes:
                words = phrase.split()
                if is_stop_phrase(words):
                    continue
                shapes[phrase] = set()
                longest = self._longest_from.setdefault(words[0], {})
                if len(words) > 1:
                    longest[words[1]] = max(len(words), longest.get(words[1], 0))
            self._emojis[key] = emoji
            if not bracket:
                continue
            if GAP in key:
                clues = self._clues.setdefault(phrase, ({}, {}))
                word = (before or after).replace(GAP, "").strip()
                clues[0 if before else 1][word] = (len(clues[0]) + len(clues[1]), key)
            else:
                shapes[phrase].add((before.count(" "), after.count(" ")))
        # phrase in brackets -> how many words its contexts have before and after it, the most words first
        self._shapes = {
            phrase: sorted(found, key=lambda shape: (-sum(shape), -shape[0]))
            for phrase, found in shapes.items()
            if found or phrase in self._clues
        }

    def map(self, caption: str) -> list[EmojiPair]:
        """The pairs of a caption: one for each distinct word, in order of first appearance; never raises."""
        found: dict[str, str] = {}
        for clause in clauses(caption):
            words = [EDGE, *clause, EDGE]
            for start, end, _, emoji in self._matches(words):
                if emoji != MUTE:
                    found.setdefault("_".join(words[start:end]), emoji)
        return [EmojiPair(emoji=emoji, word=word) for word, emoji in found.items()]

    def segments(self, caption: str) -> list[Segment]:
        """All words of a caption in order, mapped or not, with the entries that decided."""
        segments = []
        for clause in clauses(caption):
            words, after = [EDGE, *clause, EDGE], 1
            for start, end, key, emoji in self._matches(words):
                segments += [Segment((word,), "", "") for word in words[after:start]]
                segments.append(Segment(tuple(words[start:end]), key, emoji))
                after = end
            segments += [Segment((word,), "", "") for word in words[after:-1]]
        return segments

    def _matches(self, words: list[str]) -> list[tuple[int, int, str, str]]:
        """(start, end, key, emoji) of all that a clause matches, in order; `words` has an EDGE at both ends."""
        matches, start, stop = [], 1, len(words) - 1
        while start < stop:
            after = start + 1
            longest = self._longest_from.get(words[start])
            if longest is None:
                start = after
                continue
            for end in range(min(start + longest.get(words[after], 1), stop), start, -1):
                phrase = " ".join(words[start:end])
                key = self._context_key(phrase, words, start, end) if phrase in self._shapes else phrase
                emoji = self._emojis.get(key)
                if emoji is not None:
                    matches.append((start, end, key, emoji))
                    after = end
                    break
            start = after
        return matches

    def _context_key(self, phrase: str, words: list[str], start: int, end: int) -> str:
        """The key of the first context that words[start:end] stands in, else of the first clue; else `phrase`."""
        for before, after in self._shapes[phrase]:
            if before <= start and end + after <= len(words):
                key = " ".join((*words[start - before : start], f"[{phrase}]", *words[end : end + after]))
                if key in self._emojis:
                    return key
        if phrase not in self._clues:
            return phrase
        clues_before, clues_after = self._clues[phrase]
        found = [clues_before[word] for word in words[max(0, start - REACH) : start] if word in clues_before]
        found += [clues_after[word] for word in words[end : end + REACH] if word in clues_after]
        return min(found)[1] if found else phrase
