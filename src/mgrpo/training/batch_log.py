"""What is logged of a batch: its metrics, and a table row for each completion."""

import math
from collections import Counter
from typing import Any

import torch
from accelerate.utils import gather, gather_object

from mgrpo.algorithm import majority_vote
from mgrpo.answers.completions import text_of
from mgrpo.errors import UserError
from mgrpo.runs import metrics as names
from mgrpo.tasks.task import Scorer, is_known
from mgrpo.training.batch import Batch
from mgrpo.training.labelling import Labels, flip_weights


def batch_metrics(
    batch: Batch, verdicts: list[list[bool] | None], patience: int | None, device: torch.device
) -> dict[str, float]:
    """The metrics of a batch over all processes, without those that do not exist; to be called on all.

    Args:
        batch: this process's.
        verdicts: from `gold_verdicts`.
        patience: the configuration's `label_flip_patience`.
        device: this process's.
    """
    local = vote_metrics(batch.labels)
    local |= {names.TIME_POLICY: batch.policy.seconds, names.TIME_LABEL: batch.label_seconds}
    if batch.num_momentum:
        local[names.TIME_MOMENTUM] = 0.0 if batch.momentum is None else batch.momentum.seconds
    if batch.is_training:
        local[names.FLIP_RATE] = _mean([visit.is_flip for visit in batch.visits if visit.is_flip is not None])
        local[names.FLIP_WEIGHT] = flip_weights(batch.visits, patience).mean().item()
    if gather(torch.tensor([any(right is not None for right in verdicts)], device=device)).any():
        local |= gold_metrics(batch.labels, verdicts)
    values = gather(torch.tensor([list(local.values())], device=device)).nanmean(dim=0)
    metrics = dict(zip(local, values.tolist(), strict=True)) | spread_metrics(gather_object(batch.labels.texts))
    return {name: value for name, value in metrics.items() if not math.isnan(value)}


def vote_metrics(labels: Labels) -> dict[str, float]:
    """The label-free numbers of a batch; nan where a number does not exist."""
    groups, num_policy = labels.groups, labels.num_policy
    lengths = [num_tokens for group in labels.num_tokens for num_tokens in group[:num_policy]]
    metrics = {
        names.AGREEMENT: groups.match.mean().item(),
        names.UNLABELLED_RATE: 1 - groups.loss_mask.any(dim=1).float().mean().item(),
        names.DROPPED_RATE: 1 - groups.keep.float().mean().item(),
        names.NONE_RATE: (labels.ids[:, :num_policy] < 0).float().mean().item(),
        names.FAILED_RATE: labels.failed_rate,
        names.TIMEOUT_RATE: labels.timeout_rate,
        names.LENGTH: sum(lengths) / len(lengths),
    }
    if labels.entropy is not None:
        metrics[names.ENTROPY] = labels.entropy[:, :num_policy].mean().item()
    if groups.vote is None:
        return metrics
    metrics[names.TIE_RATE] = groups.vote.is_tie.float().mean().item()
    is_momentum = torch.arange(labels.ids.shape[1]) >= num_policy
    if is_momentum.any():
        for name, voters in ((names.POLICY_AGREEMENT, ~is_momentum), (names.MOMENTUM_AGREEMENT, is_momentum)):
            alone = majority_vote(labels.ids, is_momentum, voters.expand_as(labels.ids)).pseudo_label
            metrics[name] = (alone == groups.vote.pseudo_label)[alone >= 0].float().mean().item()
    return metrics


def spread_metrics(pseudo_labels: list[str | None]) -> dict[str, float]:
    """How different the prompts' pseudo-labels are; a policy that answers everything alike has one."""
    votes = Counter(label for label in pseudo_labels if label is not None)
    return {
        names.DISTINCT: float(len(votes)),
        names.TOP_SHARE: max(votes.values()) / votes.total() if votes else math.nan,
    }


def gold_verdicts(labels: Labels, gold: list[Any], score: Scorer) -> list[list[bool] | None]:
    """Which answers of each group are right, its label's last; None for a group whose gold answer is not known.

    Called after the rewards and advantages are fixed; nothing that is trained on depends on it.

    Args:
        labels: of the batch.
        gold: one for each group; None or empty: unknown.
        score: which of some answers are right, given a group's gold answer.

    Raises:
        UserError: if `score` does not judge each answer.
    """
    verdicts: list[list[bool] | None] = []
    for answers, label, truth in zip(labels.answers, labels.texts, gold, strict=True):
        if not is_known(truth):
            verdicts.append(None)
            continue
        right = score([*answers, label], truth)
        if len(right) != len(answers) + 1:
            raise UserError(
                f"the task's score gave {len(right)} verdicts on {len(answers) + 1} answers; return one for each."
            )
        verdicts.append(right)
    return verdicts


def gold_metrics(labels: Labels, verdicts: list[list[bool] | None]) -> dict[str, float]:
    """Measure the answers and the labels against gold answers; nan where a number does not exist."""
    num_policy, keep = labels.num_policy, labels.groups.keep.tolist()
    judged = [(right, kept) for right, kept in zip(verdicts, keep, strict=True) if right is not None]
    policy = [pair for right, kept in judged for pair in list(zip(right, kept, strict=False))[:num_policy]]
    return {
        names.GOLD_ACCURACY: _mean([right for right, _ in policy]),
        names.GOLD_DROPPED_ACCURACY: _mean([right for right, kept in policy if not kept]),
        names.GOLD_MOMENTUM_ACCURACY: _mean([r for right, _ in judged for r in right[num_policy:-1]]),
        names.GOLD_LABEL_ACCURACY: _mean([right[-1] for right, _ in judged]),
    }


def _mean(verdicts: list[bool]) -> float:
    return sum(verdicts) / len(verdicts) if verdicts else math.nan


def completion_rows(
    batch: Batch, advantages: list[float], verdicts: list[list[bool] | None], first_group: int = 0
) -> list[dict[str, Any]]:
    """The batch as table rows, a row for each completion of either model.

    Args:
        batch: the batch.
        advantages: one for each policy completion.
        verdicts: from `gold_verdicts`.
        first_group: the number of the batch's first group, among those of all processes.
    """
    labels, groups = batch.labels, batch.labels.groups
    return [
        {
            "group": first_group + p,
            "prompt": prompt if isinstance(prompt, str) else "\n".join(text_of([message]) for message in prompt),
            "completion": text_of(completion),
            "answer": labels.answers[p][g],
            "answer_id": int(labels.ids[p, g]),
            "model": "policy" if g < labels.num_policy else "momentum",
            "num_tokens": labels.num_tokens[p][g],
            "entropy": None if labels.entropy is None else labels.entropy[p, g].item(),
            "fence": None if groups.fence is None else groups.fence[p].item(),
            "kept": bool(groups.keep[p, g]),
            "pseudo_label": labels.texts[p],
            "is_match": bool(groups.match[p, g]),
            "is_tie": None if groups.vote is None else bool(groups.vote.is_tie[p]),
            "reward": groups.reward[p, g].item(),
            "advantage": advantages[p * labels.num_policy + g] if g < labels.num_policy else None,
            "is_right": None if (right := verdicts[p]) is None else right[g],
            "right_answer": str(batch.gold[p]) if is_known(batch.gold[p]) else None,
        }
        for p, prompt in enumerate(batch.prompts)
        for g, completion in enumerate(labels.completions[p])
    ]
