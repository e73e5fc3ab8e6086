"""What the card of the demonstration model claims; tests hold the model to it."""

import re

from config.values import CHECKOUT


def claimed(row: str) -> float:
    """The share in the row of the card's table that begins with `row`."""
    text = (CHECKOUT / "demo_model" / "README.md").read_text(encoding="utf-8")
    match = re.search(rf"^\| {re.escape(row)}[^|]*\| ([0-9.]+) % \|$", text, re.MULTILINE)
    assert match, f"the card has no row {row!r}"
    return float(match[1]) / 100


EXACT = "captions equal to the truth"
RECALL = "things that are drawn, and named"
