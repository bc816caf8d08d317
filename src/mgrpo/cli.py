"""The command line's parsers. Nothing heavy is imported before it is needed: `mgrpo --help` answers at once."""

import argparse
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from mgrpo import __version__
from mgrpo.cli_models import CONFIG, add_evaluate, add_export, add_plan, path_of
from mgrpo.commands.list_recipes import copy_recipe, list_recipes
from mgrpo.commands.list_tasks import list_generators, list_tasks
from mgrpo.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, UserError
from mgrpo.guard.streams import forgive_output
from mgrpo.options import FIELD_WORD
from mgrpo.recipes.files import PRESETS, RECIPES, find_recipe, read_command


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
    for add in (_add_train, _add_tasks, _add_recipes, add_plan, add_evaluate, add_export, _add_views, _add_studies):
        add(commands)
    return parser


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
    copy.add_argument("path", type=path_of, nargs="?", metavar="PATH", help="a new file; default: NAME.yaml")
    show.set_defaults(run=lambda arguments: print(find_recipe(arguments.name).read_text(encoding="utf-8"), end=""))
    copy.set_defaults(run=lambda arguments: copy_recipe(arguments.name, arguments.path))
    fields = commands.add_parser("fields", help="list a recipe's fields: type, range, default and help of each")
    fields.add_argument("words", nargs="*", metavar="WORD", help="only fields with this in their names")
    fields.set_defaults(run=_list_fields)


def _list_fields(arguments: argparse.Namespace) -> None:
    from mgrpo.commands.list_fields import list_fields

    list_fields(arguments.words)


def _add_views(commands: Any) -> None:
    plot = commands.add_parser("plot", help="draw the curves of one or several runs")
    report = commands.add_parser("report", help="write the curves and completions of runs into one HTML file")
    for parser, name in ((plot, "curves.png"), (report, "report.html")):
        parser.add_argument("-o", "--output", type=path_of, default=Path(name), help="default: %(default)s")
        parser.set_defaults(run=_write_view)
    watch = commands.add_parser("watch", help="serve the same page on this machine while runs train")
    watch.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; default: a free one")
    watch.add_argument("--open", action="store_true", help="open the page in a browser")
    watch.set_defaults(run=_watch)
    for parser in (plot, report, watch):
        parser.add_argument("run_directories", nargs="+", type=path_of, metavar="RUN_DIR")


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
    demo.add_argument("--output_dir", type=path_of, default=Path("runs/demo"), help="default: %(default)s")
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
    study.add_argument("--output_dir", type=path_of, help="default: runs/ and the file's name")
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
    add(
        "run_directories", nargs="+", type=path_of, metavar="RUN_DIR", help="or directories of runs, or of evaluations"
    )
    add("-o", "--output_dir", type=path_of, help="where tables and figure go")
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
