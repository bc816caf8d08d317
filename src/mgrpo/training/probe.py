"""The answers that the initial model mostly gave, kept to see whether the policy would still give them.

Before the first step the initial model answers some prompts several times; the completions that agree with its
majority are kept. From then on their log-probability under the policy is looked at now and then. Training that
sharpens what the model knows leaves it about where it was; before a collapse it falls (docs/monitoring.md). No right
answer is asked for, and nothing of it is learnt from.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from mgrpo.answers.completions import Completion, read_answers
from mgrpo.answers.equivalence import number_answers
from mgrpo.answers.extract import Extractor
from mgrpo.monitoring.run_log import write_whole

FILE_NAME = "probe.json"
"""In a run's directory, written when training begins: a list of `ProbeRow`."""
NUM_GENERATIONS = 8
"""Completions for each prompt that vote on what is kept."""
LARGEST_CHANGE = 0.05
"""Nats per token: what a completion's change counts for at most in their mean, which some that are wholly forgotten,
at -3 each, would rule otherwise."""
FORGOTTEN_CHANGE = -0.15
"""Nats per token: a completion that has become this much less likely is forgotten."""


@dataclass(frozen=True)
class ProbeRow:
    """A completion of the initial model.

    Attributes:
        prompt_ids: the prompt's tokens.
        completion_ids: the completion's.
        log_prob: its mean log-probability under the initial model, nats per token.
    """

    prompt_ids: list[int]
    completion_ids: list[int]
    log_prob: float


def is_majority(completions: list[Completion], extractor: Extractor, equivalence: str) -> list[bool]:
    """Which completions give the answer that most of their prompt's `NUM_GENERATIONS` give; ties: the first."""
    answers = read_answers(completions, extractor).answers
    groups = [answers[start : start + NUM_GENERATIONS] for start in range(0, len(answers), NUM_GENERATIONS)]
    mask = []
    for ids in number_answers(groups, equivalence).ids:
        given = [number for number in ids if number >= 0]
        label = max(given, key=given.count) if given else None
        mask += [number == label for number in ids]
    return mask


def padded(rows: list[ProbeRow], pad_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """The rows as one batch: token ids and attention mask, (B, T), and the completions' mask, (B, longest completion).

    Prompts are padded on the left and completions on the right, as TRL does it.
    """
    longest_prompt = max(len(row.prompt_ids) for row in rows)
    longest = max(len(row.completion_ids) for row in rows)
    ids, mask = [], []
    for row in rows:
        left, right = longest_prompt - len(row.prompt_ids), longest - len(row.completion_ids)
        ids.append([pad_id] * left + row.prompt_ids + row.completion_ids + [pad_id] * right)
        mask.append([0] * left + [1] * (len(row.prompt_ids) + len(row.completion_ids)) + [0] * right)
    attention_mask = torch.tensor(mask)
    return torch.tensor(ids), attention_mask, attention_mask[:, longest_prompt:]


def save_rows(rows: list[ProbeRow], run_directory: Path) -> None:
    """Write them into a run's directory."""
    run_directory.mkdir(parents=True, exist_ok=True)
    write_whole(run_directory / FILE_NAME, json.dumps([asdict(row) for row in rows]))


def load_rows(run_directory: Path) -> list[ProbeRow] | None:
    """Read them from a run's directory; None if they are not there, or broken."""
    try:
        rows = json.loads((run_directory / FILE_NAME).read_text(encoding="utf-8"))
        return [ProbeRow(**row) for row in rows]
    except (OSError, ValueError, TypeError):
        return None
