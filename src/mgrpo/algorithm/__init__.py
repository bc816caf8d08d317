"""The M-GRPO algorithm as pure functions on tensors.

    rollouts -> entropy -> entropy_filter -> pseudo_label -> advantage -> (policy update) -> momentum
                `---------------- group: the first three in one call ---------------'

Axes: P = prompts, G = completions in a group (the policy's M first, then the momentum model's N), T = tokens,
V = vocabulary. Symbols of the paper (arXiv 2512.13070): pi_q = policy, pi_k = momentum model, m = momentum,
k = the entropy filter's multiplier.

Imports torch and nothing else: no text, no model, no process, no file.
"""

from mgrpo.algorithm.advantage import group_advantage
from mgrpo.algorithm.entropy import token_entropy, trajectory_mean
from mgrpo.algorithm.entropy_filter import iqr_keep_mask
from mgrpo.algorithm.group import FILTER_SCOPES, LABEL_SOURCES, LabelledGroup, label_group
from mgrpo.algorithm.momentum import ema_update_, relative_distance
from mgrpo.algorithm.pseudo_label import Vote, majority_vote, match_reward

__all__ = [
    "FILTER_SCOPES",
    "LABEL_SOURCES",
    "LabelledGroup",
    "Vote",
    "ema_update_",
    "group_advantage",
    "iqr_keep_mask",
    "label_group",
    "majority_vote",
    "match_reward",
    "relative_distance",
    "token_entropy",
    "trajectory_mean",
]
