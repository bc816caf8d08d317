"""One batch from completions to pseudo-labels, and the numbers that are logged about it. No trainer in here."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mgrpo.algorithm import KnownLabels, LabelledGroup, label_group, majority_vote
from mgrpo.answers.completions import read_answers, text_of
from mgrpo.answers.equivalence import equal_to, number_answers
from mgrpo.answers.extract import Extractor
from mgrpo.errors import UserError
from mgrpo.runs import metrics as names
from mgrpo.tasks.task import Scorer, is_known
from mgrpo.training.sampling.entropy import Rollouts


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
        labels: each group's label as text, None where there is none.
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
    labels: list[str | None]
    num_policy: int
    failed_rate: float
    timeout_rate: float


def vote(
    policy: Rollouts,
    momentum: Rollouts | None,
    *,
    num_policy: int,
    num_momentum: int,
    extractor: Extractor,
    equivalence: str,
    known: "FixedLabels | None" = None,
    **method: Any,
) -> VotedBatch:
    """Read the answers, filter, vote and reward.

    Args:
        policy: the policy's completions.
        momentum: the momentum model's, or None.
        num_policy: M.
        num_momentum: N.
        extractor: reads an answer.
        equivalence: when two answers are the same.
        known: labels that nobody has to vote for; the only way by which a gold answer could come in here.
        **method: as in `label_group`.
    """
    read = read_answers(policy.completions, extractor)
    answers, num_read, num_failed = _groups(read.answers, num_policy), len(read.answers), read.num_failed
    entropy, certainty = _of_groups(policy, num_policy)
    if momentum is not None:
        more = read_answers(momentum.completions, extractor)
        num_read, num_failed = num_read + len(more.answers), num_failed + more.num_failed
        groups = zip(answers, _groups(more.answers, num_momentum), strict=True)
        answers = [first + second for first, second in groups]
        entropy, certainty = (
            None if first is None or second is None else torch.cat([first, second], dim=1)
            for first, second in zip((entropy, certainty), _of_groups(momentum, num_momentum), strict=True)
        )
    numbered = number_answers(answers, equivalence)
    ids = torch.tensor(numbered.ids)
    known_labels = None if known is None else known.judge(answers)
    labelled = label_group(ids, num_policy, entropy, known_labels=known_labels, self_certainty=certainty, **method)
    return VotedBatch(
        policy,
        momentum,
        answers,
        ids,
        entropy,
        labelled,
        _voted_labels(answers, numbered.ids, labelled) if known is None else known.texts,
        num_policy,
        failed_rate=num_failed / num_read,
        timeout_rate=numbered.num_failed / max(numbered.num_compared, 1),
    )


@dataclass(frozen=True)
class FixedLabels:
    """The labels of a batch that come from elsewhere than its votes.

    Attributes:
        labels: one for each group, anything that `score` takes; None or empty: unknown.
        score: which of some answers agree with a label.
    """

    labels: list[Any]
    score: Scorer

    @property
    def texts(self) -> list[str | None]:
        """The labels as text."""
        return [str(label) if is_known(label) else None for label in self.labels]

    def judge(self, answers: list[list[str | None]]) -> KnownLabels:
        """Compare the answers of each group with its label."""
        is_match = [
            self.score(group, label) if is_known(label) else [False] * len(group)
            for group, label in zip(answers, self.labels, strict=True)
        ]
        return KnownLabels(torch.tensor(is_match), torch.tensor([is_known(label) for label in self.labels]))


def voted_labels(rollouts: Rollouts, num_per_prompt: int, extractor: Extractor, equivalence: str) -> list[str | None]:
    """What some completions alone vote for, a label for each prompt; ties: the answer that comes first."""
    batch = vote(
        rollouts, None, num_policy=num_per_prompt, num_momentum=0, extractor=extractor, equivalence=equivalence
    )
    return batch.labels


def _of_groups(rollouts: Rollouts, size: int) -> tuple[Tensor | None, Tensor | None]:
    return tuple(  # type: ignore[return-value]
        None if values is None else values.float().cpu().view(-1, size)
        for values in (rollouts.entropy, rollouts.self_certainty)
    )


def _voted_labels(answers: list[list[str | None]], ids: list[list[int]], labelled: LabelledGroup) -> list[str | None]:
    """Each group's pseudo-label as the text that stood first, None where nobody voted."""
    assert labelled.vote is not None
    labels = labelled.vote.pseudo_label.tolist()
    return [
        group[numbers.index(label)] if label >= 0 else None
        for group, numbers, label in zip(answers, ids, labels, strict=True)
    ]


def _groups(answers: list[str | None], size: int) -> list[list[str | None]]:
    return [answers[start : start + size] for start in range(0, len(answers), size)]


def vote_metrics(batch: VotedBatch) -> dict[str, float]:
    """The label-free numbers of a batch; nan where a number does not exist."""
    labelled, num_policy = batch.labelled, batch.num_policy
    metrics = {
        names.AGREEMENT: labelled.match.mean().item(),
        names.UNLABELLED_RATE: 1 - labelled.loss_mask.any(dim=1).float().mean().item(),
        names.DROPPED_RATE: 1 - labelled.keep.float().mean().item(),
        names.NONE_RATE: (batch.ids[:, :num_policy] < 0).float().mean().item(),
        names.FAILED_RATE: batch.failed_rate,
        names.TIMEOUT_RATE: batch.timeout_rate,
        names.LENGTH: sum(batch.policy.num_tokens) / len(batch.policy.num_tokens),
    }
    if batch.entropy is not None:
        metrics[names.ENTROPY] = batch.entropy[:, :num_policy].mean().item()
    if labelled.vote is not None:
        metrics[names.TIE_RATE] = labelled.vote.is_tie.float().mean().item()
    if labelled.vote is not None and batch.momentum is not None:
        is_momentum = torch.arange(batch.ids.shape[1]) >= num_policy
        for name, voters in ((names.POLICY_AGREEMENT, ~is_momentum), (names.MOMENTUM_AGREEMENT, is_momentum)):
            alone = majority_vote(batch.ids, is_momentum, voters.expand_as(batch.ids)).pseudo_label
            metrics[name] = (alone == labelled.vote.pseudo_label)[alone >= 0].float().mean().item()
    return metrics


def spread_metrics(pseudo_labels: list[str | None]) -> dict[str, float]:
    """How different the prompts' pseudo-labels are; a policy that answers everything alike has one."""
    votes = Counter(label for label in pseudo_labels if label is not None)
    return {
        names.DISTINCT: float(len(votes)),
        names.TOP_SHARE: max(votes.values()) / votes.total() if votes else math.nan,
    }


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


def gold_verdicts(batch: VotedBatch, gold: list[Any], score: Scorer) -> list[list[bool] | None]:
    """Which answers of each group are right, its label's last; None for a group whose gold answer is not known.

    Called after the rewards and advantages are fixed; nothing that is learnt from depends on it.

    Args:
        batch: the batch.
        gold: one for each group; None or empty: unknown.
        score: which of some answers are right, given a group's gold answer.

    Raises:
        UserError: if `score` does not judge each answer.
    """
    verdicts: list[list[bool] | None] = []
    for answers, label, truth in zip(batch.answers, batch.labels, gold, strict=True):
        if not is_known(truth):
            verdicts.append(None)
            continue
        right = score([*answers, label], truth)
        if len(right) != len(answers) + 1:
            raise UserError(
                f"the task's score gave {len(right)} verdicts on {len(answers) + 1} answers; make it give one for "
                "each."
            )
        verdicts.append(right)
    return verdicts


def gold_metrics(batch: VotedBatch, verdicts: list[list[bool] | None]) -> dict[str, float]:
    """Measure the answers and the labels against gold answers; nan where a number does not exist."""
    num_policy, keep = batch.num_policy, batch.labelled.keep.tolist()
    judged = [(right, kept) for right, kept in zip(verdicts, keep, strict=True) if right is not None]
    policy = [list(zip(right, kept, strict=False))[:num_policy] for right, kept in judged]
    return {
        names.GOLD_ACCURACY: _mean([right for group in policy for right, _ in group]),
        names.GOLD_DROPPED_ACCURACY: _mean([right for group in policy for right, kept in group if not kept]),
        names.GOLD_MOMENTUM_ACCURACY: _mean([r for right, _ in judged for r in right[num_policy:-1]]),
        names.GOLD_LABEL_ACCURACY: _mean([right[-1] for right, _ in judged]),
    }


def _mean(verdicts: list[bool]) -> float:
    return sum(verdicts) / len(verdicts) if verdicts else math.nan


def completion_rows(
    batch: VotedBatch,
    prompts: list,
    advantages: list[float],
    gold: list[Any],
    verdicts: list[list[bool] | None],
    first_group: int = 0,
) -> list[dict]:
    """The batch as table rows, a row for each completion of either model.

    Args:
        batch: the batch.
        prompts: one for each group.
        advantages: one for each policy completion.
        gold: the right answers, one for each group; None or empty: unknown.
        verdicts: from `gold_verdicts`.
        first_group: the number of the batch's first group, among those of all processes.
    """
    num_policy, num_completions = batch.num_policy, batch.ids.shape[1]
    labelled = batch.labelled
    rows = []
    for p, prompt in enumerate(prompts):
        right = verdicts[p]
        for g in range(num_completions):
            is_policy = g < num_policy
            if is_policy:
                rollouts, row = batch.policy, p * num_policy + g
            else:
                assert batch.momentum is not None
                rollouts, row = batch.momentum, p * (num_completions - num_policy) + g - num_policy
            rows.append(
                {
                    "group": first_group + p,
                    "prompt": prompt if isinstance(prompt, str) else "\n".join(text_of([m]) for m in prompt),
                    "completion": text_of(rollouts.completions[row]),
                    "answer": batch.answers[p][g],
                    "answer_id": int(batch.ids[p, g]),
                    "model": "policy" if is_policy else "momentum",
                    "num_tokens": rollouts.num_tokens[row],
                    "entropy": None if batch.entropy is None else batch.entropy[p, g].item(),
                    "fence": None if labelled.fence is None else labelled.fence[p].item(),
                    "kept": bool(labelled.keep[p, g]),
                    "pseudo_label": batch.labels[p],
                    "is_match": bool(labelled.match[p, g]),
                    "is_tie": None if labelled.vote is None else bool(labelled.vote.is_tie[p]),
                    "reward": labelled.reward[p, g].item(),
                    "advantage": advantages[p * num_policy + g] if is_policy else None,
                    "is_right": None if right is None else right[g],
                    "right_answer": str(gold[p]) if is_known(gold[p]) else None,
                }
            )
    return rows
