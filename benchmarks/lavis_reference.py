"""What LAVIS itself gives, as token ids: the reference for the fast path."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from services.captioning.captioner import DecodingOptions

PAD, CLS, SEP = "pad_token_id", "bos_token_id", "sep_token_id"


def lavis_tokens(model: Any, pixels: Tensor, options: DecodingOptions) -> list[list[int]]:
    """Token ids by LAVIS's `generate_from_encoder`, called as `BlipCaption.generate` calls it.

    model: a BlipCaption. pixels: (images, 3, side, side), normalised. The prompt included, the end token not.
    """
    tokenizer = model.tokenizer
    with torch.inference_mode():
        features = model.forward_encoder({"image": pixels})
        prompt = tokenizer([options.prompt or model.prompt] * len(pixels), return_tensors="pt")
        prompt.input_ids[:, 0] = tokenizer.bos_token_id
        prompt.input_ids = prompt.input_ids[:, :-1]
        given = model.text_decoder.generate_from_encoder(
            tokenized_prompt=prompt,
            visual_embeds=features,
            sep_token_id=tokenizer.sep_token_id,
            pad_token_id=tokenizer.pad_token_id,
            num_beams=options.num_beams,
            max_length=options.max_length,
            min_length=options.min_length,
            repetition_penalty=options.repetition_penalty,
        )
    return [until(row.tolist(), tokenizer.sep_token_id, start=prompt.input_ids.shape[1]) for row in given]


def until(tokens: Sequence[int], end: int, start: int) -> list[int]:
    """The tokens before the first `end` at or behind `start`."""
    tokens = list(tokens)
    return tokens[: tokens.index(end, start)] if end in tokens[start:] else tokens
