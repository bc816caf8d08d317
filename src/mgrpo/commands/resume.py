"""Where a run begins: anew, at the last complete checkpoint of the same run, at one that was named, or nowhere.

The main process decides for all, before a model is loaded; what a killed process left half written is cleared away.
"""

import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mgrpo.errors import UserError
from mgrpo.guard.across_processes import decided_by_main
from mgrpo.models.base_model import digest_of_weights, read_base_model
from mgrpo.models.load import load_config
from mgrpo.options import absolute_path
from mgrpo.recipes.paths import AUTO, FORCE, PATHS
from mgrpo.recipes.recipe import Recipe, load_fields, revision_of
from mgrpo.report.read import SECRET, SECRET_NAMES
from mgrpo.runs import checkpoints
from mgrpo.runs.files import (
    CONFIG_FILE,
    ENVIRONMENT_FILE,
    FINAL_DIRECTORY,
    METRICS_FILE,
    NOT_COMPARED,
    is_finished,
    read_config,
)
from mgrpo.runs.outcome import Outcome, read_outcome
from mgrpo.runs.reading import read_json_object

MODEL = "model_name_or_path"
SUPERSEDED = ".superseded"
"""Ends the name of a checkpoint that is later than the one that a run was taken back to."""


ADAPTER_FIELDS = (
    "use_peft",
    "lora_r",
    "lora_target_modules",
    "lora_target_parameters",
    "lora_modules_to_save",
    "use_dora",
)
"""Fields that decide which weights a checkpoint has, next to the model."""
SAME_OPTIMIZER = {"adamw_torch_fused": "adamw_torch"}
MEASURES = (
    *("model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_dim", "vocab_size", "tie_word_embeddings"),
)
"""Of a model's config.json, what decides the shapes of its weights."""


@dataclass(frozen=True)
class StartPoint:
    """Where a run begins.

    Attributes:
        checkpoint: what it is resumed from; None: it starts anew.
        is_same: whether it is a run of the same recipe that was interrupted.
        changed: the fields that differ from the recipe it was started with, each with the values then and now.
        notes: what the user should know.
        renames: what `make_ready` renames, from and to.
        outcome: how the run ended, where nothing is left to do.
    """

    checkpoint: Path | None = None
    is_same: bool = True
    changed: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    renames: tuple[tuple[Path, Path], ...] = ()
    outcome: Outcome | None = None


def find_start(recipe: Recipe) -> StartPoint:
    """Decide where a run begins, on all processes alike.

    What a killed process left half written is cleared away, and broken checkpoints are set aside.

    Raises:
        UserError: if the directory holds another run, or a checkpoint that was named is not there or broken.
    """
    return decided_by_main(recipe.config, lambda: _find_start(recipe))


def _find_start(recipe: Recipe) -> StartPoint:
    run_directory, resume = Path(recipe.config.output_dir), recipe.config.resume
    is_named = resume not in (AUTO, FORCE)
    if not _holds_run(run_directory):
        return StartPoint(checkpoint=_named_checkpoint(resume) if is_named else None)
    stored = read_config(run_directory)
    changed = differing_fields(recipe, run_directory, stored)
    is_newly_named = is_named and absolute_path(str(stored.get("resume"))) != resume
    # one that an earlier start named, and that was moved or deleted since, is needed no more
    is_past = is_named and not is_newly_named and not Path(resume).is_dir() and checkpoints.checkpoints(run_directory)
    named = _named_checkpoint(resume) if is_named and not is_past else None
    if changed and resume == AUTO:
        raise UserError(
            f"output_dir {run_directory} holds a run with another recipe ({described(changed)}); give another "
            "--output_dir, or --resume force to continue it with this recipe."
        )
    renames: tuple[tuple[Path, Path], ...] = ()
    is_newly_named = named is not None and stored.get("resume") != resume
    if (run_directory / FINAL_DIRECTORY).exists():
        if is_finished(run_directory) and not changed and not is_newly_named:
            return StartPoint(outcome=read_outcome(run_directory))
        renames = ((run_directory / FINAL_DIRECTORY, _free_name_of_final(run_directory)),)
    checkpoints.clear_leftovers(run_directory)
    checkpoint, notes = last_complete(run_directory)
    if named is not None and (is_newly_named or _step_of(checkpoint) < _step_of(named)):
        later = [path for step, path in checkpoints.checkpoints(run_directory) if step > _step_of(named)]
        aside = [(path, checkpoints.name_aside(path, SUPERSEDED)) for path in later]
        notes += tuple(f"{path} is later than {named}; it is kept as {kept.name}." for path, kept in aside)
        checkpoint, renames = named, (*renames, *aside)
    if checkpoint is not None and resume == FORCE:
        _check_same_shapes(recipe, changed, checkpoint)
    return StartPoint(checkpoint, not changed and not is_newly_named, changed, notes, renames)


def _check_same_shapes(recipe: Recipe, changed: dict[str, tuple[Any, Any]], checkpoint: Path) -> None:
    """Refuse another recipe that cannot take over a checkpoint's weights and optimizer state.

    Raises:
        UserError: for another optimizer, adapter, or size of the model.
    """
    refused = {name: changed[name] for name in ADAPTER_FIELDS if name in changed}
    if not recipe.model.use_peft and "use_peft" not in refused:
        refused = {}
    then, now = (SAME_OPTIMIZER.get(str(name), name) for name in changed.get("optim", ("", "")))
    if then != now:
        refused["optim"] = changed["optim"]
    of_checkpoint = _measures(checkpoint, recipe) if "model_name_or_path" in changed else None
    if of_checkpoint is not None and of_checkpoint != _measures(None, recipe):
        refused["model_name_or_path"] = changed["model_name_or_path"]
    if refused:
        raise UserError(
            f"resume is force, but {checkpoint} cannot be continued with another {' or '.join(refused)} "
            f"({described(refused)}), for which its weights or optimizer state do not fit; set the field back, or "
            "give another --output_dir."
        )


def _measures(checkpoint: Path | None, recipe: Recipe) -> dict[str, Any] | None:
    """What decides the shapes of the weights of the recipe's model or of a checkpoint, where that is known."""
    name = str(checkpoint or recipe.model.model_name_or_path)
    try:
        config = load_config(
            name,
            revision=None if checkpoint else revision_of(recipe.resolved),
            trust_remote_code=recipe.config.trust_remote_code,
            needs_measures=False,
        )
    except UserError:
        if checkpoint is None:
            raise
        return None  # an adapter's, whose base is elsewhere now
    return {measure: getattr(config.get_text_config(), measure, None) for measure in MEASURES}


def make_ready(start: StartPoint) -> None:
    """Rename what would be mistaken for this run's own: a finished run's model, checkpoints that are later."""
    for path, kept in start.renames:
        if path.exists():
            path.rename(kept)


def last_complete(run_directory: Path) -> tuple[Path | None, tuple[str, ...]]:
    """A run's newest complete checkpoint, and a sentence about each broken one, which is set aside."""
    notes: list[str] = []
    for _, checkpoint in checkpoints.checkpoints(run_directory):
        fault = checkpoints.fault_of(checkpoint)
        if fault is None:
            return checkpoint, tuple(notes)
        aside = checkpoints.name_aside(checkpoint, checkpoints.BROKEN)
        checkpoint.rename(aside)
        notes.append(f"{checkpoint} is broken: {fault}; it is set aside as {aside.name}.")
    return None, tuple(notes)


def differing_fields(recipe: Recipe, run_directory: Path, stored: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The fields in which a recipe differs from a run's config.yaml, each with the values then and now.

    A field that is newer than the run had no other value then than its default now. A file that was moved is the same
    by its name, and a model by its weights.
    """
    then = load_fields({name: v for name, v in stored.items() if name != "resume_from_checkpoint"}, CONFIG_FILE)
    then["env"], now = stored.get("env") or {}, recipe.resolved | {"env": recipe.env}
    pairs = {name: (_plain(then.get(name)), _plain(value)) for name, value in now.items()}
    changed = {name: pair for name, pair in pairs.items() if name not in NOT_COMPARED and pair[0] != pair[1]}
    model = Path(str(recipe.model.model_name_or_path))
    if (
        MODEL in changed
        and model.is_dir()
        and read_base_model(run_directory).get("digest") == digest_of_weights(model)
    ):
        del changed[MODEL]
    return {name: pair for name, pair in changed.items() if name not in PATHS or not _is_moved(*pair)}


def _is_moved(then: Any, now: Any) -> bool:
    """Whether a path, or a task's, leads nowhere any more and now to something of the same name elsewhere."""
    then, now = (Path(str(value).rpartition(":")[2]) for value in (then, now))
    return then.is_absolute() and now.is_absolute() and then.name == now.name and not then.exists()


def described(changed: dict[str, tuple[Any, Any]]) -> str:
    """The differences in words, without secrets."""
    shown = without_secrets(changed)
    return "; ".join(f"{name}: {then!r}, now {now!r}" for name, (then, now) in shown.items())


def without_secrets(changed: dict[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
    """The same differences, without the values of tokens and passwords."""
    hidden = (SECRET, SECRET)
    return {name: hidden if name == "env" or SECRET_NAMES.search(name) else pair for name, pair in changed.items()}


def record_start(run_directory: Path, start: StartPoint) -> list[dict[str, Any]]:
    """The starts of a run so far, this one included, as its environment.json lists them."""
    try:
        earlier = read_json_object(run_directory / ENVIRONMENT_FILE).get("starts")
    except (FileNotFoundError, UserError):
        earlier = None
    now: dict[str, Any] = {"time": datetime.now(UTC).isoformat(timespec="seconds")}
    checkpoint = start.checkpoint
    is_own = checkpoint is not None and checkpoint.parent == run_directory
    now["checkpoint"] = None if checkpoint is None else checkpoint.name if is_own else str(checkpoint)
    if start.changed:
        now["changed"] = {name: list(pair) for name, pair in without_secrets(start.changed).items()}
    return [*(earlier if isinstance(earlier, list) else ()), now]


def say(start: StartPoint, *, is_quiet: bool) -> None:
    """Print where the run begins."""
    for note in start.notes:
        print(f"mgrpo: {note}", file=sys.stderr)
    if start.checkpoint is not None and not is_quiet:
        with_what = f", with another recipe ({described(start.changed)})" if start.changed else ""
        print(f"resumes from {start.checkpoint}{with_what}", file=sys.stderr)


def _holds_run(run_directory: Path) -> bool:
    has_files = any((run_directory / name).exists() for name in (CONFIG_FILE, METRICS_FILE))
    return has_files or bool(checkpoints.checkpoints(run_directory))


def _named_checkpoint(resume: str) -> Path:
    checkpoint = Path(resume)
    if not checkpoint.is_dir():
        raise UserError(f"resume is {resume}, which is no directory; name a checkpoint's, or set it to auto or force.")
    fault = checkpoints.fault_of(checkpoint)
    if fault is not None:
        raise UserError(f"resume is {resume}, which is no complete checkpoint: {fault}; name another one.")
    return checkpoint


def _step_of(checkpoint: Path | None) -> int:
    return -1 if checkpoint is None else checkpoints.step_of(checkpoint)


def _free_name_of_final(run_directory: Path) -> Path:
    """The new name of a finished run's model where the run continues: a run that has final/ is finished."""
    kept = run_directory / f"{FINAL_DIRECTORY}-{read_outcome(run_directory).step}"
    while kept.exists():
        kept = kept.with_name(f"{kept.name}-again")
    return kept


def _plain(value: Any) -> Any:
    return getattr(value, "value", value)  # an enum's
