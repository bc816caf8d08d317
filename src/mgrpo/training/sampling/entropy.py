"""Trajectory entropies, read off the logits while sampling, or made of an engine's log-probabilities."""

import math
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from mgrpo.algorithm import token_entropy, token_self_certainty, trajectory_mean
from mgrpo.errors import UserError
from mgrpo.models.finite import check_logits
from mgrpo.training.patches import watched


class EntropyRecorder:
    """Reads trajectory entropies off the logits that a model samples from, at no extra forward pass.

    Watches the model's forward passes while `generate` runs: the i-th pass gives the distribution of the i-th token.
    """

    def __init__(self, temperature: float, source: str, *, with_self_certainty: bool = False) -> None:
        self.temperature = temperature
        self._source = source
        self._with_self_certainty = with_self_certainty
        self._steps: list[Tensor] = []
        self._certainty_steps: list[Tensor] = []
        self._last_log_p: Tensor | None = None
        self._num_passes = 0

    def watch(self, model: nn.Module) -> AbstractContextManager:
        """Record the forward passes of `model` (the one whose output has the logits) within the block."""
        self._steps, self._certainty_steps, self._last_log_p, self._num_passes = [], [], None, 0
        return watched(model, self._on_forward)

    def _on_forward(self, model: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> None:
        logits = output.logits[:, -1].detach()
        self._num_passes += 1
        if self._with_self_certainty:
            self._certainty_steps.append(token_self_certainty(logits, self.temperature))
        if self._source == "exact":
            self._steps.append(token_entropy(logits, self.temperature))
            check_logits(self._steps[-1], self._num_passes)
            return
        # -log p of a token is known one pass later, when the token comes in.
        if self._last_log_p is not None:
            self._steps.append(-self._last_log_p.gather(1, kwargs["input_ids"][:, -1:])[:, 0])
        self._last_log_p = torch.log_softmax(logits.float() / self.temperature, dim=-1)
        check_logits(self._last_log_p.amax(dim=-1), self._num_passes)

    def trajectory_entropy(self, completion_ids: list[list[int]]) -> Tensor:
        """Entropy of each recorded completion, in nats per token; `completion_ids` end with end-of-text or cut off."""
        num_tokens = torch.tensor([len(ids) for ids in completion_ids])
        longest = int(num_tokens.max())
        steps = self._steps
        if self._last_log_p is not None and len(steps) < longest:
            last_ids = torch.tensor([ids[longest - 1] if len(ids) == longest else 0 for ids in completion_ids])
            steps = [*steps, -self._last_log_p.gather(1, last_ids[:, None].to(self._last_log_p.device))[:, 0]]
        return _mean_over_tokens(steps, num_tokens)

    def trajectory_self_certainty(self, completion_ids: list[list[int]]) -> Tensor | None:
        """Mean self-certainty of each recorded completion, in nats per token; None if it was not asked for.

        Raises:
            UserError: if one is infinite.
        """
        if not self._with_self_certainty:
            return None
        values = _mean_over_tokens(self._certainty_steps, torch.tensor([len(ids) for ids in completion_ids]))
        if not values.isfinite().all():
            raise UserError(
                "reward is self_certainty, which is infinite for a model that rules tokens out (a logit of -inf); "
                "set reward to another one, or dtype to float32 where the logit overflowed"
            )
        return values


def _mean_over_tokens(steps: list[Tensor], num_tokens: Tensor) -> Tensor:
    longest = int(num_tokens.max())
    # One pass per token; an engine may run a few more after the last one.
    assert len(steps) >= longest, f"{len(steps)} forward passes recorded for {longest} tokens"
    values = torch.stack(steps[:longest], dim=1)
    return trajectory_mean(values, num_tokens.to(values.device))


def entropy_from_top_log_probs(
    top_log_probs: list[list[list[float | None]]], sampled_log_probs: list[list[float | None]]
) -> Tensor:
    """Trajectory entropies, (B,), in nats per token, from the log-probabilities of each token's likeliest candidates.

    A completion without a token has 0. With K candidates, and r the probability of all others together, a token's
    entropy is

        - sum_K p log p  -  r log r  +  r H(others)

    The last term is estimated without bias: it is log r - log p of the sampled token where that is one of the others,
    and 0 where it is not. So the estimate is exact where the candidates are all there are.
    """
    values = []
    for candidates, sampled in zip(top_log_probs, sampled_log_probs, strict=True):
        if not candidates:
            values.append(torch.tensor(0.0, dtype=torch.float64))
            continue
        top = torch.tensor(
            [[-math.inf if value is None else value for value in token] for token in candidates]
        ).double()
        log_p = torch.tensor([math.nan if value is None else value for value in sampled]).double()
        rest = (1 - top.exp().sum(dim=-1)).clamp(min=0)
        among_others = torch.where(log_p < top.min(dim=-1).values, rest.log() - log_p, 0.0)
        per_token = torch.special.entr(top.exp()).sum(dim=-1) + torch.special.entr(rest) + among_others.clamp(min=0)
        values.append(per_token.mean())
    return torch.stack(values).float()


def entropy_from_log_probs(log_probs: list[list[float | None]]) -> Tensor:
    """Mean of -log p of the sampled tokens, in nats per token, from an engine that reports them; (B,).

    Tokens that it could not score (None) are left out; a completion without a scored token has 0.
    """
    scored = [[value for value in row if value is not None] for row in log_probs]
    return torch.tensor([-sum(row) / max(len(row), 1) for row in scored])
