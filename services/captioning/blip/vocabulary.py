"""BERT's WordPiece vocabulary: a prompt -> tokens, and tokens -> text as transformers' BertTokenizer writes it."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import BertWordPieceTokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# transformers' clean_up_tokenization, in its order
_CLEANED = tuple((f" {end}", end) for end in (".", "?", "!", ","))
_CLEANED += ((" ' ", "'"), *((f" {end}", end) for end in ("n't", "'m", "'s", "'ve", "'re")))


class Vocabulary:
    """`path`: a vocab.txt, one token a line. LAVIS adds two tokens behind its last: [DEC] and [ENC]."""

    def __init__(self, path: Path) -> None:
        # split at line ends alone: some tokens are separators of other kinds
        self._tokens = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        numbers = {token: number for number, token in enumerate(self._tokens)}
        self._tokenizer = BertWordPieceTokenizer(numbers, lowercase=True)
        self._special = {numbers[token] for token in SPECIAL}
        self.end_token = numbers["[SEP]"]
        self.begin_token = len(self._tokens)  # [DEC]

    def __len__(self) -> int:
        return len(self._tokens) + 2

    def encode(self, prompt: str) -> list[int]:
        """The tokens of a text that the decoder is to continue, with the one before all texts."""
        return [self.begin_token, *self._tokenizer.encode(prompt, add_special_tokens=False).ids]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text, without special tokens."""
        words = [self._tokens[t] for t in tokens if t < len(self._tokens) and t not in self._special]
        text = " ".join(words).replace(" ##", "").strip()
        for spaced, closed in _CLEANED:
            text = text.replace(spaced, closed)
        return text
