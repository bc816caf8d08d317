"""The command line. Nothing heavy is imported before it is needed: `mgrpo --help` answers at once."""

import argparse
import os
import shutil
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

from mgrpo import __version__
from mgrpo.commands.gpu_memory import SHARDINGS
from mgrpo.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, UserError
from mgrpo.recipes.files import PRESETS, RECIPES, environment_of, read_recipe_files

EXIT_BROKEN_PIPE = 141
"""As a shell reports a program that wrote into a closed pipe."""


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and not arguments.takes_fields:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        code = arguments.run(arguments, rest)
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"mgrpo: {str(error).rstrip('.?')}{'?' if str(error).endswith('?') else '.'}", file=sys.stderr)
        return EXIT_USER_ERROR
    except BrokenPipeError:  # `mgrpo tasks | head`: who reads has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        print("mgrpo: interrupted; what was logged and saved so far is in the run's directory.", file=sys.stderr)
        return EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mgrpo", description="Label-free reinforcement learning for language models that does not collapse."
    )
    parser.add_argument("--version", action="version", version=f"mgrpo {__version__}")
    parser.set_defaults(takes_fields=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser(
        "train",
        help="train a model from a recipe",
        usage="mgrpo train --config RECIPE [RECIPE ...] [--quiet] [--FIELD VALUE ...]",
        description="Train a model from a recipe; any field of it can be set on the command line, where it wins. "
        f"Recipes that come along: {_stems(RECIPES)}. Methods to lay over them: {_stems(PRESETS)}. "
        "docs/recipes.md lists the fields.",
        allow_abbrev=False,
    )
    train.add_argument(
        "--config",
        required=True,
        nargs="+",
        metavar="RECIPE",
        help="YAML files, or names of recipes; of a field that several set, the last one's value stands",
    )
    train.add_argument("--quiet", action="store_true", help="say nothing but warnings, errors and the last line")
    train.set_defaults(run=_train, takes_fields=True)

    tasks = commands.add_parser("tasks", help="list the tasks, or show one's prompts as a model will see them")
    tasks.set_defaults(run=_tasks)
    actions = tasks.add_subparsers(metavar="show | reasoning_gym")
    show = actions.add_parser(
        "show",
        help="show a task's prompts, and how its answers are read",
        usage="mgrpo tasks show [NAME] [--config RECIPE [RECIPE ...]] [--FIELD VALUE ...]",
        description="Show a task, or a recipe's, before anything is trained: prompts as the model will see them, "
        "their lengths, how an answer is read and compared. Fields are a recipe's: --model_name_or_path embedded.",
        allow_abbrev=False,
    )
    show.add_argument("--config", nargs="+", metavar="RECIPE", help="YAML files, or names of recipes, as for train")
    show.set_defaults(run=_show_task, takes_fields=True)
    generators = actions.add_parser("reasoning_gym", help="list the generators of the package reasoning-gym")
    generators.set_defaults(run=_reasoning_gym)

    plan = commands.add_parser(
        "plan",
        help="count the GPU memory that a recipe needs, from the model's config.json",
        usage="mgrpo plan --gpus N [--model MODEL] [--gpu_memory GIB] [--sharding HOW] [--config RECIPE ...] "
        "[--FIELD VALUE ...]",
        description="Count the memory that a run needs on each GPU, say whether it fits, and what to change where it "
        "does not. Of the model only its config.json is read. Fields are a recipe's; what none sets has its default.",
        allow_abbrev=False,
    )
    plan.add_argument("--model", help="its name or directory; default: the recipe's model_name_or_path")
    plan.add_argument("--gpus", type=int, required=True, metavar="N", help="one process on each")
    plan.add_argument("--gpu_memory", type=float, default=80.0, metavar="GIB", help="of each; default: %(default)g")
    plan.add_argument("--sharding", choices=SHARDINGS, default="ddp", help="how they share it; default: %(default)s")
    plan.add_argument("--config", nargs="+", metavar="RECIPE", help="YAML files, or names of recipes, as for train")
    plan.set_defaults(run=_plan, takes_fields=True)

    _add_evaluate(commands)

    demo = commands.add_parser("demo", help="watch majority-vote self-training collapse, and the momentum anchor hold")
    demo.add_argument("--filter", action="store_true", help="add a third run: M-GRPO with the entropy filter")
    demo.add_argument("--output_dir", type=Path, default=Path("runs/demo"), help="default: %(default)s")
    demo.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    demo.add_argument("--max_steps", type=int, default=None, help="default: the recipes' own")
    demo.set_defaults(run=_demo)

    plot = commands.add_parser("plot", help="draw the curves of one or several runs")
    plot.add_argument("run_directories", nargs="+", type=Path, metavar="RUN_DIR")
    plot.add_argument("-o", "--output", type=Path, default=Path("curves.png"), help="default: %(default)s")
    plot.set_defaults(run=_plot)

    report = commands.add_parser("report", help="write the curves and completions of runs into one HTML file")
    report.add_argument("run_directories", nargs="+", type=Path, metavar="RUN_DIR")
    report.add_argument("-o", "--output", type=Path, default=Path("report.html"), help="default: %(default)s")
    report.set_defaults(run=_report)

    watch = commands.add_parser("watch", help="serve the same page on this machine while runs go on")
    watch.add_argument("run_directories", nargs="+", type=Path, metavar="RUN_DIR")
    watch.add_argument("--port", type=int, default=0, help="of 127.0.0.1; default: a free one")
    watch.add_argument("--open", action="store_true", help="open the page in a browser")
    watch.set_defaults(run=_watch)

    study = commands.add_parser(
        "study",
        help="run variants and seeds side by side, and put them into one table and one figure",
        description="Run a study: variants of recipes, each with several seeds. What is finished is skipped, what was "
        "interrupted goes on. docs/studies.md says how one is written, and what it leaves.",
        allow_abbrev=False,
    )
    study.add_argument("study", metavar="STUDY.yaml")
    study.add_argument("--output_dir", type=Path, default=None, help="default: runs/ and the file's name")
    study.add_argument("--workers", type=int, default=None, help="runs at a time; default: one a core, or one a GPU")
    study.add_argument("--tables_only", action="store_true", help="run nothing; tables and figure of what is finished")
    study.set_defaults(run=_study)

    compare = commands.add_parser(
        "compare",
        help="the tables and the figure of a study, and benchmarks, for runs that exist",
        description="Sum up runs as a study does, and put under one another what `mgrpo evaluate` measured of them: "
        "base model, best checkpoint, final policy and momentum model; paired differences, where there are samples.",
    )
    compare.add_argument(
        "run_directories",
        nargs="+",
        type=Path,
        metavar="RUN_DIR",
        help="or a directory of runs, or what `mgrpo evaluate` left of a model by name, such as the base model",
    )
    compare.add_argument("-o", "--output_dir", type=Path, default=None, help="where tables and figure go")
    compare.add_argument("--baseline", metavar="NAME", default=None, help="the variant to compare the others with")
    compare.set_defaults(run=_compare)
    return parser


def _add_evaluate(commands: Any) -> None:
    from mgrpo.evaluation.protocols import OPTIONS, PROTOCOLS

    protocols = ", ".join(f"{name} ({protocol.summary})" for name, protocol in PROTOCOLS.items())
    evaluate = commands.add_parser(
        "evaluate",
        help="measure a model, a checkpoint or a run on benchmarks",
        usage="mgrpo evaluate MODEL_OR_RUN --benchmarks NAME[,NAME ...] [--protocol NAME] [OPTION ...]",
        description="Measure a model on benchmarks, with intervals. What was sampled is kept and never sampled again: "
        "an interrupted evaluation goes on, and a larger k samples the difference. docs/evaluation.md lists the "
        f"benchmarks and says how each is scored. Protocols: {protocols}.",
        allow_abbrev=False,
    )
    evaluate.add_argument("model", metavar="MODEL_OR_RUN", help="a model as a recipe names it, or a run's directory")
    evaluate.add_argument(
        "--benchmarks", nargs="+", required=True, metavar="NAME", help="math500, aime24, ..., or a task: file:my.jsonl"
    )
    evaluate.add_argument(
        "--protocol", default="m-grpo", metavar="NAME", help="how it is sampled; default: %(default)s"
    )
    evaluate.add_argument("--limit", type=int, metavar="N", help="only the first N questions of each benchmark")
    evaluate.add_argument("--data", metavar="PATH", help="a local copy, or a directory of them: math500.jsonl, ...")
    evaluate.add_argument("--engine", default="transformers", help="transformers or vllm; default: %(default)s")
    evaluate.add_argument("--dtype", default="auto", help="of the weights; default: %(default)s, as they are stored")
    evaluate.add_argument("--batch_size", type=int, default=32, help="completions at a time; default: %(default)s")
    evaluate.add_argument(
        "--checkpoints",
        default="final",
        metavar="WHICH",
        help="of a run: final, last, all, initial, or steps, with commas between them; default: %(default)s",
    )
    evaluate.add_argument("--output_dir", type=Path, help="default: evaluation/ in the run, else evaluations/MODEL")
    evaluate.add_argument("--export", type=Path, metavar="FILE", help="the table as .md (Markdown) or .tex (LaTeX)")
    evaluate.add_argument("--revision", help="branch, tag or commit of a model on the Hub")
    evaluate.add_argument("--trust_remote_code", action="store_true", help="run code that comes with the model")
    sampling = evaluate.add_argument_group("sampling", "these win over the protocol's")
    for name, text in OPTIONS.items():
        sampling.add_argument(f"--{name}", metavar="VALUE", help=text)
    evaluate.set_defaults(run=_evaluate)


def _stems(directory: Path) -> str:
    return ", ".join(sorted(path.stem for path in directory.glob("*.yaml")))


def _train(arguments: argparse.Namespace, rest: list[str]) -> int:
    fields, overrides = _fields(arguments.config, rest)
    if arguments.quiet or not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # the bars of other libraries
    # Deprecations inside transformers and TRL are for those who develop with them, not for a run's user.
    warnings.simplefilter("ignore", FutureWarning)

    from mgrpo.guard.signals import StopSignals

    with StopSignals() as signals:  # before imports that take seconds
        from mgrpo.commands.train import train
        from mgrpo.recipes.recipe import load_recipe

        recipe = load_recipe(fields, source=" + ".join(arguments.config), overrides=overrides)
        stop = train(recipe, is_quiet=arguments.quiet, signals=signals)
        if stop is None:
            return 0
        print(f"mgrpo: stopped: {stop.reason}", file=sys.stderr)  # before a launcher's SIGTERM can come in between
        return stop.exit_code


def _fields(recipes: list[str], rest: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fields of recipes and those of the command line; their environment variables are set."""
    fields, overrides = read_recipe_files(recipes), parse_overrides(rest)
    fields["env"] = environment_of(fields | overrides, source=" + ".join(recipes))
    for name, value in fields["env"].items():  # before torch reads them; what the shell has set wins
        os.environ.setdefault(name, value)
    return fields, overrides


def _tasks(_: argparse.Namespace, __: list[str]) -> int:
    from mgrpo.tasks.registry import SUMMARIES, installed_tasks

    installed = {name: f"of an installed package: {point.value}" for name, point in installed_tasks().items()}
    _print_table({**SUMMARIES, **installed, "module:function": "your own: docs/tasks.md"})
    print("\n`mgrpo tasks show NAME --model_name_or_path MODEL` shows a task's prompts as that model will see them.")
    return 0


def _reasoning_gym(_: argparse.Namespace, __: list[str]) -> int:
    from mgrpo.tasks.reasoning_gym import GENERATORS

    about = {name: form.note if form.votable else f"no vote; {form.note}" for name, form in GENERATORS.items()}
    _print_table({f"reasoning_gym:{name}": note for name, note in about.items()})
    print("\nno vote: a prompt has many right answers, so that a majority of them means little.")
    return 0


def _show_task(arguments: argparse.Namespace, rest: list[str]) -> int:
    name = rest.pop(0) if rest and not rest[0].startswith("--") else None
    if arguments.config is None and name is None:
        raise UserError("there is nothing to show; write mgrpo tasks show NAME, or --config RECIPE")
    fields, overrides = _fields(arguments.config, rest) if arguments.config else ({}, parse_overrides(rest))
    if name is not None:
        overrides["task"] = name
    warnings.simplefilter("ignore", FutureWarning)

    from mgrpo.commands.show_task import show_task

    print(show_task(fields, " + ".join(arguments.config or ["the command line"]), overrides))
    return 0


def _plan(arguments: argparse.Namespace, rest: list[str]) -> int:
    fields, overrides = _fields(arguments.config, rest) if arguments.config else ({}, parse_overrides(rest))
    if arguments.model is not None:
        overrides["model_name_or_path"] = arguments.model
    warnings.simplefilter("ignore", FutureWarning)

    from rich.console import Console

    from mgrpo.commands.plan import Launch, plan_recipe, render

    launch = Launch(gpus=arguments.gpus, gpu_memory=arguments.gpu_memory, sharding=arguments.sharding)
    planned = plan_recipe(fields, " + ".join(arguments.config or ["the command line"]), overrides, launch)
    Console(highlight=False, soft_wrap=True).print(render(planned))
    return 0


def _evaluate(arguments: argparse.Namespace, _: list[str]) -> int:
    from mgrpo.evaluation.protocols import read_options

    given = {name: value for name, value in vars(arguments).items() if value is not None}
    overrides = read_options(given)
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # the bars of other libraries
    warnings.simplefilter("ignore", FutureWarning)

    from mgrpo.commands.evaluate import evaluate_model
    from mgrpo.evaluation.render import check_export, export_grids, show_grids
    from mgrpo.evaluation.table_rows import read_lines
    from mgrpo.evaluation.tables import benchmark_grid, metric_grid

    if arguments.export is not None:
        check_export(arguments.export)
    output = evaluate_model(
        arguments.model,
        arguments.benchmarks,
        protocol=arguments.protocol,
        overrides=overrides,
        limit=arguments.limit,
        data=arguments.data,
        engine=arguments.engine,
        dtype=arguments.dtype,
        batch_size=arguments.batch_size,
        checkpoints=arguments.checkpoints,
        output_dir=arguments.output_dir,
        revision=arguments.revision,
        trust_remote_code=arguments.trust_remote_code,
    )
    lines = read_lines(output)
    grids = [benchmark_grid(lines), metric_grid(lines)]
    show_grids(grids)
    if arguments.export is not None:
        export_grids(grids, arguments.export)
        print(arguments.export)
    print(output)
    return 0


def _print_table(rows: dict[str, str]) -> None:
    width = max(map(len, rows)) + 2
    wrap = textwrap.TextWrapper(shutil.get_terminal_size().columns, subsequent_indent=" " * width)
    for left, right in rows.items():
        print(wrap.fill(f"{left:{width}}{right}"))


def _demo(arguments: argparse.Namespace, _: list[str]) -> int:
    from mgrpo.study.demo import run_demo

    return run_demo(arguments.output_dir, seed=arguments.seed, max_steps=arguments.max_steps, filter=arguments.filter)


def _plot(arguments: argparse.Namespace, _: list[str]) -> int:
    from mgrpo.monitoring.plot import plot_runs

    plot_runs(arguments.run_directories, arguments.output)
    print(arguments.output)
    return 0


def _report(arguments: argparse.Namespace, _: list[str]) -> int:
    from mgrpo.report.page import write_report

    write_report(arguments.run_directories, arguments.output)
    print(arguments.output)
    return 0


def _watch(arguments: argparse.Namespace, _: list[str]) -> int:
    from mgrpo.report.serve import watch

    watch(arguments.run_directories, port=arguments.port, open_browser=arguments.open)
    return 0


def _study(arguments: argparse.Namespace, _: list[str]) -> int:
    from mgrpo.study.runner import run_study

    warnings.simplefilter("ignore", FutureWarning)
    return run_study(
        arguments.study, arguments.output_dir, workers=arguments.workers, tables_only=arguments.tables_only
    )


def _compare(arguments: argparse.Namespace, _: list[str]) -> int:
    from mgrpo.study.compare import compare_runs

    compare_runs(arguments.run_directories, arguments.output_dir, arguments.baseline)
    return 0


def parse_overrides(rest: list[str]) -> dict[str, Any]:
    """Turn `--field value ...` into a mapping; several values become a list, none means true.

    Raises:
        UserError: for a value without a field.
    """
    fields: dict[str, list[str]] = {}
    name = None
    for word in rest:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            fields[name] = [value] if equals else []
        elif name is None:
            raise UserError(f"{word!r} stands on the command line without a field; write --FIELD {word}.")
        else:
            fields[name].append(word)
    return {name: values[0] if len(values) == 1 else values or True for name, values in fields.items()}


if __name__ == "__main__":
    sys.exit(main())
