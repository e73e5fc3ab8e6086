"""The two size limits that all pictures share, wherever they come from, each with its one text."""

from services.errors import TooLarge


def check_size(n_bytes: int, max_bytes: int) -> None:
    """Raises TooLarge when `n_bytes`, known or read so far, is over the limit."""
    if n_bytes > max_bytes:
        limit = f"{max_bytes:,} bytes ({max_bytes / 2**20:.3g} MiB)"
        raise TooLarge(f"The image file is larger than {limit}: send a smaller one")


def check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    """Raises TooLarge when a picture of this size (width, height) has more pixels than the limit."""
    width, height = size
    if width * height > max_pixels:
        raise TooLarge(
            f"The image has {width} × {height} pixels, more than the {max_pixels:,} that are allowed: "
            "send a smaller one"
        )
