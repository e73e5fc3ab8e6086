"""The settings for people: the README's table, and .env.example.

    python -m config.settings_docs [--env-example]
"""

import argparse
import sys
import textwrap

from config.settings import Settings, specs
from config.values import as_text


def settings_table() -> str:
    """The Markdown table of the README, between `<!-- settings -->` and `<!-- /settings -->`."""
    rows = ["| Name | Default | What it sets | Allowed |", "|---|---|---|---|"]
    for name, spec in specs():
        default = _default_text(name)
        cells = (f"`{spec.env}`", f"`{default}`" if default else "(empty)", spec.about, spec.allowed)
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def env_example() -> str:
    """The content of .env.example: every setting with its default, commented out."""
    head = (
        "Settings. Copy this file to .env and take away the # before the line that you change. "
        "The process environment wins over .env. A name that is not known or a value that is not allowed "
        "stops the start and is named."
    )
    blocks = [_comment(head)]
    for name, spec in specs():
        about = _comment(spec.about) + _comment(f"Allowed: {spec.allowed}.")
        blocks.append(f"{about}#{spec.env}={_default_text(name)}\n")
    return "\n".join(blocks)


def _default_text(name: str) -> str:
    return as_text(getattr(Settings, name))


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in textwrap.wrap(text, 98, break_on_hyphens=False))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Print the settings as the README's table.")
    parser.add_argument("--env-example", action="store_true", help="print .env.example instead")
    sys.stdout.write(env_example() if parser.parse_args().env_example else settings_table())
