"""The map that answers now: one reference, which is replaced and never changed."""

import time
from dataclasses import dataclass
from typing import Self

from services.emoji.map_file import EmojiMap
from services.emoji.mapper import EmojiMapper


@dataclass(frozen=True)
class MapInUse:
    """A map, its mapper and how fresh it is. Whoever answers a request takes one of these and keeps to it."""

    emoji_map: EmojiMap
    mapper: EmojiMapper
    confirmed_at: float  # Unix time at which its source gave it, or said that it is still the one
    last_error: str | None = None  # what went wrong since

    @classmethod
    def of(cls, emoji_map: EmojiMap, confirmed_at: float | None = None) -> Self:
        """`emoji_map`, made ready to answer; confirmed now unless told otherwise."""
        return cls(emoji_map, emoji_map.mapper, time.time() if confirmed_at is None else confirmed_at)

    @property
    def age_s(self) -> float:
        return max(0.0, time.time() - self.confirmed_at)  # never negative: clocks are set back


class MapHolder:
    """Holds the map in use. `current` is read by every request and replaced by one refresher at most."""

    def __init__(self, current: MapInUse) -> None:
        self.current = current
