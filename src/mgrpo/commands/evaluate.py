"""`mgrpo evaluate`: a model by name, or the models that a run left, on benchmarks."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import mgrpo
from mgrpo.errors import UserError
from mgrpo.evaluation.benchmarks import installed_version, load_benchmark, parse_names
from mgrpo.evaluation.engines import Engine, TransformersEngine, VllmEngine, check_engine
from mgrpo.evaluation.prepare import EvalSettings, EvaluatedModel
from mgrpo.evaluation.protocols import settle
from mgrpo.evaluation.results import EVALUATION_DIRECTORY, Model
from mgrpo.evaluation.runner import evaluate
from mgrpo.evaluation.table_rows import MOMENTUM_SUFFIX
from mgrpo.models.load import DTYPES, find_model, load_config, load_model, load_tokenizer
from mgrpo.runs.files import CONFIG_FILE, FINAL_DIRECTORY, METRICS_FILE, read_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

INITIAL = "initial"
"""Label of the model that a run began with."""
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
    """Measure a model, or the models of a run.

    Args:
        name: a model's, as `find_model` takes it, or a run's directory.
        benchmarks: names, as the command line gives them.
        protocol: a preset's name.
        overrides: settings that win over the preset's.
        limit: only the first so many questions of each benchmark.
        data: a file or directory with local copies.
        engine: what samples.
        dtype: of the weights.
        batch_size: completions at a time.
        checkpoints: of a run: `final`, `last`, `all`, `initial` or steps, with commas between them.
        output_dir: where samples and results go; None: `evaluation/` in the run, or under `evaluations/`.
        revision: branch, tag or commit of a Hub name.
        trust_remote_code: whether to run code that comes with the model.

    Returns:
        Where the results are.

    Raises:
        UserError: for what cannot work, before a model is loaded where it can be known then.
    """
    wanted = parse_names(benchmarks)
    title, settings = settle(protocol, overrides)
    check_engine(engine)
    if dtype not in DTYPES:
        raise UserError(f"dtype={dtype!r} is no floating-point type of a model; choose one of {', '.join(DTYPES)}")
    if batch_size < 1:
        raise UserError(f"batch_size is {batch_size}; set it to 1 or more")
    if data is not None and Path(data).is_file() and len(wanted) > 1:
        raise UserError(f"data is one file, {data}, and there are {len(wanted)} benchmarks; name a directory")
    run, places = _find_places(name, checkpoints)
    if engine == "vllm" and len(places) > 1:
        raise UserError(
            f"engine is vllm, which starts once in a process, and {name} stands for {len(places)} models; measure "
            f"them one at a time: {', '.join(location for _, location, *_ in places)}"
        )
    versions = {"mgrpo": mgrpo.__version__} | {package: v for package in PACKAGES if (v := installed_version(package))}
    how = EvalSettings(protocol, title, settings, engine, dtype, batch_size, versions)
    loaded = [load_benchmark(benchmark, settings, data=data, limit=limit) for benchmark in wanted]
    options = {"revision": revision, "trust_remote_code": trust_remote_code}
    subjects = [_subject(place, how, options) for place in places]
    output = output_dir or (Path("evaluations") / _as_directory(name) if run is None else run / EVALUATION_DIRECTORY)
    evaluate(subjects, loaded, how, output)
    return output


ModelLocation = tuple[str, str, Literal["policy", "momentum", "other"], int | None]
"""A model's label, location, whose weights they are, and the step."""


def _is_run(directory: Path) -> bool:
    return (directory / CONFIG_FILE).is_file() and not (directory / "config.json").is_file()


def _find_places(name: str, checkpoints: str) -> tuple[Path | None, list[ModelLocation]]:
    """The run that a name stands for or lies in, if it does, and the models to measure."""
    path = Path(name)
    if _is_run(path):
        return path, _places_in_run(path, checkpoints)
    if checkpoints != FINAL_DIRECTORY:
        raise UserError(f"checkpoints is {checkpoints}, but {name} is no run's directory; leave it out")
    run = next((parent for parent in list(path.parents)[:2] if _is_run(parent)), None)
    if run is not None:
        steps = _steps(run)
        models = [*(_final_places(run, steps) if (run / FINAL_DIRECTORY).is_dir() else [])]
        models += [_checkpoint_places(run, step)[0] for step in steps]
        for place in models:
            if Path(place[1]).resolve() == path.resolve():
                return run, [place]
    return None, [("", name, "other", None)]


def _steps(run: Path) -> list[int]:
    return sorted(int(path.name[11:]) for path in run.glob("checkpoint-*") if path.name[11:].isdecimal())


def _places_in_run(run: Path, which: str) -> list[ModelLocation]:
    steps = _steps(run)
    has_final = (run / FINAL_DIRECTORY).is_dir()
    places: list[ModelLocation] = []
    for word in dict.fromkeys(which.split(",")):
        if word == INITIAL:
            places.append((INITIAL, _initial_model(run), "policy", 0))
        elif word == FINAL_DIRECTORY or (word == "all" and has_final and not steps):
            places += _final_places(run, steps)
        elif word in ("last", "all") and steps:
            for step in steps if word == "all" else steps[-1:]:
                places += _checkpoint_places(run, step)
            places += _final_places(run, steps) if word == "all" and has_final else []
        elif word.isdecimal() and int(word) in steps:
            places += _checkpoint_places(run, int(word))
        else:
            there = f"it has {', '.join(map(str, steps))}" if steps else "it has none"
            raise UserError(
                f"checkpoints is {which}, but the run {run} has no checkpoint {word!r} ({there}); write "
                "some of these, last, all, initial or final"
            )
    return list(dict.fromkeys(places))


def _final_places(run: Path, steps: Sequence[int]) -> list[ModelLocation]:
    final = run / FINAL_DIRECTORY
    if not final.is_dir():
        last = f"; --checkpoints last measures checkpoint-{steps[-1]}" if steps else ", nor has it a checkpoint"
        raise UserError(f"the run {run} has no {FINAL_DIRECTORY}/, so it is not finished{last}")
    rows = read_rows(run / METRICS_FILE) if (run / METRICS_FILE).exists() else []
    step = rows[-1]["step"] if rows else None
    places: list[ModelLocation] = [(FINAL_DIRECTORY, str(final), "policy", step)]
    if (final / MOMENTUM).is_dir():
        places.append((FINAL_DIRECTORY + MOMENTUM_SUFFIX, str(final / MOMENTUM), "momentum", step))
    return places


def _checkpoint_places(run: Path, step: int) -> list[ModelLocation]:
    label = f"checkpoint-{step}"
    places: list[ModelLocation] = [(label, str(run / label), "policy", step)]
    if any((run / label).glob(f"{MOMENTUM}*")):
        places.append((label + MOMENTUM_SUFFIX, str(run / label), "momentum", step))
    return places


def _initial_model(run: Path) -> str:
    import yaml

    try:
        return str(yaml.safe_load((run / CONFIG_FILE).read_text(encoding="utf-8"))["model_name_or_path"])
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        raise UserError(
            f"{run / CONFIG_FILE} does not say which model the run began with; leave out initial"
        ) from None


def _subject(place: ModelLocation, how: EvalSettings, options: dict[str, Any]) -> EvaluatedModel:
    label, location, weights, step = place
    source = find_model(location)
    is_hub = source.kind == "hub"
    kept = {**options, "revision": options["revision"] if is_hub else None}
    if options["revision"] is not None and not is_hub:
        raise UserError(f"revision is {options['revision']!r}, but {location} is not on the Hub; leave it out")
    tokenizer = load_tokenizer(location, **kept)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    config = load_config(location, **kept).get_text_config()
    # The momentum weights of a checkpoint lie beside the policy's, and take their place.
    is_beside = weights == "momentum" and label.startswith("checkpoint-")
    return EvaluatedModel(
        label,
        Model(location, weights, step, getattr(config, "_commit_hash", None)),
        {"name": location, "weights": weights, "files": None if is_hub else _digest_of_files(Path(source.location))},
        tokenizer,
        getattr(config, "max_position_embeddings", None),
        partial(_open_engine, location, how, kept, tokenizer.pad_token, is_beside),
    )


def _open_engine(
    location: str, how: EvalSettings, options: dict[str, Any], pad_token: str | None, is_beside: bool, max_length: int
) -> Engine:
    source = find_model(location)
    if how.engine == "vllm" and source.is_plain and not is_beside:
        return VllmEngine(source.location, how.dtype, how.settings, max_length, how.batch_size)
    model, tokenizer = (_load_beside if is_beside else load_model)(
        location, dtype=how.dtype, pad_token=pad_token, **options
    )
    if how.engine == "vllm":
        return _vllm_of(model, tokenizer, how, max_length)
    import torch

    if torch.cuda.is_available():
        model.to("cuda")
    return TransformersEngine(model, tokenizer, how.settings, how.batch_size)


def _vllm_of(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", how: EvalSettings, max_length: int
) -> VllmEngine:
    """What is not in the plain format on disk is written there for as long as vLLM reads it."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="mgrpo-") as directory:
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        return VllmEngine(directory, how.dtype, how.settings, max_length, how.batch_size)


def _load_beside(location: str, *, dtype: str, **options: Any) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """The momentum model of a checkpoint: the policy, with the momentum weights beside it in its place."""
    import torch

    from mgrpo.training.sampling.momentum_model import MomentumModel

    if find_model(location).kind == "adapter":
        from peft import PeftConfig, PeftModel

        base = PeftConfig.from_pretrained(location).base_model_name_or_path
        model, tokenizer = load_model(base, dtype=dtype, **options)
        policy: Any = PeftModel.from_pretrained(model, location, is_trainable=True)
    else:
        policy, tokenizer = load_model(location, dtype=dtype, **options)
    momentum_model = MomentumModel(policy, m=1.0)
    momentum_model.load(Path(location))
    with torch.no_grad():
        for parameter, weight in momentum_model.pairs:
            parameter.copy_(weight)
    return (policy.merge_and_unload().eval() if hasattr(policy, "merge_and_unload") else policy), tokenizer


def _digest_of_files(path: Path) -> str:
    """Tells one model's files from another's: their sizes, and the last megabyte of each."""
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


def _as_directory(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model"
