"""From logits to texts: beam search, and sampling. Knows tensors, and nothing of the model that gives them.

Both do what transformers' `generate` does with the arguments that LAVIS gives it: scores are sums of
log-probabilities, a finished text's score is divided by its length without the end token, and the search ends
when no open beam can become better. Nothing waits for the device inside the loops but the look whether all is
done, and on a GPU that is taken every few steps.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from services.captioning.captioner import DecodingOptions

UNLIKELY = -1e9  # keeps equal beams apart at the first step
LOOKS_EVERY_STEPS = 4  # whether all is done, on a GPU
TOP_K = 50  # transformers' default, which LAVIS leaves in force when it samples

# tokens (rows,) and the rows they follow, (rows,), both int64 -> logits (rows, vocabulary)
Step = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Texts:
    """The best texts of each image, the best first."""

    tokens: Tensor  # (images, texts, max_length) int64, the prompt included, the end token not
    lengths: Tensor  # (images, texts) int64
    scores: Tensor  # (images, texts) float64; -inf: no text
    log_probs: Tensor  # (images, texts) float: sum over the tokens after the prompt, the end token included
    counted: Tensor  # (images, texts) int64: how many tokens that were

    @classmethod
    def none(cls, images: int, texts: int, max_length: int, device: torch.device) -> "Texts":
        return cls(
            tokens=torch.zeros(images, texts, max_length, dtype=torch.long, device=device),
            lengths=torch.zeros(images, texts, dtype=torch.long, device=device),
            scores=torch.full((images, texts), -torch.inf, dtype=torch.float64, device=device),
            log_probs=torch.zeros(images, texts, device=device),
            counted=torch.ones(images, texts, dtype=torch.long, device=device),
        )

    def merge(self, other: "Texts") -> None:
        """Keep the best of both, as many as before."""
        best = torch.cat([self.scores, other.scores], dim=1).topk(self.scores.shape[1], dim=1).indices
        self.tokens = torch.cat([self.tokens, other.tokens], dim=1).gather(
            1, best[..., None].expand(-1, -1, self.tokens.shape[-1])
        )
        for name in ("lengths", "scores", "log_probs", "counted"):
            both = torch.cat([getattr(self, name), getattr(other, name)], dim=1)
            setattr(self, name, both.gather(1, best))


def beam_search(first: Tensor, step: Step, prompt: Tensor, end_token: int, options: DecodingOptions) -> Texts:
    """The `options.num_beams` best texts of each image.

    first: (images, vocabulary), the logits behind the prompt. prompt: (prompt length,) int64. `step` is called
    with images · beams rows. With one beam this is greedy decoding.
    """
    (images, vocabulary), beams, device = first.shape, options.num_beams, first.device
    tokens = _begin(prompt, images, beams, options.max_length)
    scores = torch.zeros(images, beams, device=device)
    scores[:, 1:] = UNLIKELY
    log_probs = torch.zeros(images, beams, device=device)
    finished = Texts.none(images, beams, options.max_length, device)
    done = torch.zeros(images, 1, dtype=torch.bool, device=device)
    rank = torch.arange(2 * beams, device=device)
    first_row = torch.arange(images, device=device)[:, None] * beams
    logits = first[:, None].expand(-1, beams, -1)

    for length in range(len(prompt), options.max_length):
        likely = logits.float().log_softmax(-1)
        # transformers penalises log-probabilities in a beam search, and plain logits in a greedy one
        weighed = _weigh(likely if beams > 1 else logits.float(), tokens[..., :length], end_token, options)
        # twice as many as there are beams: half of them may be ends
        best, index = (weighed + scores[..., None]).flatten(1).topk(2 * beams)
        parent, token = index // vocabulary, index % vocabulary
        probable = log_probs.gather(1, parent) + likely.flatten(1).gather(1, index)
        ends = token == end_token
        texts = tokens.gather(1, parent[..., None].expand(-1, -1, options.max_length))
        finishes = ends & (rank < beams) & ~done
        each = best.double() / length
        finished.merge(_texts(texts, length, each.where(finishes, -torch.inf), probable, length + 1 - len(prompt)))
        worst = finished.scores.min(dim=1, keepdim=True).values  # -inf while there are fewer than beams
        done = done | (worst >= each[:, :1])

        going = ends.int().argsort(dim=1, stable=True)[:, :beams]  # the best that do not end
        scores, log_probs, parent, token = (x.gather(1, going) for x in (best, probable, parent, token))
        tokens = texts.gather(1, going[..., None].expand(-1, -1, options.max_length))
        tokens[..., length] = token
        if length + 1 == options.max_length or _all(done, length - len(prompt)):
            break
        logits = step(token.flatten(), (first_row + parent).flatten()).view(images, beams, -1)

    # what had no room to end counts as it is
    open_scores = (scores.double() / (length + 1)).where(~done, -torch.inf)
    finished.merge(_texts(tokens, length + 1, open_scores, log_probs, length + 1 - len(prompt)))
    return finished


def sample(
    first: Tensor, step: Step, prompt: Tensor, end_token: int, options: DecodingOptions, lots: Tensor
) -> Texts:
    """One text for each row of `lots`, (images, texts, max_length) float in 0..1, drawn from the likely tokens.

    Scores are mean log-probabilities, as the model gave them.
    """
    (images, texts, _), device = lots.shape, first.device
    assert options.top_p is not None
    tokens = _begin(prompt, images, texts, options.max_length)
    log_probs = torch.zeros(images, texts, device=device)
    lengths = torch.full((images, texts), len(prompt), device=device)
    counted = torch.zeros_like(lengths)
    done = torch.zeros(images, texts, dtype=torch.bool, device=device)
    rows = torch.arange(images * texts, device=device)
    logits = first[:, None].expand(-1, texts, -1)

    for length in range(len(prompt), options.max_length):
        weighed = _weigh(logits.float(), tokens[..., :length], end_token, options)
        token = _draw(weighed, options.top_p, lots[..., length])
        likely = logits.float().log_softmax(-1).gather(-1, token[..., None]).squeeze(-1)
        log_probs = log_probs + likely.where(~done, 0.0)
        counted = counted + (~done).long()
        done = done | (token == end_token)
        lengths = lengths + (~done).long()
        tokens[..., length] = token.where(~done, 0)
        if length + 1 == options.max_length or _all(done, length - len(prompt)):
            break
        logits = step(token.flatten(), rows).view(images, texts, -1)

    drawn = Texts(tokens, lengths, log_probs.double() / counted, log_probs, counted)
    best_first = Texts.none(images, texts, options.max_length, device)
    best_first.merge(drawn)
    return best_first


def _begin(prompt: Tensor, images: int, texts: int, max_length: int) -> Tensor:
    tokens = prompt.new_zeros(images, texts, max_length)
    tokens[..., : len(prompt)] = prompt
    return tokens


def _texts(tokens: Tensor, length: int, scores: Tensor, log_probs: Tensor, counted: int) -> Texts:
    lengths = torch.full_like(scores, length, dtype=torch.long)
    return Texts(tokens, lengths, scores, log_probs, torch.full_like(lengths, counted))


def _weigh(scores: Tensor, before: Tensor, end_token: int, options: DecodingOptions) -> Tensor:
    """Scores (images, texts, vocabulary) with the repetition penalty and the minimum length applied."""
    scores = scores.clone()
    if options.repetition_penalty != 1.0:
        held = scores.gather(-1, before)
        penalised = torch.where(held < 0, held * options.repetition_penalty, held / options.repetition_penalty)
        scores.scatter_(-1, before, penalised)
    if before.shape[-1] < options.min_length:
        scores[..., end_token] = -torch.inf
    return scores


def _draw(scores: Tensor, top_p: float, lots: Tensor) -> Tensor:
    """One token for each lot (images, texts): of the TOP_K likeliest, the fewest that reach `top_p` together."""
    kept = scores.topk(min(TOP_K, scores.shape[-1]), dim=-1)
    probs = kept.values.softmax(-1)
    before = probs.cumsum(-1) - probs
    probs = probs.where(before < top_p, 0.0)
    reached = probs.cumsum(-1)
    place = (reached <= lots[..., None] * reached[..., -1:]).sum(-1, keepdim=True)
    # a lot of 1, or rounding, would land behind the last
    place = torch.minimum(place, (probs > 0).sum(-1, keepdim=True) - 1)
    return kept.indices.gather(-1, place).squeeze(-1)


def _all(done: Tensor, steps: int) -> bool:
    """Whether all are done. On a GPU the answer is waited for, so there it is asked for every few steps."""
    if done.is_cuda and steps % LOOKS_EVERY_STEPS:
        return False
    return bool(done.all())
