"""Which texts are exactly one emoji: a list of Unicode's, not a pattern, so that no made-up one passes."""

from functools import cache
from pathlib import Path

_LIST = Path(__file__).with_name("emojis.txt")
_SELECTOR = "\ufe0f"  # "draw the character before as a picture"


@cache
def all_emojis() -> frozenset[str]:
    """The fully-qualified emojis of Unicode Emoji 15.1. Reads a file of 45 kB at the first call."""
    lines = _LIST.read_text(encoding="utf-8").splitlines()
    return frozenset(emoji for line in lines if not line.startswith("# ") for emoji in line.split(" "))


def what_is_wrong(text: str) -> str:
    """Why `text` is not exactly one emoji, as the end of a sentence; "" when it is one."""
    if text in all_emojis():
        return ""
    for emoji in (text + _SELECTOR, text.replace(_SELECTOR, "")):
        if emoji in all_emojis():
            return f"is not fully qualified; write {emoji!r}"
    without_selectors = text.replace(_SELECTOR, "")
    for emoji in all_emojis():  # a selector that lacks inside of a sequence; rare, so slow is well enough
        if emoji.replace(_SELECTOR, "") == without_selectors:
            return f"is not fully qualified; write {emoji!r}"
    return "is not exactly one emoji of Unicode Emoji 15.1 or earlier"
