"""Text to tokens and back, against transformers' BertTokenizer."""

import random
from pathlib import Path

import pytest
from transformers import BertTokenizer

from services.captioning.blip.vocabulary import Vocabulary

WORDS = [
    "a",
    "dog",
    "##s",
    "##ing",
    ".",
    ",",
    "!",
    "?",
    "'",
    "s",
    "t",
    "n",
    "m",
    "ve",
    "re",
    "n't",
    "'s",
    "don",
    "it",
]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PROMPTS = ["a dog", "A Dog!", "dogs, dog's", "", "  it   don't ", "unknownword", "a\tdög", "[SEP] a", "a" * 300]


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Vocabulary, BertTokenizer]:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join([*SPECIAL, *WORDS]) + "\n")
    theirs = BertTokenizer(str(path), do_lower_case=True)
    # as LAVIS's BlipBase.init_tokenizer adds them
    theirs.add_special_tokens({"bos_token": "[DEC]"})
    theirs.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
    return Vocabulary(path), theirs


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_prompt_is_split_as_berts_tokenizer_does(pair: tuple[Vocabulary, BertTokenizer], prompt: str) -> None:
    ours, theirs = pair
    expected = theirs(prompt).input_ids
    expected[0] = theirs.bos_token_id  # as LAVIS does
    assert ours.encode(prompt) == expected[:-1]


def test_tokens_are_written_as_berts_tokenizer_does(pair: tuple[Vocabulary, BertTokenizer]) -> None:
    ours, theirs = pair
    assert len(ours) == len(theirs)
    lot = random.Random(1)
    for _ in range(2000):
        tokens = [lot.randrange(len(theirs)) for _ in range(lot.randrange(12))]
        assert ours.decode(tokens) == theirs.decode(tokens, skip_special_tokens=True)
