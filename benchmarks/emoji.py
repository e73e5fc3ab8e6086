"""What do the emojis of a caption cost: processor time for each, the map's loading, its memory?

    .venv/bin/python -m benchmarks.emoji [--captions FILE] [--map FILE]

FILE holds captions, one a line; without it the map's own canaries are taken. Prints medians of five runs, the last
line as one JSON object. A process of its own does the loading, so that nothing is warm but the page cache.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

from config.values import CHECKOUT
from services.emoji.map_file import load_map
from services.emoji.mapper import EmojiMapper

RUNS = 5
MIB = 1024 * 1024

# loads and compiles a map as the service does, with its imports made before
LOADING = """
import sys, time
from pathlib import Path
from services.emoji.map_file import load_map
started = time.process_time()
load_map(Path(sys.argv[1])).mapper
print(time.process_time() - started)
"""


def loading_ms(path: Path) -> float:
    """Processor time for reading, checking, compiling, canaries included."""
    times = []
    for _ in range(RUNS):
        command = [sys.executable, "-c", LOADING, str(path)]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
        times.append(float(done.stdout) * 1e3)
    return statistics.median(times)


def memory_mib(path: Path) -> tuple[float, float]:
    """(what stays, the most while loading) of Python's memory; the list of all emojis counts too."""
    tracemalloc.start()
    loaded = load_map(path)
    mapper = loaded.mapper
    stays, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert mapper
    return stays / MIB, most / MIB


def caption_us(mapper: EmojiMapper, captions: list[str]) -> float:
    """Processor time for a caption on average: what else the machine does counts for little."""
    times = []
    for _ in range(RUNS):
        started = time.process_time()
        for caption in captions:
            mapper.map(caption)
        times.append((time.process_time() - started) / len(captions) * 1e6)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the emoji mapper and the loading of its map.")
    parser.add_argument("--captions", type=Path)
    parser.add_argument("--map", type=Path, default=CHECKOUT / "emoji_map.yaml")
    arguments = parser.parse_args()
    stays_mib, most_mib = memory_mib(arguments.map)
    loaded = load_map(arguments.map)
    captions = list(loaded.canaries) * 100
    if arguments.captions:
        captions = arguments.captions.read_text(encoding="utf-8").splitlines()
    figures = {
        "caption_us": round(caption_us(loaded.mapper, captions), 2),
        "load_ms": round(loading_ms(arguments.map), 1),
        "memory_mib": round(stays_mib, 2),
        "memory_while_loading_mib": round(most_mib, 2),
        "captions": len(captions),
        "forms": len(loaded.entries),
        "python": platform.python_version(),
    }
    for name, value in figures.items():
        print(f"{name:26} {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
