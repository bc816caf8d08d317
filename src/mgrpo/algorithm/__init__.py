"""The M-GRPO algorithm as pure functions on tensors.

    rollouts -> entropy -> entropy_filter -> pseudo_label -> advantage -> (policy update) -> momentum
                `---------------- group: the first three in one call ---------------'

Axes: P = prompts, G = completions in a group (the policy's M first, then the momentum model's N), T = tokens,
V = vocabulary. Symbols of the paper (arXiv 2512.13070): pi_q = policy, pi_k = momentum model, m = momentum,
k = the entropy filter's multiplier.

Imports torch and nothing else: no text, no model, no process, no file.
"""

from mgrpo.algorithm.advantage import group_advantage
from mgrpo.algorithm.entropy import token_entropy, token_self_certainty, trajectory_mean
from mgrpo.algorithm.entropy_filter import iqr_fence
from mgrpo.algorithm.group import (
    FILTER_SCOPES,
    KNOWN_LABEL_SOURCES,
    LABEL_SOURCES,
    KnownLabels,
    LabelledGroup,
    label_group,
)
from mgrpo.algorithm.label_flip import flip_weight
from mgrpo.algorithm.momentum import (
    MOMENTUM_SCHEDULES,
    distance_squares,
    ema_update_,
    relative_distance,
    scheduled_momentum,
)
from mgrpo.algorithm.pseudo_label import NO_ANSWER, Vote, majority_vote
from mgrpo.algorithm.reward import REWARDS, match_reward, random_reward, soft_frequency_reward

__all__ = [
    "FILTER_SCOPES",
    "KNOWN_LABEL_SOURCES",
    "LABEL_SOURCES",
    "MOMENTUM_SCHEDULES",
    "NO_ANSWER",
    "REWARDS",
    "KnownLabels",
    "LabelledGroup",
    "Vote",
    "distance_squares",
    "ema_update_",
    "flip_weight",
    "group_advantage",
    "iqr_fence",
    "label_group",
    "majority_vote",
    "match_reward",
    "random_reward",
    "relative_distance",
    "scheduled_momentum",
    "soft_frequency_reward",
    "token_entropy",
    "token_self_certainty",
    "trajectory_mean",
]
