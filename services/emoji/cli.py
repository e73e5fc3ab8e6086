"""The emoji map at the command line, for people who write one.

    python -m services.emoji                      captions on stdin, one a line -> one JSON list a line
    python -m services.emoji check FILE           is this a map that the service would take?
    python -m services.emoji explain "CAPTION"    why each of its words maps, or does not

The first and the last take --map FILE; without it they use the map that comes with the service.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from services.emoji.map_file import MapFileError, all_forms, load_map
from services.emoji.map_reader import Entry, MapReader
from services.emoji.mapper import MUTE, Segment
from services.emoji.words import STOP_WORDS

BUNDLED_MAP = Path(__file__).parents[2] / "emoji_map.yaml"


def main(arguments: list[str]) -> int:
    """The exit status: 0; 1 for a map that cannot be used, with the reason on stderr; 2 for wrong arguments."""
    options = _parser().parse_args(arguments)
    for stream in (sys.stdin, sys.stdout, sys.stderr):  # whatever the locale says
        stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    try:
        if options.command == "check":
            print(_check(options.file))
        elif options.command == "explain":
            for line in _explain(options.map, options.caption):
                print(line)
        else:
            _map_lines(options.map, sys.stdin, sys.stdout)
    except MapFileError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader has seen enough: `... | head`
        sys.stderr.close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m services.emoji", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--map", type=Path, default=BUNDLED_MAP, metavar="FILE", help="another map")
    commands = parser.add_subparsers(dest="command", metavar="check | explain")
    check = commands.add_parser("check", help="check a map file")
    check.add_argument("file", type=Path)
    explain = commands.add_parser("explain", help="why each word of a caption maps, or does not")
    explain.add_argument("caption")
    explain.add_argument("--map", type=Path, default=argparse.SUPPRESS, metavar="FILE", help="another map")
    return parser


def _map_lines(path: Path, captions: TextIO, answers: TextIO) -> None:
    mapper = load_map(path).mapper
    for caption in captions:
        rows = [{"emoji": pair.emoji, "word": pair.word} for pair in mapper.map(caption)]
        print(json.dumps(rows, ensure_ascii=False), file=answers, flush=True)


def _check(path: Path) -> str:
    loaded = load_map(path)
    return f"{path}: good: version {loaded.version}, {len(loaded.entries)} forms, {len(loaded.canaries)} canaries"


def _explain(path: Path, caption: str) -> Iterator[str]:
    mapper = load_map(path).mapper
    forms = all_forms(MapReader(str(path)).read(path.read_bytes()).entries)
    given: set[tuple[str, ...]] = set()
    for segment in mapper.segments(caption):
        again = " (given before)" if segment.words in given else ""
        if segment.emoji:
            given.add(segment.words)
        yield f"{segment.emoji or '-'}\t{'_'.join(segment.words)}\t{_reason(segment, forms)}{again}"


def _reason(segment: Segment, forms: dict[str, Entry]) -> str:
    if not segment.key:
        return "a stop word" if segment.words[0] in STOP_WORDS else "not in the map"
    entry = forms[segment.key]
    made = "" if entry.phrase == segment.key else "a form of "
    verdict = "muted by " if segment.emoji == MUTE else ""
    return f'{verdict}{made}"{entry.phrase}" ({entry.section}, line {entry.line})'
