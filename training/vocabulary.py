"""The WordPiece vocabulary of the demonstration model: every word that a caption can hold.

    python -m training.vocabulary

writes demo_model/vocab.txt and the vocabulary's size into demo_model/med_config.json. Single letters and their
continuations are in it too, so that any text at all has a tokenisation.
"""

import json
import string
from pathlib import Path

from training.backgrounds import BACKGROUNDS
from training.scenes import ARRANGEMENTS, NUMBERS
from training.things import THINGS

DEMO_MODEL = Path(__file__).parents[1] / "demo_model"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PROMPT = "a small drawn picture of"
ADDED_BY_LAVIS = 2  # [DEC] and [ENC]


def vocabulary() -> list[str]:
    """The tokens in the order of their ids."""
    phrases = [PROMPT, "an and", *NUMBERS.values(), *ARRANGEMENTS]
    phrases += [background.phrase for background in BACKGROUNDS]
    phrases += [word for thing in THINGS for word in (thing.singular, thing.plural)]
    words = sorted({word for phrase in phrases for word in phrase.split()})
    letters = [letter for letter in string.ascii_lowercase + string.digits if letter not in words]
    pieces = ["##" + letter for letter in string.ascii_lowercase + string.digits]
    return SPECIAL + words + letters + pieces


def main() -> None:
    tokens = vocabulary()
    (DEMO_MODEL / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    path = DEMO_MODEL / "med_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["vocab_size"] = len(tokens) + ADDED_BY_LAVIS
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    print(f"{len(tokens)} tokens")


if __name__ == "__main__":
    main()
