"""The answers that the initial model mostly gave, kept to see whether the policy would still give them.

Before the first step the initial model answers some prompts several times; the completions that agree with its
majority are kept. From then on their log-probability under the policy is looked at now and then. Training that
sharpens what the model knows leaves it about where it was; before a collapse it falls (docs/monitoring.md). No right
answer is asked for, and nothing of it is learnt from.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate.utils import gather, gather_object
from torch import Tensor

from mgrpo.algorithm import trajectory_mean
from mgrpo.answers.completions import Completion, read_answers
from mgrpo.answers.equivalence import number_answers
from mgrpo.answers.extract import Extractor
from mgrpo.runs import metrics as names
from mgrpo.runs.files import write_whole

if TYPE_CHECKING:
    from mgrpo.training.trainer import MGRPOTrainer

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


class Probe:
    """The completions that are looked at; each process scores its share.

    Args:
        trainer: whose policy is looked at.
        rows: of all processes; the main process writes them into the run's directory.
    """

    def __init__(self, trainer: "MGRPOTrainer", rows: list[ProbeRow]) -> None:
        if trainer.accelerator.is_main_process:
            save_rows(rows, Path(trainer.args.output_dir))
        self._trainer = trainer
        self._rows = rows[trainer.accelerator.process_index :: trainer.accelerator.num_processes]

    def metrics(self) -> dict[str, float]:
        """How the log-probabilities of all processes' completions changed; nothing where there are none."""
        before = torch.tensor([row.log_prob for row in self._rows], device=self._trainer.accelerator.device)
        changes = log_probs_of(self._trainer, self._rows) - before
        limited = changes.clamp(-LARGEST_CHANGE, LARGEST_CHANGE).sum()
        local = torch.stack([limited, (changes < FORGOTTEN_CHANGE).sum(), torch.ones_like(changes).sum()])
        change, forgotten, count = gather(local).view(-1, 3).sum(dim=0).tolist()
        return {names.PROBE: change / count, names.FORGOTTEN: forgotten / count} if count else {}


def sample_probe(trainer: "MGRPOTrainer") -> list[ProbeRow]:
    """Completions of all processes that agree with the majority of their prompt's, by the weights as they are."""
    assert trainer.answer_fn is not None
    size = len(trainer.train_dataset)
    rank, num_processes = trainer.accelerator.process_index, trainer.accelerator.num_processes
    # on every process as many, since engines sample together
    num_local = max(min(trainer.args.probe_prompts, size) // num_processes, 1)
    indices = [(rank + i * num_processes) * size // (num_local * num_processes) for i in range(num_local)]
    prompts = trainer.train_dataset[indices]["prompt"]
    # no more completions at once than in training
    at_once = max(trainer.args.generation_batch_size // num_processes // NUM_GENERATIONS, 1)
    local: list[ProbeRow] = []
    trainer.model.train()  # TRL counts completions by this mode
    with trainer.without_trace():
        for start in range(0, num_local, at_once):
            sampled = trainer.sample(prompts[start : start + at_once], NUM_GENERATIONS)
            kept = is_majority(sampled[-1], trainer.answer_fn, trainer.equivalence)
            local += [
                ProbeRow(prompt, completion, log_prob=0.0)
                for prompt, completion, _, keep in zip(*sampled, kept, strict=True)
                if keep and completion
            ]
    log_probs = log_probs_of(trainer, local).tolist()
    local = [replace(row, log_prob=value) for row, value in zip(local, log_probs, strict=True)]
    return gather_object(local)


def log_probs_of(trainer: "MGRPOTrainer", rows: list[ProbeRow]) -> Tensor:
    """Mean log-probability of each completion under the policy, nats per token, (B,)."""
    device = trainer.accelerator.device
    # on every process as many passes, since sharded weights are gathered by all of them together
    most = int(gather(torch.tensor([len(rows)], device=device)).max())
    if not most:
        return torch.zeros(0, device=device)
    pad_id = trainer.processing_class.pad_token_id
    filled = rows + [ProbeRow([pad_id], [pad_id], log_prob=0.0)] * (most - len(rows))
    input_ids, attention_mask, completion_mask = (part.to(device) for part in padded(filled, pad_id))
    was_training = trainer.model.training
    trainer.model.eval()  # the initial model's dropout must not differ from today's
    with torch.no_grad():
        log_probs, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model,
            input_ids,
            attention_mask,
            completion_mask.shape[1],
            batch_size=trainer.args.per_device_train_batch_size,
        )
    trainer.model.train(was_training)
    return trajectory_mean(log_probs, completion_mask.sum(dim=1))[: len(rows)]


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
