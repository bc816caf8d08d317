"""Benchmarks while a run trains: the policy and the momentum model on a fixed subset of each, every so many steps.

Right answers are compared with what was sampled, and nothing is learnt from them. Global random states are neither
read nor changed, so that a run with and without benchmarks ends with the same bits.
"""

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from accelerate.utils import gather_object
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from mgrpo.errors import UserError
from mgrpo.evaluation.benchmark import Benchmark
from mgrpo.evaluation.benchmarks import load_benchmark, parse_names
from mgrpo.evaluation.engines import TransformersEngine
from mgrpo.evaluation.prompts import Questions, encode_questions
from mgrpo.evaluation.protocols import PROTOCOLS, SamplingSettings
from mgrpo.evaluation.runner import sample_batch
from mgrpo.recipes.recipe import DataArguments
from mgrpo.runs import metrics as names
from mgrpo.training.config import MGRPOConfig

if TYPE_CHECKING:
    from mgrpo.training.trainer import MGRPOTrainer


@dataclass(frozen=True)
class BenchmarkPlan:
    """What is measured while a run trains.

    Attributes:
        benchmarks: their questions.
        settings: how they are sampled.
        every: optimizer steps from one time to the next.
    """

    benchmarks: list[Benchmark]
    settings: SamplingSettings
    every: int


def plan_benchmarks(data: DataArguments, config: MGRPOConfig) -> BenchmarkPlan | None:
    """Load a recipe's benchmarks, before any model; None where it names none.

    Raises:
        UserError: if one cannot be had, or the run is sharded.
    """
    if not data.eval_benchmarks:
        return None
    uses_fsdp = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true" or bool(config.fsdp_plugin_args)
    if uses_fsdp or (config.deepspeed_plugin is not None and config.deepspeed_plugin.zero_stage == 3):
        raise UserError(
            "eval_benchmarks is set, but parameters are sharded, which benchmarks are not sampled with while a run "
            "trains; leave it out, and measure checkpoints by `mgrpo evaluate`."
        )
    greedy = PROTOCOLS["greedy"].settings
    assert config.max_completion_length is not None
    settings = replace(
        greedy,
        max_tokens=config.max_completion_length,
        system_prompt=data.system_prompt,
        conversational=data.conversational,
        chat_template_kwargs=config.chat_template_kwargs,
    )
    benchmarks = [
        load_benchmark(name, settings, data=data.eval_benchmarks_data, limit=data.eval_benchmarks_limit)
        for name in parse_names(data.eval_benchmarks)
    ]
    return BenchmarkPlan(benchmarks, settings, data.eval_benchmarks_steps)


class BenchmarkEvaluation(TrainerCallback):
    """Measures both models before the first step, every so many steps, and after the last one.

    Args:
        trainer: the run's, with its momentum model, if it has one.
        plan: what is measured.

    Raises:
        UserError: if the model cannot be asked.
    """

    def __init__(self, trainer: "MGRPOTrainer", plan: BenchmarkPlan) -> None:
        self._trainer, self._plan = trainer, plan
        context = getattr(trainer.model.config.get_text_config(), "max_position_embeddings", None)
        self._questions = [
            encode_questions(benchmark, trainer.processing_class, plan.settings, context)
            for benchmark in plan.benchmarks
        ]

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Measure what the run begins with."""
        if state.global_step == 0:
            self._measure(control)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Measure what it has become."""
        if state.global_step % self._plan.every == 0 or state.global_step == state.max_steps:
            self._measure(control)

    def _measure(self, control: TrainerControl) -> None:
        trainer, momentum_model = self._trainer, self._trainer.momentum_model
        found = self._shares(names.POLICY, nullcontext())
        if momentum_model is not None:
            found |= self._shares(names.MOMENTUM_MODEL, momentum_model.in_place_of_policy())
        is_to_log = control.should_log
        # Not by TRL's `log`, which would take its mean over a part of the batches since the last row.
        Trainer.log(trainer, found)
        control.should_log = is_to_log  # what was logged just now was no row of the step's own

    def _shares(self, model: str, weights: AbstractContextManager) -> dict[str, float]:
        trainer = self._trainer
        engine = TransformersEngine(
            trainer.accelerator.unwrap_model(trainer.model),
            trainer.processing_class,
            self._plan.settings,
            trainer.args.per_device_train_batch_size,
        )
        with weights:
            return {
                names.benchmark_metric(questions.benchmark.name, model): self._share(questions, engine)
                for questions in self._questions
            }

    def _share(self, questions: Questions, engine: TransformersEngine) -> float:
        accelerator = self._trainer.accelerator
        rows = sorted(questions.rows, key=lambda row: len(questions.ids[row]))[
            accelerator.process_index :: accelerator.num_processes
        ]
        right = []
        for start in range(0, len(rows), engine.batch_size):
            batch = [(row, 0) for row in rows[start : start + engine.batch_size]]
            right += [sample.is_right for sample in sample_batch(questions, engine, batch, self._plan.settings)]
        right = gather_object(right)
        return sum(right) / len(right)
