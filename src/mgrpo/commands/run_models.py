"""The models of a run: which there are, where they are, and loading them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgrpo.errors import UserError
from mgrpo.evaluation.results import INITIAL, MOMENTUM_SUFFIX, Model
from mgrpo.models.base_model import COPY_DIRECTORY
from mgrpo.models.load import load_model
from mgrpo.models.source import find_model
from mgrpo.recipes.files import read_recipe_file
from mgrpo.runs.checkpoints import PREFIX_CHECKPOINT_DIR
from mgrpo.runs.checkpoints import checkpoints as checkpoints_of
from mgrpo.runs.files import CONFIG_FILE, FINAL_DIRECTORY, METRICS_FILE, is_finished, read_metrics
from mgrpo.runs.outcome import read_outcome

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MOMENTUM = "momentum"
"""The momentum model's directory in a run's `final/`."""


def _is_run(directory: Path) -> bool:
    return (directory / CONFIG_FILE).is_file() and not (directory / "config.json").is_file()


def find_models(name: str, checkpoints: str) -> tuple[Path | None, dict[str, Model]]:
    """The run that a name is or is a part of, or None, and the models to measure by their labels."""
    path = Path(name)
    if _is_run(path):
        return path, _select_models(path, checkpoints)
    if checkpoints != FINAL_DIRECTORY:
        raise UserError(f"checkpoints is {checkpoints}, but {name} is no run's directory; leave it out")
    for run in filter(_is_run, list(path.parents)[:2]):
        for of_step in _models_of_run(run).values():
            for label, model in of_step.items():
                if Path(model.name).resolve() == path.resolve():
                    return run, {label: model}  # of a checkpoint's two models the policy
    return None, {"": Model(name, "other", None, None)}


def _models_of_run(run: Path) -> dict[str, dict[str, Model]]:
    """Each checkpoint's policy and momentum model by step, and the final ones by `final`, in the order of training."""
    found = {}

    def add(name: str, policy: Path, momentum: Path | None, step: int | None) -> None:
        found[name] = {policy.name: Model(str(policy), "policy", step, None)}
        if momentum is not None:
            found[name][policy.name + MOMENTUM_SUFFIX] = Model(str(momentum), "momentum", step, None)

    for step, checkpoint in sorted(checkpoints_of(run)):
        add(str(step), checkpoint, checkpoint if any(checkpoint.glob(f"{MOMENTUM}*")) else None, step)
    final, momentum = run / FINAL_DIRECTORY, run / FINAL_DIRECTORY / MOMENTUM
    if is_finished(run):
        rows = read_metrics(run / METRICS_FILE)
        last = read_outcome(run).step or (rows[-1]["step"] if rows else None)
        add(FINAL_DIRECTORY, final, momentum if momentum.is_dir() else None, last)
    return found


def _select_models(run: Path, which: str) -> dict[str, Model]:
    models = _models_of_run(run)
    steps = [name for name in models if name != FINAL_DIRECTORY]
    choices = {**models, "all": {label: model for of_step in models.values() for label, model in of_step.items()}}
    choices |= {"last": models[steps[-1]]} if steps else {}
    selected: dict[str, Model] = {}
    for word in which.split(","):
        if word == INITIAL:
            copy, initial = run / COPY_DIRECTORY, read_recipe_file(str(run / CONFIG_FILE)).get("model_name_or_path")
            if initial is None:
                raise UserError(f"{run / CONFIG_FILE} does not name the run's initial model; leave out initial")
            selected[INITIAL] = Model(str(copy if copy.is_dir() else initial), "policy", 0, None)
        elif choices.get(word):
            selected |= choices[word]
        elif word == FINAL_DIRECTORY:
            last = f"; name last for checkpoint-{steps[-1]}" if steps else ", and it has no checkpoint"
            raise UserError(f"the run {run} has no {FINAL_DIRECTORY}/, so it is not finished{last}")
        else:
            existing = f"it has {', '.join(steps)}" if steps else "it has none"
            raise UserError(
                f"checkpoints is {which}, but the run {run} has no checkpoint {word!r} ({existing}); give some of "
                "these, last, all, initial or final"
            )
    return selected


def is_in_policys_checkpoint(model: Model) -> bool:
    """Whether it is a momentum model in a checkpoint of its policy, whose place its weights have to take."""
    return model.weights == "momentum" and Path(model.name).name.startswith(PREFIX_CHECKPOINT_DIR)


def load_run_model(model: Model, **options: Any) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Load one of `find_models`, an adapter merged; the options are `load_model`'s."""
    load = _load_momentum_of_checkpoint if is_in_policys_checkpoint(model) else load_model
    return load(model.name, **options)


def _load_momentum_of_checkpoint(
    location: str, *, dtype: str, base_model: str | None = None, **options: Any
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Load the momentum model of a checkpoint: its policy, with the momentum weights in place of its own."""
    import torch

    from mgrpo.training.sampling.momentum_model import MomentumModel

    source = find_model(location, base_model)
    options |= {} if source.base_commit is None else {"revision": source.base_commit}
    policy: Any
    policy, tokenizer = load_model(source.base, dtype=dtype, **options)
    if source.kind == "adapter":
        from peft import PeftModel

        policy = PeftModel.from_pretrained(policy, location, is_trainable=True)
    momentum_model = MomentumModel(policy, m=1.0)
    momentum_model.load(Path(location))
    with torch.no_grad():
        for parameter, weight in momentum_model.pairs:
            parameter.copy_(weight)
    return (policy.merge_and_unload().eval() if hasattr(policy, "merge_and_unload") else policy), tokenizer
