"""What a completion is rewarded for: agreement with a label, or something that needs none."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

REWARDS = ("match", "soft_frequency", "self_certainty", "negative_entropy", "random")
"""Agreement with the label (the paper); the share of the votes that are for the completion's own answer (OM-GRPO,
EMPO); the model's certainty of its tokens (Intuitor); minus its entropy (RENT); a coin's toss, a control.
"""
REWARDS_WITHOUT_LABEL = ("self_certainty", "negative_entropy", "random")
"""Those that are given in groups without a label too."""


def match_reward(answer_ids: Int[Tensor, "P G"], pseudo_label: Int[Tensor, " P"]) -> Float[Tensor, "P G"]:
    """1 where a completion's answer is its group's pseudo-label, else 0.

    No answer, or no pseudo-label, is never a match.
    """
    return ((answer_ids == pseudo_label[:, None]) & (answer_ids >= 0)).float()


def soft_frequency_reward(answer_ids: Int[Tensor, "P G"], votes: Bool[Tensor, "P G"]) -> Float[Tensor, "P G"]:
    """The share of its group's votes that are for a completion's own answer, whichever wins.

        r_i = |{j votes : a_j = a_i}| / |{j votes : a_j is an answer}|

    0 for a completion without an answer, and where nobody voted. A completion that has no vote is rewarded too.

    Args:
        answer_ids: as in `majority_vote`; -1 is no answer.
        votes: which completions vote; those without an answer do not, whatever this says.
    """
    is_answer = answer_ids >= 0
    votes = votes & is_answer
    is_equal = answer_ids[:, :, None] == answer_ids[:, None, :]  # P, G, G: at most 256 KiB a group of 512
    num_votes = (is_equal & votes[:, None, :]).sum(dim=2)
    share = num_votes / votes.sum(dim=1, keepdim=True).clamp(min=1)
    return torch.where(is_answer, share, 0.0)


def random_reward(answer_ids: Int[Tensor, "P G"]) -> Float[Tensor, "P G"]:
    """0 or 1 by a fair coin for each completion, from torch's global generator."""
    return torch.randint(2, answer_ids.shape).to(answer_ids.device, torch.float32)
