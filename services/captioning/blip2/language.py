"""The language models of BLIP-2, token by token: what LAVIS's OPT and T5 give for a beam search of ours.

The picture and the prompt are read once an image; its beams go on from copies of what that gave. (LAVIS 1.0.2
reads them once a beam, and with transformers 4.26, which calls the cache by another name, again for every token.)
"""

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

FP32_BYTES = 4
# a layer's keys and values: each (rows, heads, positions, head width); T5's has those of the picture behind them
Cache = tuple[tuple[Tensor, ...], ...]


class LanguageModel(Protocol):
    end_token: int
    longest: int | None  # how many positions it has; None: as many as are asked for
    position_bytes: int  # what it keeps of a position of a text, in fp32

    def encode(self, text: str) -> list[int]: ...

    def begin(self, queries: Tensor, tokens: Sequence[int]) -> Tensor:
        """Reads pictures (images, queries, width) and the tokens -> logits (images, vocabulary) fp32."""
        ...

    def written_before(self, tokens: Sequence[int]) -> list[int]:
        """The tokens that count as the beginning of the text when it was given `tokens` to read."""
        ...

    def widen(self, beams: int) -> None:
        """One row an image -> `beams` equal rows an image."""
        ...

    def forget(self) -> None:
        """Give up what is kept of the texts."""
        ...

    def step(self, tokens: Tensor, parents: Tensor) -> Tensor:
        """Row i goes on from what was row parents[i], with tokens[i] -> logits (rows, vocabulary) fp32."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """A space at its start says that a word begins there."""
        ...


class Opt:
    def __init__(self, model: Any, tokenizer: Any) -> None:
        """model: LAVIS's OPTForCausalLM. tokenizer: transformers' GPT2Tokenizer with OPT's files."""
        self._model, self._decoder, self._tokenizer = model, model.model.decoder, tokenizer
        self.end_token = int(tokenizer("\n", add_special_tokens=False).input_ids[0])  # as LAVIS has it
        self.longest: int | None = int(model.config.max_position_embeddings)
        self.position_bytes = FP32_BYTES * 2 * model.config.num_hidden_layers * model.config.hidden_size
        self._cache: Cache = ()

    def encode(self, text: str) -> list[int]:
        return [int(token) for token in self._tokenizer(text).input_ids]

    def begin(self, queries: Tensor, tokens: Sequence[int]) -> Tensor:
        given = torch.tensor(tokens, device=queries.device).expand(len(queries), -1)
        embedded = self._decoder.embed_tokens(given)
        return self._read(inputs_embeds=torch.cat([queries, embedded.to(queries.dtype)], dim=1))

    def written_before(self, tokens: Sequence[int]) -> list[int]:
        return list(tokens)

    def forget(self) -> None:
        self._cache = ()

    def widen(self, beams: int) -> None:
        self._cache = tuple(tuple(kept.repeat_interleave(beams, dim=0) for kept in layer) for layer in self._cache)

    def step(self, tokens: Tensor, parents: Tensor) -> Tensor:
        past = tuple(tuple(kept.index_select(0, parents) for kept in layer) for layer in self._cache)
        self._cache = ()  # or there would be three in memory: this one, its copy, and the next
        seen = tokens.new_ones(len(tokens), past[0][0].shape[2] + 1)
        return self._read(input_ids=tokens[:, None], past_key_values=past, attention_mask=seen)

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))

    def _read(self, **inputs: Any) -> Tensor:
        out = self._decoder(use_cache=True, return_dict=True, **inputs)
        self._cache = out.past_key_values
        logits: Tensor = self._model.lm_head(out.last_hidden_state[:, -1])
        return logits.float()


class T5:
    def __init__(self, model: Any, tokenizer: Any) -> None:
        """model: LAVIS's T5ForConditionalGeneration. tokenizer: transformers' T5TokenizerFast with its files."""
        self._model, self._tokenizer = model, tokenizer
        self.end_token = int(model.config.eos_token_id)
        self._start = int(model.config.decoder_start_token_id)
        self._seen = torch.empty(0)  # (rows, positions, width), what the encoder made of picture and prompt
        self.longest: int | None = None  # its positions are relative
        config = model.config
        self.position_bytes = FP32_BYTES * 2 * config.num_decoder_layers * config.num_heads * config.d_kv
        self._cache: Cache = ()

    def encode(self, text: str) -> list[int]:
        return [int(token) for token in self._tokenizer(text).input_ids]

    def begin(self, queries: Tensor, tokens: Sequence[int]) -> Tensor:
        given = torch.tensor(tokens, device=queries.device).expand(len(queries), -1)
        embedded = self._model.shared(given).to(queries.dtype)
        encoder = self._model.encoder
        self._seen = encoder(inputs_embeds=torch.cat([queries, embedded], dim=1), return_dict=True)[0]
        return self._read(given.new_full((len(queries), 1), self._start), None)

    def written_before(self, tokens: Sequence[int]) -> list[int]:
        return [self._start]

    def forget(self) -> None:
        self._cache, self._seen = (), torch.empty(0)

    def widen(self, beams: int) -> None:
        self._seen = self._seen.repeat_interleave(beams, dim=0)
        self._cache = tuple(tuple(kept.repeat_interleave(beams, dim=0) for kept in layer) for layer in self._cache)

    def step(self, tokens: Tensor, parents: Tensor) -> Tensor:
        past = tuple(
            # what is kept of the picture is the same for all beams of an image
            (keys.index_select(0, parents), values.index_select(0, parents), *of_picture)
            for keys, values, *of_picture in self._cache
        )
        self._cache = ()  # or there would be three in memory: this one, its copy, and the next
        return self._read(tokens[:, None], past)

    def decode(self, tokens: Sequence[int]) -> str:
        text = str(self._tokenizer.decode(tokens, skip_special_tokens=True))
        pieces = self._tokenizer.convert_ids_to_tokens(list(tokens), skip_special_tokens=True)
        return f" {text}" if pieces and pieces[0].startswith("\u2581") else text

    def _read(self, tokens: Tensor, past: Cache | None) -> Tensor:
        out = self._model.decoder(
            input_ids=tokens,
            past_key_values=past,
            encoder_hidden_states=self._seen,
            use_cache=True,
            return_dict=True,
        )
        self._cache = out.past_key_values
        last = out.last_hidden_state[:, -1]
        if self._model.config.tie_word_embeddings:
            last = last * self._model.model_dim**-0.5
        logits: Tensor = self._model.lm_head(last)
        return logits.float()
