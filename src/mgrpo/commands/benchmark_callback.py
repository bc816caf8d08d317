"""Benchmarks during training: the policy and the momentum model on a fixed subset of each, every so many steps.

Right answers are compared with what was sampled, and nothing is trained on them. Global random states are neither
read nor changed, so that a run with and without benchmarks ends with the same bits.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, TrainerControl, TrainerState

from mgrpo.errors import UserError
from mgrpo.evaluation.benchmark import Benchmark, Questions, encode_questions
from mgrpo.evaluation.benchmarks import as_trained, load_benchmark, parse_names
from mgrpo.evaluation.engines import TransformersEngine
from mgrpo.evaluation.protocols import PROTOCOLS, SamplingSettings
from mgrpo.evaluation.runner import sample_batch
from mgrpo.recipes.fields import DataArguments
from mgrpo.runs import metrics as names
from mgrpo.training.checks import shards_weights
from mgrpo.training.config import MGRPOConfig
from mgrpo.training.sampling.momentum_model import MomentumModel


@dataclass(frozen=True)
class BenchmarkPlan:
    """What is measured during training, and how it is sampled."""

    benchmarks: list[Benchmark]
    settings: SamplingSettings
    every: int  # optimizer steps


def plan_benchmarks(data: DataArguments, config: MGRPOConfig) -> BenchmarkPlan | None:
    """Load a recipe's benchmarks, before any model; None where it names none.

    Raises:
        UserError: if one is not available, or the run is sharded.
    """
    if not data.eval_benchmarks:
        return None
    if shards_weights(config):
        raise UserError(
            "eval_benchmarks is set, but parameters are sharded, and benchmarks cannot be sampled from shards during "
            "training; remove it, and measure checkpoints with `mgrpo evaluate`."
        )
    assert config.max_completion_length is not None
    settings = replace(
        PROTOCOLS["greedy"].settings,
        max_tokens=config.max_completion_length,
        system_prompt=data.system_prompt,
        conversational=data.conversational,
        chat_template_kwargs=config.chat_template_kwargs,
    )
    given = parse_names(data.eval_benchmarks)
    short = [f"file:{Path(name).name}" if name.startswith("file:") else name for name in given]
    benchmarks = [
        replace(
            load_benchmark(
                name,
                replace(settings, **as_trained(name, vars(data))),
                data=data.eval_benchmarks_data,
                limit=data.eval_benchmarks_limit,
            ),
            name=without_path if short.count(without_path) == 1 else name,  # it names metrics
        )
        for name, without_path in zip(given, short, strict=True)
    ]
    return BenchmarkPlan(benchmarks, settings, data.eval_benchmarks_steps)


class BenchmarkEvaluation(TrainerCallback):
    """Measures both models before the first step, every so many steps, and after the last one.

    Args:
        plan: what is measured.
        model: the policy.
        tokenizer: the policy's.
        momentum_model: returns the run's momentum model, or None; it is called once training has begun.
        log: takes the metrics of a measurement.

    Raises:
        UserError: if the model cannot be asked the questions.
    """

    def __init__(
        self,
        plan: BenchmarkPlan,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        momentum_model: Callable[[], MomentumModel | None],
        log: Callable[[dict[str, float]], None],
    ) -> None:
        self._plan, self._model, self._tokenizer = plan, model, tokenizer
        self._momentum_model, self._log = momentum_model, log
        context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        self._questions = [encode_questions(each, tokenizer, context) for each in plan.benchmarks]

    def on_train_begin(self, args: MGRPOConfig, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Measure the model that the run begins with."""
        if state.global_step == 0:
            self._measure(args, control)

    def on_step_end(self, args: MGRPOConfig, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Measure every so many steps, and at the end."""
        if state.global_step % self._plan.every == 0 or state.global_step == state.max_steps:
            self._measure(args, control)

    def _measure(self, args: MGRPOConfig, control: TrainerControl) -> None:
        found = self._shares(names.POLICY, args)
        if (momentum_model := self._momentum_model()) is not None:
            with momentum_model.in_place_of_policy():
                found |= self._shares(names.MOMENTUM_MODEL, args)
        is_to_log = control.should_log
        self._log(found)
        control.should_log = is_to_log  # what was logged just now was no row of the step's own

    def _shares(self, model: str, args: MGRPOConfig) -> dict[str, float]:
        batch_size = args.per_device_train_batch_size
        engine = TransformersEngine(self._model, self._tokenizer, self._plan.settings, batch_size)
        return {
            names.benchmark_metric(questions.benchmark.name, model): self._share(questions, engine, args)
            for questions in self._questions
        }

    def _share(self, questions: Questions, engine: TransformersEngine, args: MGRPOConfig) -> float:
        rows = sorted(questions.rows, key=lambda row: len(questions.ids[row]))[args.process_index :: args.world_size]
        right = []
        for start in range(0, len(rows), engine.batch_size):
            batch = [(row, 0) for row in rows[start : start + engine.batch_size]]
            right += [sample.is_right for sample in sample_batch(questions, engine, batch, self._plan.settings)]
        right = gather_object(right)
        return sum(right) / len(right)
