"""M-GRPO's labelling of a batch of groups, in one call: filter, then vote, then reward."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mgrpo.algorithm.entropy_filter import iqr_keep_mask
from mgrpo.algorithm.pseudo_label import NO_ANSWER, Vote, majority_vote, match_reward


@dataclass(frozen=True)
class LabelledGroup:
    """The outcome of `label_group`.

    Attributes:
        keep: the completions that passed the entropy filter, and so may vote.
        vote: pseudo-label, votes and tie of each group.
        reward: 1 where a completion agrees with its group's pseudo-label.
        loss_mask: the policy completions that are learnt from: kept, in a group that has a pseudo-label and at
            least two of them. The other completions are in no term of the loss.
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

    Raises:
        ValueError: if num_policy is outside [1, G], or there is a multiplier without entropies.
    """
    num_completions = answer_ids.shape[1]
    if not 1 <= num_policy <= num_completions:
        raise ValueError(f"num_policy must be in [1, {num_completions}], got {num_policy}")
    if iqr_multiplier is None:
        keep = torch.ones_like(answer_ids, dtype=torch.bool)
    elif entropy is None:
        raise ValueError("the entropy filter needs the entropies: pass entropy, or iqr_multiplier=None")
    else:
        keep = iqr_keep_mask(entropy, iqr_multiplier, iqr_floor)
    is_momentum = torch.arange(num_completions, device=answer_ids.device) >= num_policy
    vote = majority_vote(answer_ids, is_momentum, keep)
    reward = match_reward(answer_ids, vote.pseudo_label)

    kept_policy = keep[:, :num_policy]
    # One completion alone has no baseline to be better than.
    has_signal = (vote.pseudo_label != NO_ANSWER) & (kept_policy.sum(dim=1) >= 2)
    return LabelledGroup(keep=keep, vote=vote, reward=reward, loss_mask=kept_policy & has_signal[:, None])
