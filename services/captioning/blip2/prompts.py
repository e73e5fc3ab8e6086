"""What BLIP-2 is given to read, and what of its text is the answer. Knows texts only.

Its language models continue a text. To a bare question they often have nothing to add, or they repeat it;
`Question: … Answer:` is the form that the authors of BLIP-2 use. Some answers still begin with the question, and
some go on with questions of their own: both are cut off.
"""

import re
from collections.abc import Sequence

from services.captioning.captioner import DecodingOptions

_NEXT_TURN = re.compile(r"\s*\b(?:question|answer)\s*:.*", re.IGNORECASE | re.DOTALL)


def text_to_read(options: DecodingOptions, own_prompt: str) -> str:
    """What the language model goes on from. A space at its end would split the next word from its token."""
    if options.question is not None:
        return question_text(options.question, options.history)
    return (own_prompt if options.prompt is None else options.prompt).rstrip()


def question_text(question: str, history: Sequence[tuple[str, str]] = ()) -> str:
    """history: earlier questions with their answers, the oldest first."""
    turns = [f"Question: {asked.strip()} Answer: {answer.strip().rstrip('.')}." for asked, answer in history]
    return " ".join([*turns, f"Question: {question.strip()} Answer:"])


def shown_text(written: str, options: DecodingOptions, read: str) -> str:
    """What the client gets of what the model has written behind `read`; "" if there is nothing in it."""
    if options.question is not None:
        return answer_in(written, options.question, read)
    if not written.strip():
        return ""
    if options.prompt is None:
        return written.strip()
    echo = _without_start(written, read)
    if echo == "":
        return ""
    # what is written begins with a space, unless it goes on within the prompt's last word
    return f"{read}{written}".strip() if echo is None else f"{read} {echo}".strip()


def answer_in(written: str, question: str, read: str) -> str:
    """The answer alone: without the question, in whichever form it is repeated, and what follows the answer."""
    answer = written.strip()
    shorter: str | None = answer
    while shorter is not None and answer:
        answer = shorter
        starts = (read, question_text(question), f"Question: {question}", question, "Answer:")
        shorter = next((left for start in starts if (left := _without_start(answer, start)) is not None), None)
    return _NEXT_TURN.sub("", answer).strip()


def _without_start(text: str, start: str) -> str | None:
    """What follows `start` in `text`, however both are spaced and in whichever case; None: it starts otherwise."""
    words = start.split()
    if not words:
        return None
    pattern = r"\s*" + r"\s+".join(map(re.escape, words)) + (r"\b" if words[-1][-1].isalnum() else "")
    found = re.match(pattern, text, re.IGNORECASE)
    return text[found.end() :].lstrip() if found else None
