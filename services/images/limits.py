"""The one size limit that a URL, a file and an upload share, with its one text."""

from services.errors import TooLarge


def check_size(n_bytes: int, max_bytes: int) -> None:
    """Raises TooLarge when `n_bytes`, known or read so far, is over the limit."""
    if n_bytes > max_bytes:
        limit = f"{max_bytes:,} bytes ({max_bytes / 2**20:.3g} MiB)"
        raise TooLarge(f"The image file is larger than {limit}: send a smaller one")
