"""What the demonstration model's card claims of it."""

import json
import re
import subprocess
import sys

import pytest

from config.values import CHECKOUT

CARD = CHECKOUT / "demo_model" / "README.md"
COMMAND = "training.evaluate_demo --scenes 1000 --seed 2026100"
ROWS = {"exact": "captions equal to the truth", "noun_recall": "things that are drawn, and named"}
TARGETS = {"exact": 0.95, "noun_recall": 0.98}


def claimed(row: str) -> float:
    """The share in the row of the card's table that begins with `row`."""
    card = CARD.read_text(encoding="utf-8")
    match = re.search(rf"^\| {re.escape(row)}[^|]*\| ([0-9.]+) % \|$", card, re.MULTILINE)
    assert match, f"the card has no row {row!r}"
    return float(match[1]) / 100


@pytest.mark.slow
def test_the_card_s_figures() -> None:
    assert f"python -m {COMMAND}" in CARD.read_text(encoding="utf-8")
    command = [sys.executable, "-W", "ignore", "-m", *COMMAND.split()]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    reached = json.loads(done.stdout.splitlines()[-1])
    for key, row in ROWS.items():
        assert reached[key] >= TARGETS[key]
        assert reached[key] == pytest.approx(claimed(row), abs=0.003)  # CPUs round differently
