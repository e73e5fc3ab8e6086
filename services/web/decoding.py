"""How a request wants its caption made: texts and numbers of a query, a form or JSON -> DecodingOptions."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from services.errors import ConflictingInput, InvalidParameter
from services.pipeline import DecodingOptions, can_answer, default_options

MAX_PROMPT_CHARACTERS = 500
MAX_TOKENS = 256  # a caption has about ten; what the model can hold, it says itself
MAX_TURNS = 20  # of history
QUESTION_FIELDS = ("question", "history")

# What a request sent: text from a query or a form, any JSON value from JSON.
Sent = tuple[str, Any]


def read_decoding(sent: Iterable[Sent], model: str, served: Iterable[str] = ()) -> DecodingOptions | None:
    """The options among `sent`, for the model of that name; None when there are none, for the model's own.

    served: the names of all models. What is null or an empty text counts as not given. Raises InvalidParameter and
    ConflictingInput.
    """
    values: dict[str, Any] = {}
    for name, value in sent:
        if name not in OPTION_FIELDS or value in (None, ""):
            continue
        if name in QUESTION_FIELDS and not can_answer(model):
            able = " and ".join(other for other in served if can_answer(other)) or "none"
            raise InvalidParameter(
                f"{name}: the model {model} gives captions and cannot answer questions; "
                f"of the models that are served here, {able} can"
            )
        if name in values:
            raise ConflictingInput(f"Cannot provide {name} more than once")
        values[name] = _READERS[name](name, value)
    return _consistent(values, default_options(model)) if values else None


def _consistent(values: dict[str, Any], defaults: DecodingOptions) -> DecodingOptions:
    if "question" in values and "prompt" in values:
        raise ConflictingInput("Cannot provide both prompt and question")
    if "history" in values and "question" not in values:
        raise InvalidParameter("history needs a question that comes after it")
    longest = values.get("max_length", defaults.max_length)
    shortest = values.setdefault("min_length", min(defaults.min_length, longest))
    if shortest > longest:
        raise InvalidParameter(f"min_length must be a whole number from 0 to {longest}, the max_length")
    if "top_p" not in values:
        values.pop("seed", None)  # without sampling it decides nothing, and would only keep batches apart
    return replace(defaults, **values)


def _prompt(name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_PROMPT_CHARACTERS or not _is_text(value):
        raise InvalidParameter(f"{name} must be a text of 1 to {MAX_PROMPT_CHARACTERS} characters")
    return value


def _history(name: str, value: Any) -> tuple[tuple[str, str], ...]:
    """[{"question", "answer"}, …], as JSON or, in a query or a form, as its text."""
    try:
        turns = json.loads(value) if isinstance(value, str) else value
        read = tuple((_prompt(name, turn["question"]), _prompt(name, turn["answer"])) for turn in turns)
        if len(read) <= MAX_TURNS:
            return read
    except (ValueError, TypeError, KeyError, RecursionError, InvalidParameter):
        pass
    raise InvalidParameter(
        f'{name} must be a list of up to {MAX_TURNS} {{"question", "answer"}}, each a text of 1 to '
        f"{MAX_PROMPT_CHARACTERS} characters"
    )


def _is_text(value: str) -> bool:
    """Lone surrogates, which JSON can hold, are no characters."""
    return bool(value.strip()) and not re.search("[\ud800-\udfff]", value)


def _whole_number(least: int, most: int) -> Callable[[str, Any], int]:
    def read(name: str, value: Any) -> int:
        text = str(value)  # of True too, which is no number
        if not re.fullmatch("[0-9]{1,10}", text) or not least <= int(text) <= most:
            raise InvalidParameter(f"{name} must be a whole number from {least} to {most}")
        return int(text)

    return read


def _share(name: str, value: Any) -> float:
    text = f"{value:.12f}" if isinstance(value, float) else str(value)
    if not re.fullmatch(r"[0-9]{1,10}(\.[0-9]{1,20})?", text) or not 0 < float(text) <= 1:
        raise InvalidParameter(f"{name} must be a number above 0 and up to 1")
    return float(text)


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "prompt": _prompt,
    "question": _prompt,
    "history": _history,
    "num_beams": _whole_number(1, 10),
    "max_length": _whole_number(1, MAX_TOKENS),
    "min_length": _whole_number(0, MAX_TOKENS),
    "top_p": _share,
    "num_captions": _whole_number(1, 10),
    "seed": _whole_number(0, 2**32 - 1),
}
OPTION_FIELDS = tuple(_READERS)
