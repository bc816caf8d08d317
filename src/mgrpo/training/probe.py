"""The answers that the initial model mostly gave, kept to see whether the policy would still give them.

Before the first step the initial model answers some prompts several times; the completions that agree with its
majority are kept. From then on their log-probability under the policy is measured at each logged step. Training that
sharpens what the model knows leaves it about where it was; before a collapse it falls (studies/monitoring.md). No
right answer is asked for, and nothing of it is trained on.
"""

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import gather, gather_object
from datasets import Dataset
from rich.console import Console
from torch import Tensor, nn
from trl.trainer.utils import pad

from mgrpo.algorithm import trajectory_mean
from mgrpo.answers.extract import Extractor
from mgrpo.monitoring.display import progress_bar
from mgrpo.runs import metrics as names
from mgrpo.runs.files import write_whole
from mgrpo.runs.reading import read_as, read_json
from mgrpo.training.config import MGRPOConfig
from mgrpo.training.labelling import label
from mgrpo.training.sampling.sampler import Rollouts

FILE_NAME = "probe.json"
"""In a run's directory, written when training begins: a list of `ProbeRow`."""
NUM_PROMPTS = 64
"""Prompts that are answered, where two steps sample as many completions."""
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


def batches_per_step(config: MGRPOConfig) -> float:
    """Batches sampled in an optimizer step; below 1 where each is trained on several times."""
    return config.gradient_accumulation_steps / (config.steps_per_generation * config.num_iterations)


def completions_per_step(config: MGRPOConfig) -> float:
    """Completions of both models sampled for an optimizer step."""
    # The frozen model's votes are remembered: its completions are not sampled at every step.
    num_momentum = config.num_momentum_generations if config.label_source not in ("frozen", "gold") else 0
    return batches_per_step(config) * config.generation_batch_size * (1 + num_momentum / config.num_generations)


def num_probe_prompts(config: MGRPOConfig) -> int:
    """Prompts of a run's probe, which samples no more than two steps unless the configuration sets their number."""
    if config.probe_prompts is not None:
        return config.probe_prompts
    return min(NUM_PROMPTS, max(1, round(2 * completions_per_step(config) / NUM_GENERATIONS)))


def mean_log_probs(model: nn.Module, score: Callable[..., tuple], pad_id: int, rows: list[ProbeRow]) -> Tensor:
    """Mean log-probability of each completion under the policy, nats per token, (B,); to be called on all processes.

    Args:
        model: the policy.
        score: TRL's: log-probabilities of the last T tokens, (B, T), and more, of model, token ids, attention mask, T.
        pad_id: the padding token.
        rows: of this process.
    """
    device = PartialState().device
    # on every process as many passes, since sharded weights are gathered by all of them together
    most = int(gather(torch.tensor([len(rows)], device=device)).max())
    if not most:
        return torch.zeros(0, device=device)
    filled = rows + [ProbeRow([pad_id], [pad_id], log_prob=0.0)] * (most - len(rows))
    input_ids, attention_mask, completion_mask = (part.to(device) for part in padded(filled, pad_id))
    was_training = model.training
    model.eval()  # the initial model's dropout must not differ from today's
    with torch.no_grad():
        log_probs, *_ = score(model, input_ids, attention_mask, completion_mask.shape[1])
    model.train(was_training)
    return trajectory_mean(log_probs, completion_mask.sum(dim=1))[: len(rows)]


class Probe:
    """The completions that are measured; each process scores its share.

    Args:
        rows: of all processes.
        log_probs_of: scores them.
    """

    def __init__(self, rows: list[ProbeRow], log_probs_of: Callable[[list[ProbeRow]], Tensor]) -> None:
        state = PartialState()
        self._rows, self._log_probs_of = rows[state.process_index :: state.num_processes], log_probs_of

    def metrics(self) -> dict[str, float]:
        """How the log-probabilities of all processes' completions changed; nothing where there are none."""
        after = self._log_probs_of(self._rows)
        changes = after - torch.tensor([row.log_prob for row in self._rows], device=after.device)
        limited = changes.clamp(-LARGEST_CHANGE, LARGEST_CHANGE).sum()
        local = torch.stack([limited, (changes < FORGOTTEN_CHANGE).sum(), torch.ones_like(changes).sum()])
        change, forgotten, count = gather(local).view(-1, 3).sum(dim=0).tolist()
        return {names.PROBE: change / count, names.FORGOTTEN: forgotten / count} if count else {}


def sample_probe(
    dataset: Dataset,
    num_prompts: int,
    at_once: int,
    sample: Callable[[list, int], Rollouts],
    extractor: Extractor,
    equivalence: str,
    log_probs_of: Callable[[list[ProbeRow]], Tensor],
    *,
    is_quiet: bool = True,
) -> list[ProbeRow]:
    """Completions of all processes that agree with the majority of their prompt's, by the weights as they are.

    Args:
        dataset: the prompts, of which `num_prompts` are taken at equal distances.
        num_prompts: for all processes together.
        at_once: most completions that a process samples together.
        sample: some completions for each prompt, decoded.
        extractor: reads an answer.
        equivalence: when two answers are the same.
        log_probs_of: scores completions.
        is_quiet: show no progress, which is shown on a terminal only.
    """
    state, size = PartialState(), len(dataset)
    rank, num_processes = state.process_index, state.num_processes
    # on every process as many, since engines sample together
    num_local = max(min(num_prompts, size) // num_processes, 1)
    indices = [(rank + i * num_processes) * size // (num_local * num_processes) for i in range(num_local)]
    prompts = dataset[indices]["prompt"]
    prompts_at_once = max(at_once // NUM_GENERATIONS, 1)
    local: list[ProbeRow] = []
    with progress_bar(Console(file=sys.stderr, quiet=is_quiet, emoji=False)) as bar:
        task = bar.add_task("the initial model answers prompts", total=num_local, numbers="")
        for start in range(0, num_local, prompts_at_once):
            sampled = sample(prompts[start : start + prompts_at_once], NUM_GENERATIONS)
            is_majority = label([(sampled, NUM_GENERATIONS)], extractor, equivalence).groups.match.flatten().tolist()
            rows = zip(sampled.prompt_ids, sampled.completion_ids, is_majority, strict=True)
            local += [ProbeRow(prompt, ids, log_prob=0.0) for prompt, ids, keep in rows if keep and ids]
            bar.update(task, completed=min(start + prompts_at_once, num_local))
    log_probs = log_probs_of(local).tolist()
    return gather_object([replace(row, log_prob=value) for row, value in zip(local, log_probs, strict=True)])


def padded(rows: list[ProbeRow], pad_id: int) -> tuple[Tensor, Tensor, Tensor]:
    """The rows as one batch: token ids and attention mask, (B, T), and the completions' mask, (B, longest completion).

    Prompts are padded on the left and completions on the right, as TRL does it.
    """
    prompts = [torch.tensor(row.prompt_ids) for row in rows]
    completions = [torch.tensor(row.completion_ids) for row in rows]
    prompt_mask = pad([torch.ones_like(ids) for ids in prompts], 0, "left")
    completion_mask = pad([torch.ones_like(ids) for ids in completions], 0, "right")
    input_ids = torch.cat([pad(prompts, pad_id, "left"), pad(completions, pad_id, "right")], dim=1)
    return input_ids, torch.cat([prompt_mask, completion_mask], dim=1), completion_mask


def save_rows(rows: list[ProbeRow], run_directory: Path) -> None:
    """Write them into a run's directory."""
    run_directory.mkdir(parents=True, exist_ok=True)
    write_whole(run_directory / FILE_NAME, json.dumps([asdict(row) for row in rows]))


def load_rows(*run_directories: Path) -> list[ProbeRow] | None:
    """Read them from the first run's directory in which they are there and whole; None if there is none."""
    for directory in run_directories:
        with suppress(FileNotFoundError, ValueError):
            return read_as(list[ProbeRow], read_json(directory / FILE_NAME))
    return None
