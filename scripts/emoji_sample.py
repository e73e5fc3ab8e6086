"""Mappings drawn at random, to be judged one by one.

    python -m scripts.emoji_sample CAPTIONS --seed 7 [--rows 200]

It prints a table as in docs/emoji_map_sample.md, its verdicts still empty. CAPTIONS is a text file with one
caption a line. The same captions, map and seed draw the same rows.
"""

import argparse
import random
from collections.abc import Iterable
from pathlib import Path

from services.emoji.map_file import load_map
from services.emoji.mapper import EmojiMapper, EmojiPair

MAP = Path(__file__).parents[1] / "emoji_map.yaml"

Mapping = tuple[str, EmojiPair]  # a caption and one of its pairs


def all_mappings(captions: Iterable[str], mapper: EmojiMapper) -> list[Mapping]:
    return [(caption, pair) for caption in captions for pair in mapper.map(caption)]


def table(mappings: Iterable[Mapping]) -> list[str]:
    """Lines of Markdown."""
    lines = ["| word | emoji | caption | verdict |", "|---|---|---|---|"]
    for caption, pair in mappings:
        lines.append(f"| {pair.word} | {pair.emoji} | {' '.join(caption.replace('|', ' ').split())} | |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captions", type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--rows", type=int, default=200)
    arguments = parser.parse_args()
    captions = arguments.captions.read_text(encoding="utf-8").splitlines()
    mappings = all_mappings(captions, load_map(MAP).mapper)
    print("\n".join(table(random.Random(arguments.seed).sample(mappings, arguments.rows))))
    print(f"\n{arguments.rows} of {len(mappings)} mappings")


if __name__ == "__main__":
    main()
