"""`mgrpo evaluate`: measures a model given by name, or the models of a run, on benchmarks."""

import hashlib
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mgrpo
from mgrpo.errors import UserError
from mgrpo.evaluation.benchmark import installed_version
from mgrpo.evaluation.benchmarks import load_benchmark, parse_names
from mgrpo.evaluation.engines import Engine, TransformersEngine, VllmEngine, check_engine
from mgrpo.evaluation.protocols import apply_protocol
from mgrpo.evaluation.render import export_grids, show_grids
from mgrpo.evaluation.results import EVALUATION_DIRECTORY, INITIAL, MOMENTUM_SUFFIX, Model
from mgrpo.evaluation.runner import EvalSettings, EvaluatedModel, evaluate
from mgrpo.evaluation.table_rows import read_lines
from mgrpo.evaluation.tables import benchmark_grid, metric_grid
from mgrpo.models.load import DTYPES, load_config, load_model, load_tokenizer
from mgrpo.models.source import find_model
from mgrpo.recipes.files import read_recipe_file
from mgrpo.runs.checkpoints import checkpoints as checkpoints_of
from mgrpo.runs.files import CONFIG_FILE, FINAL_DIRECTORY, METRICS_FILE, read_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MOMENTUM = "momentum"
"""The momentum model's directory in a run's `final/`."""
PACKAGES = ("torch", "transformers", "tokenizers", "vllm", "lm-eval", "math-verify", "reasoning-gym")
EDGE_BYTES = 2**20


def evaluate_model(
    name: str,
    benchmarks: Sequence[str],
    *,
    protocol: str,
    overrides: Mapping[str, Any],
    limit: int | None = None,
    data: str | None = None,
    engine: str = "transformers",
    dtype: str = "auto",
    batch_size: int = 32,
    checkpoints: str = FINAL_DIRECTORY,
    output_dir: Path | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> Path:
    """Measure a model, or the models of a run; returns the directory of the results.

    The arguments are the command's, described in its help; `overrides` are the settings that replace the protocol's.

    Raises:
        UserError: for what cannot work, if possible before a model is loaded.
    """
    names = parse_names(benchmarks)
    title, sampling = apply_protocol(protocol, overrides)
    check_engine(engine)
    if dtype not in DTYPES:
        raise UserError(f"dtype={dtype!r} is no floating-point type of a model; choose one of {', '.join(DTYPES)}")
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; set it to 1 or more")
    if data is not None and Path(data).is_file() and len(names) > 1:
        raise UserError(f"data is one file, {data}, for {len(names)} benchmarks; name a directory")
    run, found = _find_models(name, checkpoints)
    if engine == "vllm" and len(found) > 1:
        raise UserError(
            f"engine is vllm, which starts only once in a process, and {name} has {len(found)} models to measure; "
            f"measure them one at a time: {', '.join(model.name for model in found.values())}"
        )
    versions = {"mgrpo": mgrpo.__version__} | {package: v for package in PACKAGES if (v := installed_version(package))}
    eval_settings = EvalSettings(protocol, title, sampling, engine, dtype, batch_size, versions)
    loaded = [load_benchmark(benchmark, sampling, data=data, limit=limit) for benchmark in names]
    options = {"revision": revision, "trust_remote_code": trust_remote_code}
    models = [_evaluated_model(label, model, eval_settings, options) for label, model in found.items()]
    of_no_run = Path("evaluations") / (re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model")
    output = output_dir or (of_no_run if run is None else run / EVALUATION_DIRECTORY)
    evaluate(models, loaded, eval_settings, output)
    return output


def show_results(output: Path, export: Path | None) -> None:
    """Print the tables of an evaluation and where it is; write them into a file, too, if one is named."""
    lines = read_lines(output)
    grids = [benchmark_grid(lines), metric_grid(lines)]
    show_grids(grids)
    if export is not None:
        export_grids(grids, export)
        print(export)
    print(output)


def _is_run(directory: Path) -> bool:
    return (directory / CONFIG_FILE).is_file() and not (directory / "config.json").is_file()


def _find_models(name: str, checkpoints: str) -> tuple[Path | None, dict[str, Model]]:
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
    if final.is_dir():
        rows = read_rows(run / METRICS_FILE)
        add(FINAL_DIRECTORY, final, momentum if momentum.is_dir() else None, rows[-1]["step"] if rows else None)
    return found


def _select_models(run: Path, which: str) -> dict[str, Model]:
    models = _models_of_run(run)
    steps = [name for name in models if name != FINAL_DIRECTORY]
    choices = {**models, "all": {label: model for of_step in models.values() for label, model in of_step.items()}}
    choices |= {"last": models[steps[-1]]} if steps else {}
    selected: dict[str, Model] = {}
    for word in which.split(","):
        if word == INITIAL:
            initial = read_recipe_file(str(run / CONFIG_FILE)).get("model_name_or_path")
            if initial is None:
                raise UserError(f"{run / CONFIG_FILE} does not name the run's initial model; leave out initial")
            selected[INITIAL] = Model(str(initial), "policy", 0, None)
        elif choices.get(word):
            selected |= choices[word]
        elif word == FINAL_DIRECTORY:
            last = f"; --checkpoints last measures checkpoint-{steps[-1]}" if steps else ", and it has no checkpoint"
            raise UserError(f"the run {run} has no {FINAL_DIRECTORY}/, so it is not finished{last}")
        else:
            existing = f"it has {', '.join(steps)}" if steps else "it has none"
            raise UserError(
                f"checkpoints is {which}, but the run {run} has no checkpoint {word!r} ({existing}); give some of "
                "these, last, all, initial or final"
            )
    return selected


def _evaluated_model(label: str, model: Model, eval_settings: EvalSettings, options: dict[str, Any]) -> EvaluatedModel:
    source = find_model(model.name)
    is_hub, revision = source.kind == "hub", options["revision"]
    if revision is not None and not is_hub:
        raise UserError(f"revision is {revision!r}, but {model.name} is not on the Hub; leave it out")
    tokenizer = load_tokenizer(model.name, **options)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    config = load_config(model.name, **options).get_text_config()
    files = None if is_hub else _digest_of_files(Path(source.location))
    return EvaluatedModel(
        label,
        replace(model, revision=getattr(config, "_commit_hash", None)),
        {"name": model.name, "weights": model.weights, "files": files},
        tokenizer,
        getattr(config, "max_position_embeddings", None),
        partial(_open_engine, label, model, eval_settings, {**options, "pad_token": tokenizer.pad_token}),
    )


def _open_engine(
    label: str, model: Model, eval_settings: EvalSettings, options: dict[str, Any], max_length: int
) -> Engine:
    import torch

    source, dtype, batch_size = find_model(model.name), eval_settings.dtype, eval_settings.batch_size
    # a checkpoint's momentum weights are stored next to the policy's, whose place they have to take
    is_momentum_of_checkpoint = model.weights == "momentum" and label.startswith("checkpoint-")
    vllm_options = dtype, eval_settings.sampling, max_length, batch_size
    if eval_settings.engine == "vllm" and source.is_plain and not is_momentum_of_checkpoint:
        return VllmEngine(source.location, *vllm_options)
    load = load_momentum_of_checkpoint if is_momentum_of_checkpoint else load_model
    loaded, tokenizer = load(model.name, dtype=dtype, **options)
    if eval_settings.engine == "vllm":
        # vLLM reads plain directories only; this one is needed while it loads
        with tempfile.TemporaryDirectory(prefix="mgrpo-") as directory:
            loaded.save_pretrained(directory)
            tokenizer.save_pretrained(directory)
            return VllmEngine(directory, *vllm_options)
    if torch.cuda.is_available():
        loaded.to("cuda")
    return TransformersEngine(loaded, tokenizer, eval_settings.sampling, batch_size)


def load_momentum_of_checkpoint(
    location: str, *, dtype: str, **options: Any
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Load the momentum model of a checkpoint: its policy, with the momentum weights in place of its own."""
    import torch

    from mgrpo.training.sampling.momentum_model import MomentumModel

    source = find_model(location)
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


def _digest_of_files(path: Path) -> str:
    """Tells one model's files from another's by their sizes and the last megabyte of each."""
    digest = hashlib.sha256()
    kinds = (".safetensors", ".bin", ".gguf", ".distcp")
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.suffix in kinds)
    for file in files:
        with file.open("rb") as content:
            size = content.seek(0, 2)
            content.seek(max(0, size - EDGE_BYTES))
            digest.update(f"{file.name if file == path else file.relative_to(path)} {size} ".encode())
            digest.update(content.read())
    return digest.hexdigest()[:16]
