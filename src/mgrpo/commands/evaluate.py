"""`mgrpo evaluate`: measures a model given by name, or the models of a run, on benchmarks."""

import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import mgrpo
from mgrpo.commands.run_models import find_models, is_in_policys_checkpoint, load_run_model
from mgrpo.errors import UserError
from mgrpo.evaluation.benchmark import installed_version
from mgrpo.evaluation.benchmarks import as_trained, load_benchmark, parse_names
from mgrpo.evaluation.engines import Engine, TransformersEngine, VllmEngine, check_engine
from mgrpo.evaluation.protocols import SamplingSettings, apply_protocol
from mgrpo.evaluation.render import check_export, export_grids, show_grids
from mgrpo.evaluation.results import EVALUATION_DIRECTORY, Model
from mgrpo.evaluation.runner import EvalSettings, EvaluatedModel, evaluate
from mgrpo.evaluation.table_rows import read_lines
from mgrpo.evaluation.tables import benchmark_grid, metric_grid
from mgrpo.models.base_model import digest_of_weights
from mgrpo.models.load import DTYPES, load_config, load_tokenizer
from mgrpo.models.source import absolute_name, find_model
from mgrpo.monitoring.display import visible
from mgrpo.recipes.files import read_recipe_file
from mgrpo.runs.files import CONFIG_FILE

PACKAGES = ("torch", "transformers", "tokenizers", "vllm", "lm-eval", "math-verify", "reasoning-gym")


def evaluate_model(
    name: str,
    benchmarks: Sequence[str],
    *,
    protocol: str,
    overrides: Mapping[str, Any],
    limit: int | None,
    data: str | Path | None,
    engine: str,
    dtype: str,
    batch_size: int,
    checkpoints: str,
    output_dir: Path | None,
    export: Path | None,
    revision: str | None,
    trust_remote_code: bool,
    base_model: str | None,
) -> None:
    """Measure a model, or the models of a run, and print the tables of what this call measured.

    The arguments are the command's, described in its help; `overrides` are the settings that replace the protocol's.

    Raises:
        UserError: for what cannot work, if possible before a model is loaded.
    """
    if export is not None:
        check_export(export)
    names = parse_names(benchmarks)
    versions = {"mgrpo": mgrpo.__version__} | {package: v for package in PACKAGES if (v := installed_version(package))}
    sampling, used = apply_protocol(protocol, overrides, engine=engine, dtype=dtype, versions=versions)
    check_engine(engine)
    if dtype not in DTYPES:
        raise UserError(f"dtype={dtype!r} is no floating-point type of a model; choose one of {', '.join(DTYPES)}")
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; set it to 1 or more")
    if data is not None and Path(data).is_file() and len(names) > 1:
        raise UserError(f"data is one file, {data}, for {len(names)} benchmarks; name a directory")
    run, found = find_models(absolute_name(name), checkpoints)
    if engine == "vllm" and len(found) > 1:
        raise UserError(
            f"engine is vllm, which starts only once in a process, and {name} has {len(found)} models to measure; "
            f"measure them one at a time: {', '.join(model.name for model in found.values())}"
        )
    eval_settings = EvalSettings(protocol, sampling, used, batch_size)
    settings = {benchmark: _settings_of(benchmark, sampling, overrides, run) for benchmark in names}
    loaded = [load_benchmark(benchmark, settings[benchmark], data=data, limit=limit) for benchmark in names]
    options = {"revision": revision, "trust_remote_code": trust_remote_code, "base_model": base_model}
    models = [_evaluated_model(label, model, eval_settings, options) for label, model in found.items()]
    of_no_run = Path("evaluations") / (re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model")
    output = output_dir or (of_no_run if run is None else run / EVALUATION_DIRECTORY)
    results = evaluate(models, loaded, eval_settings, output)
    lines = read_lines(output, results, names)
    grids = [benchmark_grid(lines), metric_grid(lines)]
    show_grids(grids)
    if export is not None:
        export_grids(grids, export)
        print(export)
    print(output)


def _settings_of(
    benchmark: str, sampling: SamplingSettings, overrides: Mapping[str, Any], run: Path | None
) -> SamplingSettings:
    """How a benchmark is asked: a task of the kind that the run was trained on as in its training."""
    recipe = {} if run is None else read_recipe_file(str(run / CONFIG_FILE))
    trained = as_trained(benchmark, recipe) if recipe else {}
    inherited = {name: value for name, value in trained.items() if name not in overrides}
    if set_there := [name for name in inherited if recipe.get(name) is not None]:
        print(f"{visible(benchmark)} is asked as in training: {', '.join(set_there)} of {run}", file=sys.stderr)
    return replace(sampling, **inherited)


def _evaluated_model(label: str, model: Model, eval_settings: EvalSettings, options: dict[str, Any]) -> EvaluatedModel:
    source = find_model(model.name, options["base_model"])
    is_hub, revision = source.kind == "hub", options["revision"]
    if revision is not None and not is_hub:
        raise UserError(f"revision is {revision!r}, but {model.name} is not on the Hub; leave it out")
    tokenizer = load_tokenizer(model.name, **options)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    config = load_config(model.name, **options).get_text_config()
    location = {"name": model.name} if is_hub else {"files": digest_of_weights(Path(source.location))}
    return EvaluatedModel(
        label,
        replace(model, revision=getattr(config, "_commit_hash", None)),
        location | {"weights": model.weights},
        tokenizer,
        getattr(config, "max_position_embeddings", None),
        partial(_open_engine, model, eval_settings, {**options, "pad_token": tokenizer.pad_token}),
    )


def _open_engine(model: Model, eval_settings: EvalSettings, options: dict[str, Any], max_length: int) -> Engine:
    import torch

    dtype, batch_size = eval_settings.used.dtype, eval_settings.batch_size
    source = find_model(model.name, options["base_model"])
    vllm_options = dtype, eval_settings.sampling, max_length, batch_size
    if eval_settings.used.engine == "vllm" and source.is_plain and not is_in_policys_checkpoint(model):
        return VllmEngine(source.location, *vllm_options)
    loaded, tokenizer = load_run_model(model, dtype=dtype, **options)
    if eval_settings.used.engine == "vllm":
        # vLLM reads plain directories only; this one is needed while it loads
        with tempfile.TemporaryDirectory(prefix="mgrpo-") as directory:
            loaded.save_pretrained(directory)
            tokenizer.save_pretrained(directory)
            return VllmEngine(directory, *vllm_options)
    if torch.cuda.is_available():
        loaded.to("cuda")
    return TransformersEngine(loaded, tokenizer, eval_settings.sampling, batch_size)
