"""`mgrpo export`: one of a run's models as a directory that every tool loads, without its base and without mgrpo."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from mgrpo.commands.run_models import find_models, load_run_model
from mgrpo.errors import UserError, first_line, reason_of
from mgrpo.evaluation.results import Model, Weights
from mgrpo.models.load import DTYPES
from mgrpo.models.source import absolute_name, find_model
from mgrpo.recipes.files import read_recipe_file
from mgrpo.recipes.recipe import load_fields
from mgrpo.runs.files import CONFIG_FILE, put_in_place, unfinished_path
from mgrpo.training.model_card import CARD_FILE, model_card


def export_model(
    name: str,
    output: Path,
    *,
    weights: Weights = "policy",
    checkpoint: str,
    dtype: str | None = None,
    base_model: str | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Write a model in transformers' format: weights, an adapter merged; tokenizer, configurations and model card.

    Args:
        name: a run, or a part of one; an adapter of any origin.
        output: a directory that does not exist yet, or is empty.
        weights: the policy's or the momentum model's.
        checkpoint: which of a run's: `final`, `last`, `initial`, or a step.
        dtype: of the weights; None: the run's own. An adapter is merged in float32 before it is rounded.
        base_model: where an adapter's base is now.
        trust_remote_code: whether to run code that comes with the model.

    Raises:
        UserError: if there is no such model, it cannot be loaded, or the directory cannot be written.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} exists already; name another directory, or remove it")
    if dtype not in (None, *DTYPES):
        raise UserError(f"dtype={dtype!r} is no floating-point type of a model; choose one of {', '.join(DTYPES)}")
    run, found = find_models(absolute_name(name), checkpoint)
    model = _choose(name, found, weights)
    fields = None if run is None else load_fields(read_recipe_file(str(run / CONFIG_FILE)), str(run / CONFIG_FILE))
    dtype = dtype or ("auto" if fields is None else fields["dtype"] or "float32")
    is_merged = dtype != "auto" and find_model(model.name, base_model).kind == "adapter"
    options = {"base_model": base_model, "trust_remote_code": trust_remote_code}
    transformers.utils.logging.disable_progress_bar()
    unfinished = unfinished_path(output)
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        loaded, tokenizer = load_run_model(model, dtype="float32" if is_merged else dtype, **options)
        if is_merged:
            loaded.to(getattr(torch, dtype))
        loaded.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        if fields is not None:
            (unfinished / CARD_FILE).write_text(_card(model, fields, output.name), encoding="utf-8")
        put_in_place(unfinished, output)
    except (OSError, SafetensorError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else first_line(error)
        raise UserError(f"{output} cannot be written ({reason}); free space there, or name another one") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _choose(name: str, found: dict[str, Model], weights: Weights) -> Model:
    chosen = [model for model in found.values() if model.weights in (weights, "other")]
    if len(chosen) == 1 and (weights == "policy" or chosen[0].weights == weights):
        return chosen[0]
    if chosen and weights == "policy":
        raise UserError(f"one model is exported at a time, and there are {', '.join(found)}; choose one checkpoint")
    raise UserError(
        f"{name} has no momentum model there ({', '.join(filter(None, found)) or 'it is no run'}); leave out --model, "
        "or name the run's directory and a --checkpoint that has one"
    )


def _card(model: Model, fields: dict[str, Any], name: str) -> str:
    which = "policy" if model.weights == "policy" else "momentum model"
    weights = which if model.step is None else f"{which}, step {model.step}"
    config: Any = SimpleNamespace(**fields)  # not a configuration, which would ask for the hardware of the run
    return model_card(config, name, fields["model_name_or_path"], fields["task"], is_adapter=False, weights=weights)
