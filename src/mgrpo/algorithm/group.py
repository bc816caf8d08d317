"""The labelling of a batch of groups, in one call: filter, then vote, then reward."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mgrpo.algorithm.entropy_filter import iqr_fence
from mgrpo.algorithm.pseudo_label import NO_ANSWER, Vote, majority_vote
from mgrpo.algorithm.reward import (
    REWARDS,
    REWARDS_WITHOUT_LABEL,
    match_reward,
    random_reward,
    soft_frequency_reward,
)

LABEL_SOURCES = ("joined", "policy", "momentum", "frozen", "gold")
"""Whose completions vote: both models' (the paper), the policy's (SRT), the momentum model's (Co-rewarding-II), the
initial model's. With gold nobody votes: the right answers are the labels, the upper line that others are measured by.
"""
KNOWN_LABEL_SOURCES = ("frozen", "gold")
"""Those whose labels are there before the group is sampled."""
FILTER_SCOPES = ("both", "vote", "loss")
"""What the entropy filter's dropped completions are left out of: the vote and the loss (the paper), or one of them."""


@dataclass(frozen=True)
class KnownLabels:
    """Labels that come from elsewhere than the group's own vote.

    Attributes:
        is_match: which completions agree with their group's label.
        is_known: which groups have a label.
    """

    is_match: Bool[Tensor, "P G"]
    is_known: Bool[Tensor, " P"]


@dataclass(frozen=True)
class LabelledGroup:
    """The outcome of `label_group`.

    Attributes:
        keep: the completions that passed the entropy filter.
        fence: the filter's lower limit, in nats per token; None without a filter.
        vote: pseudo-label, votes and tie of each group; None where the labels were known.
        match: 1 where a completion agrees with its group's label.
        reward: what each completion is rewarded with.
        agreement: share of each group's voters (of the policy's completions where labels were known) that agree with
            the label.
        loss_mask: the policy completions that are trained on: kept (unless the filter is on the vote alone), in a
            group that has a label (unless the reward needs none), an agreement in the band and at least two of them.
            The others are in no term of the loss.
    """

    keep: Bool[Tensor, "P G"]
    fence: Float[Tensor, "P 1"] | None
    vote: Vote | None
    match: Float[Tensor, "P G"]
    reward: Float[Tensor, "P G"]
    agreement: Float[Tensor, " P"]
    loss_mask: Bool[Tensor, "P M"]


def label_group(
    answer_ids: Int[Tensor, "P G"],
    num_policy: int,
    entropy: Float[Tensor, "P G"] | None = None,
    iqr_multiplier: float | None = None,
    iqr_floor: float = 0.0,
    filter_scope: str = "both",
    label_source: str = "joined",
    known_labels: KnownLabels | None = None,
    reward: str = "match",
    self_certainty: Float[Tensor, "P G"] | None = None,
    min_agreement: float = 0.0,
    max_agreement: float = 1.0,
) -> LabelledGroup:
    """Drop over-confident completions, let the rest vote, reward agreement with the majority.

    The policy's M = `num_policy` completions come first in each group, then the momentum model's N = G - M.
    N = 0 without a filter is SRT. The defaults after `entropy` are M-GRPO without its filter.

    Args:
        answer_ids: as in `majority_vote`; -1 is no answer.
        num_policy: M, in [1, G].
        entropy: trajectory entropies, in nats per token; needed for the filter and for the reward negative_entropy.
        iqr_multiplier: the filter's k; None switches the filter off.
        iqr_floor: as in `iqr_fence`.
        filter_scope: what dropped completions are left out of, one of `FILTER_SCOPES`.
        label_source: whose completions vote, one of `LABEL_SOURCES`. With N = 0 the momentum model's vote is empty,
            and no group has a label.
        known_labels: the labels of the sources in `KNOWN_LABEL_SOURCES`.
        reward: what is rewarded, one of `REWARDS`.
        self_certainty: mean of `token_self_certainty` over each completion, for the reward of that name.
        min_agreement: groups whose agreement is below leave the loss (after EMPO, arXiv 2504.05812).
        max_agreement: groups whose agreement is above leave the loss.

    Raises:
        ValueError: if num_policy is outside [1, G], something that is needed is missing, or there is no such source,
            scope or reward.
    """
    _check(answer_ids.shape[1], num_policy, label_source, filter_scope, reward)
    all_kept = torch.ones_like(answer_ids, dtype=torch.bool)
    fence = _fence(entropy, iqr_multiplier, iqr_floor)
    keep = all_kept if entropy is None or fence is None else entropy >= fence
    is_momentum = torch.arange(answer_ids.shape[1], device=answer_ids.device) >= num_policy
    is_voter = {"joined": torch.ones_like(is_momentum), "momentum": is_momentum}.get(label_source, ~is_momentum)
    voters = is_voter & (all_kept if filter_scope == "loss" else keep)
    if label_source in KNOWN_LABEL_SOURCES:
        if known_labels is None:
            raise ValueError(f"label_source {label_source!r} needs its labels: pass known_labels")
        vote, match, is_labelled = None, known_labels.is_match.float(), known_labels.is_known
    else:
        vote = majority_vote(answer_ids, is_momentum, voters)
        match, is_labelled = match_reward(answer_ids, vote.pseudo_label), vote.pseudo_label != NO_ANSWER
    agreement = (match * voters).sum(dim=1) / voters.sum(dim=1).clamp(min=1)

    kept_policy = (all_kept if filter_scope == "vote" else keep)[:, :num_policy]
    # One completion alone has no baseline to be better than.
    has_signal = (kept_policy.sum(dim=1) >= 2) & (agreement >= min_agreement) & (agreement <= max_agreement)
    has_signal &= is_labelled | (reward in REWARDS_WITHOUT_LABEL)
    rewards = _rewards(reward, answer_ids, voters, match, entropy, self_certainty)
    return LabelledGroup(keep, fence, vote, match, rewards, agreement, loss_mask=kept_policy & has_signal[:, None])


def _check(num_completions: int, num_policy: int, label_source: str, filter_scope: str, reward: str) -> None:
    if not 1 <= num_policy <= num_completions:
        raise ValueError(f"num_policy must be in [1, {num_completions}], got {num_policy}")
    for name, value, known in (
        ("label_source", label_source, LABEL_SOURCES),
        ("filter_scope", filter_scope, FILTER_SCOPES),
        ("reward", reward, REWARDS),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {known}, got {value!r}")


def _fence(entropy: Tensor | None, multiplier: float | None, iqr_floor: float) -> Tensor | None:
    if multiplier is None:
        return None
    if entropy is None:
        raise ValueError("the entropy filter needs the entropies: pass entropy, or iqr_multiplier=None")
    return iqr_fence(entropy, multiplier, iqr_floor)


def _rewards(
    reward: str,
    answer_ids: Tensor,
    voters: Tensor,
    match: Tensor,
    entropy: Tensor | None,
    self_certainty: Tensor | None,
) -> Tensor:
    match reward:
        case "match":
            return match
        case "soft_frequency":
            return soft_frequency_reward(answer_ids, voters)
        case "random":
            return random_reward(answer_ids)
        case "negative_entropy" if entropy is not None:
            return -entropy
        case "self_certainty" if self_certainty is not None:
            return self_certainty
        case _:
            raise ValueError(f"the reward {reward!r} needs its values: pass entropy or self_certainty")
