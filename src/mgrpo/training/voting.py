"""One batch from completions to pseudo-labels, and the numbers that are logged about it. No trainer in here."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mgrpo.algorithm import LabelledGroup, label_group, majority_vote
from mgrpo.answers.completions import read_answers, text_of
from mgrpo.answers.equivalence import equal_to, number_answers
from mgrpo.answers.extract import Extractor
from mgrpo.errors import UserError
from mgrpo.monitoring import names
from mgrpo.tasks.task import Scorer
from mgrpo.training.rollout import Rollouts


@dataclass(frozen=True)
class VotedBatch:
    """P groups of G = M + N completions with their votes; the policy's M first in each group.

    Attributes:
        policy: the policy's P * M completions.
        momentum: the momentum model's P * N, or None.
        answers: (P, G) answers as text, None where there is none.
        ids: (P, G) answer ids.
        entropy: (P, G) trajectory entropies in nats per token, or None.
        labelled: what the algorithm made of them.
        num_policy: M.
        failed_rate: share of the completions that the extractor failed on.
        timeout_rate: share of the different answers that were compared as text for want of better.
    """

    policy: Rollouts
    momentum: Rollouts | None
    answers: list[list[str | None]]
    ids: Tensor
    entropy: Tensor | None
    labelled: LabelledGroup
    num_policy: int
    failed_rate: float
    timeout_rate: float

    @property
    def pseudo_labels(self) -> list[str | None]:
        """Each group's pseudo-label as the text that stood first, None where nobody voted."""
        labels = self.labelled.vote.pseudo_label.tolist()
        return [
            group[ids.index(label)] if label >= 0 else None
            for group, ids, label in zip(self.answers, self.ids.tolist(), labels, strict=True)
        ]


def vote(
    policy: Rollouts,
    momentum: Rollouts | None,
    *,
    num_policy: int,
    num_momentum: int,
    extractor: Extractor,
    equivalence: str,
    iqr_multiplier: float | None,
    iqr_floor: float,
    label_source: str,
    filter_scope: str,
) -> VotedBatch:
    """Read the answers, filter, vote and reward; gold answers are no argument of this function."""
    read = read_answers(policy.completions, extractor)
    answers, num_read, num_failed = _groups(read.answers, num_policy), len(read.answers), read.num_failed
    entropy = None if policy.entropy is None else policy.entropy.float().cpu().view(-1, num_policy)
    if momentum is not None:
        more = read_answers(momentum.completions, extractor)
        num_read, num_failed = num_read + len(more.answers), num_failed + more.num_failed
        groups = zip(answers, _groups(more.answers, num_momentum), strict=True)
        answers = [first + second for first, second in groups]
        if entropy is not None and momentum.entropy is not None:
            entropy = torch.cat([entropy, momentum.entropy.float().cpu().view(-1, num_momentum)], dim=1)
    numbered = number_answers(answers, equivalence)
    ids = torch.tensor(numbered.ids)
    labelled = label_group(ids, num_policy, entropy, iqr_multiplier, iqr_floor, label_source, filter_scope)
    return VotedBatch(
        policy,
        momentum,
        answers,
        ids,
        entropy,
        labelled,
        num_policy,
        failed_rate=num_failed / num_read,
        timeout_rate=numbered.num_failed / max(numbered.num_compared, 1),
    )


def _groups(answers: list[str | None], size: int) -> list[list[str | None]]:
    return [answers[start : start + size] for start in range(0, len(answers), size)]


def vote_metrics(batch: VotedBatch) -> dict[str, float]:
    """The label-free numbers of a batch; nan where a number does not exist."""
    labelled, num_policy = batch.labelled, batch.num_policy
    metrics = {
        names.AGREEMENT: labelled.reward.mean().item(),
        names.TIE_RATE: labelled.vote.is_tie.float().mean().item(),
        names.UNLABELLED_RATE: 1 - labelled.loss_mask.any(dim=1).float().mean().item(),
        names.DROPPED_RATE: 1 - labelled.keep.float().mean().item(),
        names.NONE_RATE: (batch.ids[:, :num_policy] < 0).float().mean().item(),
        names.FAILED_RATE: batch.failed_rate,
        names.TIMEOUT_RATE: batch.timeout_rate,
        names.LENGTH: sum(batch.policy.num_tokens) / len(batch.policy.num_tokens),
    }
    if batch.entropy is not None:
        metrics[names.ENTROPY] = batch.entropy[:, :num_policy].mean().item()
    if batch.momentum is not None:
        metrics[names.MOMENTUM_AGREEMENT] = _momentum_agreement(batch)
    return metrics


def _momentum_agreement(batch: VotedBatch) -> float:
    is_momentum = torch.arange(batch.ids.shape[1]) >= batch.num_policy
    alone = majority_vote(batch.ids, is_momentum, is_momentum.expand_as(batch.ids)).pseudo_label
    voted = alone >= 0
    return (alone == batch.labelled.vote.pseudo_label)[voted].float().mean().item()


def spread_metrics(pseudo_labels: list[str | None]) -> dict[str, float]:
    """How different the prompts' pseudo-labels are; a policy that answers everything alike has one."""
    votes = Counter(label for label in pseudo_labels if label is not None)
    return {
        names.DISTINCT: float(len(votes)),
        names.TOP_SHARE: max(votes.values()) / votes.total() if votes else math.nan,
    }


def is_known(gold: Any) -> bool:
    """Whether there is a gold answer: any value but None and the empty text."""
    return gold is not None and gold != ""


def equivalent_to_gold(answers: list[str | None], gold: Any, equivalence: str) -> list[bool]:
    """The scorer of gold answers that are text or numbers.

    Raises:
        UserError: if it is neither.
    """
    if not isinstance(gold, str | int | float):
        raise UserError(
            f"a gold answer is {gold!r}, neither text nor a number; pass a gold_scorer, which knows what it means."
        )
    return equal_to(answers, str(gold), equivalence)


def gold_metrics(batch: VotedBatch, gold: list[Any], score: Scorer) -> dict[str, float]:
    """Measure the answers and the pseudo-labels against gold answers.

    Called after the rewards and advantages are fixed; nothing that is learnt from depends on it.

    Args:
        batch: the batch.
        gold: one for each group; None or empty: unknown.
        score: which of some answers are right, given a group's gold answer.

    Raises:
        UserError: if `score` does not judge each answer.
    """
    right, label_right = [], []
    for answers, label, truth in zip(batch.answers, batch.pseudo_labels, gold, strict=True):
        if is_known(truth):
            verdicts = score([*answers[: batch.num_policy], label], truth)
            if len(verdicts) != batch.num_policy + 1:
                raise UserError(
                    f"the task's score gave {len(verdicts)} verdicts on {batch.num_policy + 1} answers; make it give "
                    "one for each."
                )
            *policy_right, is_label_right = verdicts
            right += policy_right
            label_right.append(is_label_right)
    return {
        names.GOLD_ACCURACY: sum(right) / len(right) if right else math.nan,
        names.GOLD_LABEL_ACCURACY: sum(label_right) / len(label_right) if label_right else math.nan,
    }


def completion_rows(batch: VotedBatch, prompts: list, advantages: list[float]) -> list[dict]:
    """The batch as table rows, a row for each completion of either model.

    Args:
        batch: the batch.
        prompts: one for each group.
        advantages: one for each policy completion.
    """
    num_policy, num_completions = batch.num_policy, batch.ids.shape[1]
    labelled, labels = batch.labelled, batch.pseudo_labels
    rows = []
    for p, prompt in enumerate(prompts):
        for g in range(num_completions):
            is_policy = g < num_policy
            if is_policy:
                completion = batch.policy.completions[p * num_policy + g]
            else:
                assert batch.momentum is not None
                completion = batch.momentum.completions[p * (num_completions - num_policy) + g - num_policy]
            rows.append(
                {
                    "prompt": prompt if isinstance(prompt, str) else "\n".join(text_of([m]) for m in prompt),
                    "completion": text_of(completion),
                    "answer": batch.answers[p][g],
                    "model": "policy" if is_policy else "momentum",
                    "entropy": None if batch.entropy is None else batch.entropy[p, g].item(),
                    "kept": bool(labelled.keep[p, g]),
                    "pseudo_label": labels[p],
                    "reward": labelled.reward[p, g].item(),
                    "advantage": advantages[p * num_policy + g] if is_policy else None,
                }
            )
    return rows
