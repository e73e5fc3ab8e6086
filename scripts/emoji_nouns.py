"""Which words of captions are frequent, and what the emoji map gives for them.

    python -m scripts.emoji_nouns CAPTIONS            the table of docs/emoji_map_nouns.md
    python -m scripts.emoji_nouns CAPTIONS --all 900  the 900 most frequent words, to judge which are nouns

CAPTIONS is a text file with one caption a line. A plural counts as its singular. The words that the page lists
below its table are passed over: that they have no fitting emoji, or are no nouns, people judged, no program.
"""

import argparse
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from services.emoji.inflect import noun_forms
from services.emoji.map_file import load_map
from services.emoji.mapper import EmojiMapper
from services.emoji.words import STOP_WORDS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "emoji_map_nouns.md"
MAP = ROOT / "emoji_map.yaml"
NOUNS = 400  # in the table


@dataclass
class Word:
    """One word of the captions, its plural included."""

    noun: str
    count: int = 0
    emojis: Counter[str] = field(default_factory=Counter)  # given for it, or for a phrase that holds it

    @property
    def emoji(self) -> str:
        """The one given most often; "" where none ever is."""
        return max(self.emojis, key=lambda emoji: (self.emojis[emoji], emoji), default="")


def count_words(captions: Iterable[str], mapper: EmojiMapper) -> list[Word]:
    """All content words, the most frequent first, those of equal frequency by the alphabet."""
    found: dict[str, Word] = {}
    for caption in captions:
        for segment in mapper.segments(caption):
            for text in segment.words:
                if text in STOP_WORDS or not text.isalpha():
                    continue
                word = found.setdefault(text, Word(text))
                word.count += 1
                if segment.emoji:
                    word.emojis[segment.emoji] += 1
    for singular in sorted(found):
        for plural in noun_forms(singular):
            # a mistyped "bu" is not the singular of "bus"
            if singular in found and plural in found and found[singular].count > 0.01 * found[plural].count:
                _join(found, singular, plural)
    return sorted(found.values(), key=lambda word: (-word.count, word.noun))


def _join(found: dict[str, Word], singular: str, plural: str) -> None:
    """Make one word of two, under the name that is more frequent."""
    one, many = found.pop(singular), found.pop(plural)
    noun = one.noun if one.count >= many.count or not many.noun.endswith("s") else plural
    found[noun] = Word(noun, one.count + many.count, one.emojis + many.emojis)


def passed_over(page: str) -> set[str]:
    """The words that the page lists, between lines of ```, as not being in its table."""
    return {word for block in re.findall(r"```\n(.*?)```", page, re.DOTALL) for word in block.split()}


def table(words: Iterable[Word]) -> list[str]:
    """Lines of Markdown. Of a word's occurrences, "given" are those that got an emoji, in per cent."""
    lines = ["| noun | times | emoji | given |", "|---|---|---|---|"]
    for word in words:
        share = 100 * sum(word.emojis.values()) / word.count
        lines.append(f"| {word.noun} | {word.count} | {word.emoji or 'none'} | {share:.0f} % |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captions", type=Path)
    parser.add_argument("--all", type=int, metavar="N", help="show the N most frequent words instead")
    arguments = parser.parse_args()
    captions = arguments.captions.read_text(encoding="utf-8").splitlines()
    words = count_words(captions, load_map(MAP).mapper)
    if arguments.all:
        words = words[: arguments.all]
    else:
        judged = passed_over(PAGE.read_text(encoding="utf-8"))
        words = [word for word in words if word.noun not in judged][:NOUNS]
    print("\n".join(table(words)))


if __name__ == "__main__":
    main()
