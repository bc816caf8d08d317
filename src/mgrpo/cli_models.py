"""The parsers of the commands that take a model: plan, evaluate, export; and what `cli.py` shares with them."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from mgrpo.commands.gpu_memory import SHARDINGS
from mgrpo.errors import UserError
from mgrpo.evaluation.protocols import PROTOCOLS, SamplingSettings
from mgrpo.options import COMMAND_LINE, absolute_path, options_of, read_value
from mgrpo.recipes.files import read_command

CONFIG_HELP = "files or built-in recipe names; later ones override earlier ones"
BASE_MODEL_HELP = "of an adapter whose base is not where it was; its weights are compared"
CONFIG: dict[str, Any] = {"nargs": "+", "metavar": "RECIPE", "help": CONFIG_HELP}


def path_of(text: str) -> Path:
    """A path as a user wrote it, made absolute; argparse's `type`."""
    try:
        return Path(absolute_path(text))
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_plan(commands: Any) -> None:
    """Add `mgrpo plan`."""
    plan = commands.add_parser(
        "plan",
        help="count the GPU memory that a recipe needs, from the model's config.json",
        usage="mgrpo plan [--gpus N] [OPTION ...] [--config RECIPE ...] [--FIELD VALUE ...]",
        description="Count the memory that a run needs on each GPU, say whether it fits, and what to change if it "
        "does not. Of the model only its config.json is read. Fields are a recipe's; the others have their defaults.",
        allow_abbrev=False,
    )
    add = plan.add_argument
    add("--model", help="its name or directory; default: the recipe's model_name_or_path")
    add("--gpus", type=int, default=1, metavar="N", help="number of GPUs, with one process on each; default: 1")
    add("--gpu_memory", type=float, default=80.0, metavar="GIB", help="memory of each GPU; default: %(default)g")
    add("--sharding", choices=SHARDINGS, default="ddp", help="how GPUs share the model; default: %(default)s")
    add("--config", **CONFIG)
    plan.set_defaults(run=_plan, takes_fields=True)


def _plan(arguments: argparse.Namespace, rest: list[str]) -> None:
    fields, source, overrides = read_command(arguments.config, rest)
    overrides |= {} if arguments.model is None else {"model_name_or_path": arguments.model}

    from rich.console import Console

    from mgrpo.commands.plan import plan_recipe, render

    launch = (arguments.gpus, arguments.gpu_memory, arguments.sharding)
    Console(highlight=False, soft_wrap=True, emoji=False).print(
        render(plan_recipe(fields, source, overrides, *launch))
    )


def add_evaluate(commands: Any) -> None:
    """Add `mgrpo evaluate`."""
    protocols = ", ".join(f"{name} ({protocol.summary})" for name, protocol in PROTOCOLS.items())
    evaluate = commands.add_parser(
        "evaluate",
        help="measure a model, a checkpoint or a run on benchmarks",
        usage="mgrpo evaluate MODEL_OR_RUN --benchmarks NAME[,NAME ...] [--protocol NAME] [OPTION ...]",
        description="Measure a model on benchmarks, with confidence intervals. Samples are kept and never sampled "
        "again: an interrupted evaluation resumes, and a larger k samples the difference. docs/how-to/evaluate.md "
        f"lists the benchmarks and how each is scored. Protocols: {protocols}.",
        allow_abbrev=False,
    )
    add = evaluate.add_argument
    add("model", metavar="MODEL_OR_RUN", help="a model as a recipe names it, or a run's directory")
    add(
        "--benchmarks", nargs="+", required=True, metavar="NAME", help="math500, aime24, ..., or a task: file:my.jsonl"
    )
    add("--protocol", default="m-grpo", metavar="NAME", help="how it is sampled; default: %(default)s")
    add("--limit", type=int, metavar="N", help="only the first N questions of each benchmark")
    add("--data", type=path_of, metavar="PATH", help="a local copy, or a directory of them: math500.jsonl, ...")
    add("--engine", default="transformers", help="transformers or vllm; default: %(default)s")
    add("--dtype", default="auto", help="type of the weights; default: %(default)s, as they are stored")
    add("--batch_size", type=int, default=32, help="completions at a time; default: %(default)s")
    add(
        "--checkpoints",
        default="final",
        metavar="WHICH",
        help="of a run: final (default), last, all, initial, or steps: 100,200",
    )
    add("--output_dir", type=path_of, help="default: evaluation/ in the run, else evaluations/MODEL")
    add("--export", type=path_of, metavar="FILE", help="write the table as .md (Markdown) or .tex (LaTeX)")
    add("--base_model", metavar="PATH", help=BASE_MODEL_HELP)
    add("--revision", help="branch, tag or commit of a model on the Hub")
    add("--trust_remote_code", action="store_true", help="run code that comes with the model")
    sampling = evaluate.add_argument_group("sampling", "these override the protocol's")
    for name, setting in options_of(SamplingSettings).items():
        sampling.add_argument(f"--{name}", metavar="VALUE", help=setting.help)
    evaluate.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> None:
    options, given = options_of(SamplingSettings), vars(arguments)
    overrides = {n: read_value(n, given[n], options, COMMAND_LINE) for n in options if given[n] is not None}
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # the bars of other libraries

    from mgrpo.commands.evaluate import evaluate_model

    own = {name: value for name, value in given.items() if name not in ("command", "run", "takes_fields", *options)}
    evaluate_model(own.pop("model"), own.pop("benchmarks"), overrides=overrides, **own)


def add_export(commands: Any) -> None:
    """Add `mgrpo export`."""
    export = commands.add_parser(
        "export",
        help="write a run's model as a directory that other tools load",
        description="Write one of a run's models in transformers' format, with tokenizer, chat template, generation "
        "configuration and model card. An adapter is merged, so that the result needs no base.",
    )
    add = export.add_argument
    add("name", metavar="RUN", help="a run's directory, or an adapter's")
    add("output", type=path_of, metavar="OUT", help="a new directory")
    add("--model", choices=("policy", "momentum"), default="policy", help="default: %(default)s")
    add("--checkpoint", default="final", metavar="WHICH", help="final (default), last, or a step: 200")
    add("--dtype", help="type of the weights; default: the run's own")
    add("--base_model", metavar="PATH", help=BASE_MODEL_HELP)
    add("--trust_remote_code", action="store_true", help="run code that comes with the model")
    export.set_defaults(run=_export)


def _export(arguments: argparse.Namespace) -> None:
    from mgrpo.commands.export import export_model

    how = {name: getattr(arguments, name) for name in ("checkpoint", "dtype", "base_model", "trust_remote_code")}
    export_model(arguments.name, arguments.output, weights=arguments.model, **how)
    print(arguments.output)
