"""The majority vote that stands in for the missing answer."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

NO_ANSWER = -1
"""Answer id of a completion that gives no answer; as a pseudo-label, of a group in which nobody voted."""


@dataclass(frozen=True)
class Vote:
    """What each group voted for.

    Attributes:
        pseudo_label: the winning answer id, -1 where nobody voted.
        num_votes: votes for it, 0 where nobody voted.
        is_tie: whether another answer had as many votes.
    """

    pseudo_label: Int[Tensor, " P"]
    num_votes: Int[Tensor, " P"]
    is_tie: Bool[Tensor, " P"]


def majority_vote(
    answer_ids: Int[Tensor, "P G"],
    is_momentum: Bool[Tensor, "P G"] | Bool[Tensor, " G"],
    keep: Bool[Tensor, "P G"] | None = None,
) -> Vote:
    """Let the kept completions of each group vote, the policy's and the momentum model's together.

    Ties: the answer with more votes from the momentum model wins, then the one that comes first in the group.
    A completion without an answer has no vote.

    Args:
        answer_ids: equal ids within a row are equal answers. Ids count up from 0 within the row; -1 is no answer.
        is_momentum: which completions the momentum model produced.
        keep: which completions may vote; all of them if None.

    Raises:
        ValueError: if an id is below -1 or not below G.
    """
    num_completions = answer_ids.shape[1]
    if ((answer_ids < NO_ANSWER) | (answer_ids >= num_completions)).any():
        raise ValueError(f"answer ids must be in [-1, {num_completions}), the group's size")

    votes = answer_ids >= 0 if keep is None else (answer_ids >= 0) & keep
    candidate = answer_ids.clamp(min=0).long()
    num_votes, num_momentum_votes = (
        torch.zeros_like(candidate).scatter_add_(1, candidate, ballot.long())
        for ballot in (votes, votes & is_momentum)
    )
    position = torch.arange(num_completions, device=answer_ids.device).expand_as(candidate)
    first_position = torch.full_like(candidate, num_completions).scatter_reduce_(
        1, candidate, torch.where(votes, position, num_completions), "amin"
    )

    # Votes, then momentum votes, then the earlier place, as the digits of one number: each is at most G.
    base = num_completions + 1
    rank = (num_votes * base + num_momentum_votes) * base + (num_completions - first_position)
    winner = rank.argmax(dim=1)
    most_votes = num_votes.amax(dim=1)
    is_labelled = most_votes > 0
    return Vote(
        pseudo_label=torch.where(is_labelled, winner, NO_ANSWER),
        num_votes=most_votes,
        is_tie=is_labelled & ((num_votes == most_votes[:, None]).sum(dim=1) > 1),
    )
