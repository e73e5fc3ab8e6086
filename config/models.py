"""config/models.yaml: the models' short names, sizes and parts.

`python -m config.models` prints the table of docs/doors.md.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

MODELS_FILE = Path(__file__).with_name("models.yaml")


@dataclass(frozen=True)
class ModelEntry:
    name: str  # as in MODEL
    short_name: str  # without a slash
    parameters: int  # in millions
    checkpoint: str  # a file of ours, or the path of one that LAVIS publishes
    parts: list[str]  # a vision tower's file, a language model of the Hugging Face hub
    beams: int  # of a caption, by default
    max_length: int
    memory_gb: dict[str, float]  # of the weights, by PRECISION


def read_models() -> dict[str, ModelEntry]:
    """Name, as in MODEL -> its row."""
    rows = yaml.safe_load(MODELS_FILE.read_text(encoding="utf-8"))
    return {name: ModelEntry(name, **row) for name, row in rows.items()}


def short_name(model: str) -> str:
    """The name of MODEL=`model` without a slash; one made of both its parts where the file has none."""
    entry = read_models().get(model)
    return entry.short_name if entry else model.replace("/", "-")


def models_table() -> str:
    """The Markdown table of docs/doors.md, between `<!-- models -->` and `<!-- /models -->`."""
    rows = ["| Short name | `MODEL` | Parameters (millions) |", "|---|---|---|"]
    rows += [
        f"| `{entry.short_name}` | `{entry.name}` | {entry.parameters:,} |" for entry in read_models().values()
    ]
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(models_table())
