"""One generation batch on its way through the trainer."""

from dataclasses import dataclass, field
from typing import Any

from mgrpo.training.label_memory import PromptHistory
from mgrpo.training.labelling import Labels
from mgrpo.training.sampling.sampler import Rollouts


@dataclass
class Batch:
    """P prompts and what becomes of them. Each step of the trainer adds to it, and it holds all that they share.

    Attributes:
        is_training: whether the batch is trained on, or held-out.
        num_policy: M, the policy's completions for each prompt.
        num_momentum: N, the momentum model's; 0 where it has none, or where the batch is held-out.
        prompts: one for each group, as the data has it.
        gold: the right answers, one for each group; None or empty: unknown. Only `label_source: gold` and the log use
            them.
        asked: the prompts as TRL asks them, with their images.
        policy: sampled from the policy, P * M.
        momentum: sampled from the momentum model, P * N; None if nothing was.
        labels: answers, votes and rewards of the groups.
        visits: what each prompt's visit added up to.
        label_seconds: that labelling took.
    """

    is_training: bool
    num_policy: int
    num_momentum: int
    prompts: list[Any]
    gold: list[Any]
    asked: list[Any] = field(init=False)
    policy: Rollouts = field(init=False)
    momentum: Rollouts | None = None
    labels: Labels = field(init=False)
    visits: list[PromptHistory] = field(default_factory=list)
    label_seconds: float = 0.0
