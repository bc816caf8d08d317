"""M-GRPO's labelling of a batch of groups, in one call: filter, then vote, then reward."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mgrpo.algorithm.entropy_filter import iqr_keep_mask
from mgrpo.algorithm.pseudo_label import NO_ANSWER, Vote, majority_vote, match_reward

LABEL_SOURCES = ("joined", "policy", "momentum")
"""Whose completions vote: both models' (the paper), the policy's (SRT, TTRL), the momentum model's (Co-rewarding-II).
"""
FILTER_SCOPES = ("both", "vote", "loss")
"""What the entropy filter's dropped completions are left out of: the vote and the loss (the paper), or one of them."""


@dataclass(frozen=True)
class LabelledGroup:
    """The outcome of `label_group`.

    Attributes:
        keep: the completions that passed the entropy filter.
        vote: pseudo-label, votes and tie of each group.
        reward: 1 where a completion agrees with its group's pseudo-label.
        loss_mask: the policy completions that are learnt from: kept (unless the filter is on the vote alone), in a
            group that has a pseudo-label and at least two of them. The others are in no term of the loss.
    """

    keep: Bool[Tensor, "P G"]
    vote: Vote
    reward: Float[Tensor, "P G"]
    loss_mask: Bool[Tensor, "P M"]


def label_group(
    answer_ids: Int[Tensor, "P G"],
    num_policy: int,
    entropy: Float[Tensor, "P G"] | None = None,
    iqr_multiplier: float | None = None,
    iqr_floor: float = 0.0,
    label_source: str = "joined",
    filter_scope: str = "both",
) -> LabelledGroup:
    """Drop over-confident completions, let the rest vote, reward agreement with the majority.

    The policy's M = `num_policy` completions stand first in each group, then the momentum model's N = G - M.
    N = 0 without a filter is SRT.

    Args:
        answer_ids: as in `majority_vote`; -1 is no answer.
        num_policy: M, in [1, G].
        entropy: trajectory entropies, in nats per token; needed for the filter alone.
        iqr_multiplier: the filter's k; None switches the filter off.
        iqr_floor: as in `iqr_keep_mask`.
        label_source: whose completions vote, one of `LABEL_SOURCES`. With N = 0 the momentum model's vote is empty,
            and no group has a label.
        filter_scope: what dropped completions are left out of, one of `FILTER_SCOPES`.

    Raises:
        ValueError: if num_policy is outside [1, G], there is a multiplier without entropies, or there is no such
            source or scope.
    """
    num_completions = answer_ids.shape[1]
    if not 1 <= num_policy <= num_completions:
        raise ValueError(f"num_policy must be in [1, {num_completions}], got {num_policy}")
    if label_source not in LABEL_SOURCES:
        raise ValueError(f"label_source must be one of {LABEL_SOURCES}, got {label_source!r}")
    if filter_scope not in FILTER_SCOPES:
        raise ValueError(f"filter_scope must be one of {FILTER_SCOPES}, got {filter_scope!r}")
    if iqr_multiplier is None:
        keep = torch.ones_like(answer_ids, dtype=torch.bool)
    elif entropy is None:
        raise ValueError("the entropy filter needs the entropies: pass entropy, or iqr_multiplier=None")
    else:
        keep = iqr_keep_mask(entropy, iqr_multiplier, iqr_floor)
    is_momentum = torch.arange(num_completions, device=answer_ids.device) >= num_policy
    is_voter = {"joined": torch.ones_like(is_momentum), "policy": ~is_momentum, "momentum": is_momentum}[label_source]
    all_kept = torch.ones_like(keep)
    vote = majority_vote(answer_ids, is_momentum, is_voter & (all_kept if filter_scope == "loss" else keep))
    reward = match_reward(answer_ids, vote.pseudo_label)

    kept_policy = (all_kept if filter_scope == "vote" else keep)[:, :num_policy]
    # One completion alone has no baseline to be better than.
    has_signal = (vote.pseudo_label != NO_ANSWER) & (kept_policy.sum(dim=1) >= 2)
    return LabelledGroup(keep=keep, vote=vote, reward=reward, loss_mask=kept_policy & has_signal[:, None])
