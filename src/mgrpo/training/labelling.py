"""From completions to pseudo-labels, rewards and a loss mask: functions of values, without a trainer or a model."""

from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor

from mgrpo.algorithm import KnownLabels, LabelledGroup, flip_weight, label_group
from mgrpo.answers.completions import Completion, read_answers
from mgrpo.answers.equivalence import number_answers
from mgrpo.answers.extract import Extractor
from mgrpo.tasks.task import Scorer, is_known
from mgrpo.training.label_memory import PromptHistory
from mgrpo.training.sampling.sampler import Rollouts

METHOD_FIELDS = (
    "label_source",
    "reward",
    "iqr_multiplier",
    "iqr_floor",
    "filter_scope",
    "min_agreement",
    "max_agreement",
)
"""The configuration's fields that `label_group` takes."""
T = TypeVar("T")


@dataclass(frozen=True)
class Labels:
    """P groups of G = M + N completions, labelled; the policy's M come first in each group.

    Attributes:
        num_policy: M.
        completions: (P, G).
        num_tokens: (P, G), end-of-text included.
        answers: (P, G) as text, None where there is none.
        ids: (P, G) answer ids.
        entropy: (P, G) trajectory entropies in nats per token, or None.
        groups: votes, rewards and loss mask.
        texts: each group's label as text, None where there is none.
        failed_rate: share of the completions that the extractor failed on.
        timeout_rate: share of the different answers that were compared as text for want of better.
    """

    num_policy: int
    completions: list[list[Completion]]
    num_tokens: list[list[int]]
    answers: list[list[str | None]]
    ids: Tensor
    entropy: Tensor | None
    groups: LabelledGroup
    texts: list[str | None]
    failed_rate: float
    timeout_rate: float


@dataclass(frozen=True)
class FixedLabels:
    """The labels of a batch that come from elsewhere than its votes.

    Attributes:
        labels: one for each group, anything that `score` takes; None or empty: unknown.
        score: which of some answers agree with a label.
    """

    labels: list[Any]
    score: Scorer

    def judge(self, answers: list[list[str | None]]) -> KnownLabels:
        """Compare the answers of each group with its label."""
        is_match = [
            self.score(group, label) if is_known(label) else [False] * len(group)
            for group, label in zip(answers, self.labels, strict=True)
        ]
        return KnownLabels(torch.tensor(is_match), torch.tensor([is_known(label) for label in self.labels]))


def label(
    voters: list[tuple[Rollouts, int]],
    extractor: Extractor,
    equivalence: str,
    known: FixedLabels | None = None,
    **method: Any,
) -> Labels:
    """Read the answers, filter, vote and reward.

    Args:
        voters: decoded completions, and how many there are for each prompt: the policy's, then the momentum model's.
        extractor: reads an answer.
        equivalence: when two answers are the same.
        known: labels that nobody has to vote for; the only way by which a gold answer could come in here.
        **method: as in `label_group`.
    """
    rollouts, sizes = [part for part, _ in voters], [size for _, size in voters]
    read = [read_answers(part.completions, extractor) for part in rollouts]
    answers = _grouped([part.answers for part in read], sizes)
    numbered = number_answers(answers, equivalence)
    entropy = _grouped_values([part.entropy for part in rollouts], sizes)
    groups = label_group(
        torch.tensor(numbered.ids),
        sizes[0],
        entropy,
        known_labels=None if known is None else known.judge(answers),
        self_certainty=_grouped_values([part.self_certainty for part in rollouts], sizes),
        **method,
    )
    if known is not None:
        texts = [str(label) if is_known(label) else None for label in known.labels]
    else:
        assert groups.vote is not None
        # the text that came first of those that are equal
        texts = [
            group[ids.index(label)] if label >= 0 else None
            for group, ids, label in zip(answers, numbered.ids, groups.vote.pseudo_label.tolist(), strict=True)
        ]
    return Labels(
        sizes[0],
        _grouped([part.completions for part in rollouts], sizes),
        _grouped([[len(ids) for ids in part.completion_ids] for part in rollouts], sizes),
        answers,
        torch.tensor(numbered.ids),
        entropy,
        groups,
        texts,
        failed_rate=sum(part.num_failed for part in read) / sum(len(part.answers) for part in read),
        timeout_rate=numbered.num_failed / max(numbered.num_compared, 1),
    )


def mask(labels: Labels, num_tokens: int, answer_spans: list[range] | None = None) -> Tensor:
    """Which of the policy's tokens are trained on, 1 or 0, shape (P M, num_tokens).

    Args:
        labels: of the batch; a completion outside of their loss mask has no token that is.
        num_tokens: in the longest completion.
        answer_spans: for each completion, tokens that are not.
    """
    rows = labels.groups.loss_mask.flatten().long()[:, None].repeat(1, num_tokens)
    for row, span in zip(rows, answer_spans or [], strict=answer_spans is not None):
        row[span.start : span.stop] = 0
    return rows


def flip_weights(visits: list[PromptHistory], patience: int | None) -> Tensor:
    """The factor on each group's advantages; 1 without a `label_flip_patience`."""
    if patience is None:
        return torch.ones(len(visits))
    return flip_weight(torch.tensor([visit.num_flips for visit in visits]), patience)


def _grouped(parts: list[list[T]], sizes: list[int]) -> list[list[T]]:
    """Lists in which each group has `size` places, as one list for each group."""
    groups = (
        [part[start : start + size] for start in range(0, len(part), size)]
        for part, size in zip(parts, sizes, strict=True)
    )
    return [list(chain(*group)) for group in zip(*groups, strict=True)]


def _grouped_values(parts: list[Tensor | None], sizes: list[int]) -> Tensor | None:
    """The same of tensors, (P, G); None if one is missing."""
    values = [part.float().cpu().view(-1, size) for part, size in zip(parts, sizes, strict=True) if part is not None]
    return torch.cat(values, dim=1) if len(values) == len(parts) else None
