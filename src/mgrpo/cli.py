"""The command line's parsers. Nothing heavy is imported before it is needed: `mgrpo --help` answers at once."""

import argparse
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from mgrpo import __version__
from mgrpo.commands.gpu_memory import SHARDINGS
from mgrpo.commands.list_recipes import copy_recipe, list_recipes
from mgrpo.commands.list_tasks import list_generators, list_tasks
from mgrpo.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, UserError
from mgrpo.evaluation.protocols import PROTOCOLS, SamplingSettings
from mgrpo.guard.streams import forgive_output
from mgrpo.options import COMMAND_LINE, FIELD_WORD, absolute_path, options_of, read_value
from mgrpo.recipes.files import PRESETS, RECIPES, find_recipe, read_command

CONFIG_HELP = "files or built-in recipe names; later ones override earlier ones"
BASE_MODEL_HELP = "of an adapter whose base is not where it was; its weights are compared"
CONFIG: dict[str, Any] = {"nargs": "+", "metavar": "RECIPE", "help": CONFIG_HELP}


def main(argv: list[str] | None = None) -> int:
    """Run a command, by default this process's own; returns the exit code."""
    if argv is None:
        forgive_output()
    parser = _parser()
    words: list[str] = []
    for word in sys.argv[1:] if argv is None else argv:
        # argparse would read --FIELD='text with spaces' as one more value of the option before it
        words += word.split("=", 1) if " " in word and FIELD_WORD.fullmatch(word) else [word]
    arguments, rest = parser.parse_known_args(words)
    if rest and not arguments.takes_fields:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    # Deprecations inside transformers and TRL concern their developers, not the user of a command.
    warnings.simplefilter("ignore", FutureWarning)
    try:
        return (arguments.run(arguments, rest) if arguments.takes_fields else arguments.run(arguments)) or 0
    except UserError as error:
        print(f"mgrpo: {str(error).rstrip('.?')}{'?' if str(error).endswith('?') else '.'}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("mgrpo: interrupted; what was logged and saved so far is in the run's directory.", file=sys.stderr)
        return EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mgrpo",
        description="Label-free reinforcement learning for language models: a momentum model delays the collapse, an "
        "alarm reports it.",
    )
    parser.add_argument("--version", action="version", version=f"mgrpo {__version__}")
    parser.set_defaults(takes_fields=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_add_train, _add_tasks, _add_recipes, _add_plan, _add_evaluate, _add_export, _add_views, _add_studies):
        add(commands)
    return parser


def _path(text: str) -> Path:
    try:
        return Path(absolute_path(text))
    except UserError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _add_train(commands: Any) -> None:
    built_in, presets = (", ".join(sorted(path.stem for path in d.glob("*.yaml"))) for d in (RECIPES, PRESETS))
    train = commands.add_parser(
        "train",
        help="train a model from a recipe",
        usage="mgrpo train --config RECIPE [RECIPE ...] [--quiet] [--FIELD VALUE ...]",
        description="Train a model from a recipe; the command line overrides its fields (`mgrpo fields` lists them). "
        f"Built-in recipes: {built_in}. Methods to combine with them: {presets}.",
        allow_abbrev=False,
    )
    train.add_argument("--config", required=True, **CONFIG)
    train.add_argument("--quiet", action="store_true", help="print only warnings, errors and the last line")
    train.set_defaults(run=_train, takes_fields=True)


def _train(arguments: argparse.Namespace, rest: list[str]) -> int:
    given = read_command(arguments.config, rest)
    if arguments.quiet or not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # the bars of other libraries

    from mgrpo.guard.signals import StopSignals

    with StopSignals() as signals:  # before imports that take seconds
        from mgrpo.commands.train import train
        from mgrpo.recipes.recipe import load_recipe

        outcome = train(load_recipe(*given), is_quiet=arguments.quiet, signals=signals)
        if outcome.reason is not None:
            print(f"mgrpo: stopped: {outcome.reason}", file=sys.stderr)  # a launcher may send SIGTERM right after
        return outcome.exit_code


def _add_tasks(commands: Any) -> None:
    tasks = commands.add_parser("tasks", help="list the tasks, or show one's prompts as a model will see them")
    tasks.set_defaults(run=lambda _: list_tasks())
    actions = tasks.add_subparsers(metavar="show | reasoning_gym")
    show = actions.add_parser(
        "show",
        help="show a task's prompts, and how its answers are read",
        usage="mgrpo tasks show [NAME] [--config RECIPE [RECIPE ...]] [--FIELD VALUE ...]",
        description="Show a task, by name or from a recipe, before training: prompts as the model will see them, and "
        "their lengths, how an answer is read and compared. Fields are a recipe's: --model_name_or_path embedded.",
        allow_abbrev=False,
    )
    show.add_argument("--config", **CONFIG)
    show.set_defaults(run=_show_task, takes_fields=True)
    generators = actions.add_parser("reasoning_gym", help="list the generators of the package reasoning-gym")
    generators.set_defaults(run=lambda _: list_generators())


def _show_task(arguments: argparse.Namespace, rest: list[str]) -> None:
    name = rest.pop(0) if rest and not rest[0].startswith("--") else None
    if arguments.config is None and name is None:
        raise UserError("there is nothing to show; write mgrpo tasks show NAME, or --config RECIPE")
    fields, source, overrides = read_command(arguments.config, rest)
    overrides |= {} if name is None else {"task": name}

    from mgrpo.commands.show_task import show_task

    show_task(fields, source, overrides)


def _add_recipes(commands: Any) -> None:
    recipes = commands.add_parser("recipes", help="list, show or copy the built-in recipes")
    recipes.set_defaults(run=lambda _: list_recipes())
    actions = recipes.add_subparsers(metavar="list | show | copy")
    actions.add_parser("list", help="list them, as without a word")
    show = actions.add_parser("show", help="print one")
    copy = actions.add_parser("copy", help="write a copy of one, to edit it")
    for action in (show, copy):
        action.add_argument("name", metavar="NAME", help="its name, as --config takes it")
    copy.add_argument("path", type=_path, nargs="?", metavar="PATH", help="a new file; default: NAME.yaml")
    show.set_defaults(run=lambda arguments: print(find_recipe(arguments.name).read_text(encoding="utf-8"), end=""))
    copy.set_defaults(run=lambda arguments: copy_recipe(arguments.name, arguments.path))
    fields = commands.add_parser("fields", help="list a recipe's fields: type, range, default and help of each")
    fields.add_argument("words", nargs="*", metavar="WORD", help="only fields with this in their names")
    fields.set_defaults(run=_list_fields)


def _list_fields(arguments: argparse.Namespace) -> None:
    from mgrpo.commands.list_fields import list_fields

    list_fields(arguments.words)


def _add_plan(commands: Any) -> None:
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
    Console(highlight=False, soft_wrap=True).print(render(plan_recipe(fields, source, overrides, *launch)))


def _add_evaluate(commands: Any) -> None:
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
    add("--data", type=_path, metavar="PATH", help="a local copy, or a directory of them: math500.jsonl, ...")
    add("--engine", default="transformers", help="transformers or vllm; default: %(default)s")
    add("--dtype", default="auto", help="type of the weights; default: %(default)s, as they are stored")
    add("--batch_size", type=int, default=32, help="completions at a time; default: %(default)s")
    add(
        "--checkpoints",
        default="final",
        metavar="WHICH",
        help="of a run: final (default), last, all, initial, or steps: 100,200",
    )
    add("--output_dir", type=_path, help="default: evaluation/ in the run, else evaluations/MODEL")
    add("--export", type=_path, metavar="FILE", help="write the table as .md (Markdown) or .tex (LaTeX)")
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


def _add_export(commands: Any) -> None:
    export = commands.add_parser(
        "export",
        help="write a run's model as a directory that other tools load",
        description="Write one of a run's models in transformers' format, with tokenizer, chat template, generation "
        "configuration and model card. An adapter is merged, so that the result needs no base.",
    )
    add = export.add_argument
    add("name", metavar="RUN", help="a run's directory, or an adapter's")
    add("output", type=_path, metavar="OUT", help="a new directory")
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


def _add_views(commands: Any) -> None:
    plot = commands.add_parser("plot", help="draw the curves of one or several runs")
    report = commands.add_parser("report", help="write the curves and completions of runs into one HTML file")
    for parser, name in ((plot, "curves.png"), (report, "report.html")):
        parser.add_argument("-o", "--output", type=_path, default=Path(name), help="default: %(default)s")
        parser.set_defaults(run=_write_view)
    watch = commands.add_parser("watch", help="serve the same page on this machine while runs train")
    watch.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; default: a free one")
    watch.add_argument("--open", action="store_true", help="open the page in a browser")
    watch.set_defaults(run=_watch)
    for parser in (plot, report, watch):
        parser.add_argument("run_directories", nargs="+", type=_path, metavar="RUN_DIR")


def _write_view(arguments: argparse.Namespace) -> None:
    if arguments.command == "plot":
        from mgrpo.monitoring.plot import plot_runs as write
    else:
        from mgrpo.report.page import write_report as write
    write(arguments.run_directories, arguments.output)
    print(arguments.output)


def _watch(arguments: argparse.Namespace) -> None:
    from mgrpo.report.serve import watch

    watch(arguments.run_directories, port=arguments.port, open_browser=arguments.open)


def _add_studies(commands: Any) -> None:
    demo = commands.add_parser("demo", help="watch majority-vote self-training collapse, and lagged voters hold")
    model_help = "smollm2: a real language model, in 12 minutes (needs `make smollm2`); default: %(default)s"
    demo.add_argument("--model", choices=("embedded", "smollm2"), default="embedded", help=model_help)
    demo.add_argument("--m_grpo", action="store_true", help="add a third run: M-GRPO, the paper's method")
    demo.add_argument("--output_dir", type=_path, default=Path("runs/demo"), help="default: %(default)s")
    demo.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    demo.add_argument("--max_steps", type=int, help="default: the demo's own")
    demo.set_defaults(run=_demo)
    study = commands.add_parser(
        "study",
        help="run variants and seeds side by side, and summarize them in one table and one figure",
        description="Run a study: variants of recipes, each with several seeds. Finished runs are skipped and "
        "interrupted ones resume. docs/how-to/study.md says how to write one, and what it leaves.",
        allow_abbrev=False,
    )
    study.add_argument("study", metavar="STUDY.yaml")
    study.add_argument("--output_dir", type=_path, help="default: runs/ and the file's name")
    study.add_argument("--workers", type=int, help="runs at a time; default: one per core, or one per GPU")
    study.add_argument("--tables_only", action="store_true", help="run nothing; tables and figure of finished runs")
    study.set_defaults(run=_study)
    compare = commands.add_parser(
        "compare",
        help="the tables and the figure of a study, and benchmarks, for existing runs",
        description="Summarize runs as a study does, and tabulate what `mgrpo evaluate` measured: base model, best "
        "checkpoint, final policy and momentum model, with paired differences where there are samples.",
    )
    add = compare.add_argument
    add("run_directories", nargs="+", type=_path, metavar="RUN_DIR", help="or directories of runs, or of evaluations")
    add("-o", "--output_dir", type=_path, help="where tables and figure go")
    add("--baseline", metavar="NAME", help="the variant to compare the others with")
    compare.set_defaults(run=_compare)


def _demo(arguments: argparse.Namespace) -> int:
    from mgrpo.study.demo import run_demo

    output, model, seed = arguments.output_dir, arguments.model, arguments.seed
    return run_demo(output, model=model, seed=seed, max_steps=arguments.max_steps, m_grpo=arguments.m_grpo)


def _study(arguments: argparse.Namespace) -> int:
    from mgrpo.study.runner import run_study

    directory, workers = arguments.output_dir, arguments.workers
    return run_study(arguments.study, directory, workers=workers, tables_only=arguments.tables_only)


def _compare(arguments: argparse.Namespace) -> None:
    from mgrpo.study.compare import compare_runs

    compare_runs(arguments.run_directories, arguments.output_dir, arguments.baseline)
