"""How unsure the model was that produced a completion: its entropy, and its self-certainty, in nats per token."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


def token_entropy(logits: Float[Tensor, "*axes V"], temperature: float) -> Float[Tensor, "*axes"]:
    """Entropy, in nats, of the distribution that a token is sampled from.

        H = -sum_v p_v log p_v,    p = softmax(logits / temperature)

    Truncations of that distribution (top-k, top-p, min-p) are not taken into account.

    Raises:
        ValueError: if temperature is not positive.
    """
    log_p = _log_probabilities(logits, temperature)
    # A token that is ruled out (logit -inf) adds 0, not 0 * -inf = nan.
    return -(log_p.exp() * log_p.clamp(min=torch.finfo(log_p.dtype).min)).sum(dim=-1)


def token_self_certainty(logits: Float[Tensor, "*axes V"], temperature: float) -> Float[Tensor, "*axes"]:
    """Self-certainty, in nats, of the distribution that a token is sampled from: its distance from a uniform one.

        KL(U || p) = -log V - (1/V) sum_v log p_v,    p = softmax(logits / temperature)

    Its mean over a completion's tokens is the reward of Intuitor (arXiv 2505.19590). Infinite where a token is ruled
    out (logit -inf).

    Raises:
        ValueError: if temperature is not positive.
    """
    log_p = _log_probabilities(logits, temperature)
    return -log_p.mean(dim=-1) - math.log(log_p.shape[-1])


def _log_probabilities(logits: Tensor, temperature: float) -> Tensor:
    if temperature <= 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    return torch.log_softmax(logits.float() / temperature, dim=-1)


def trajectory_mean(token_values: Float[Tensor, "B T"], num_tokens: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Mean over the first `num_tokens` tokens of each row; 0 where a completion has no token.

    With token entropies this is H_i, the trajectory entropy that the filter judges. With -log p of the sampled
    tokens it is its unbiased one-sample estimate.
    """
    position = torch.arange(token_values.shape[1], device=token_values.device)
    is_token = position < num_tokens[:, None]
    return torch.where(is_token, token_values, 0.0).sum(dim=1) / num_tokens.clamp(min=1)
