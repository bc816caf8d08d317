"""The command line. Nothing heavy is imported before it is needed: `mgrpo --help` answers at once."""

import argparse
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from mgrpo import __version__
from mgrpo.errors import UserError
from mgrpo.recipe_files import RECIPES, environment_of, read_recipe_file

EXIT_USER_ERROR = 2
EXIT_STOPPED = 3
"""The run stopped itself before its last step, with a checkpoint."""


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    if rest and arguments.command != "train":
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return arguments.run(arguments, rest)
    except UserError as error:
        print(f"mgrpo: {str(error).rstrip('.?')}{'?' if str(error).endswith('?') else '.'}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("mgrpo: interrupted; what was logged and saved so far is in the run's directory.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mgrpo", description="Label-free reinforcement learning for language models that does not collapse."
    )
    parser.add_argument("--version", action="version", version=f"mgrpo {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser(
        "train",
        help="train a model from a recipe",
        usage="mgrpo train --config RECIPE [--FIELD VALUE ...]",
        description="Train a model from a recipe; any field of it can be set on the command line, where it wins. "
        f"Recipes that come along: {', '.join(sorted(path.stem for path in RECIPES.glob('*.yaml')))}. "
        "docs/recipes.md lists the fields.",
        allow_abbrev=False,
    )
    train.add_argument("--config", required=True, metavar="RECIPE", help="a YAML file, or the name of a recipe")
    train.set_defaults(run=_train)

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
    return parser


def _train(arguments: argparse.Namespace, rest: list[str]) -> int:
    fields, overrides = read_recipe_file(arguments.config), parse_overrides(rest)
    fields["env"] = environment_of(fields | overrides, source=arguments.config)
    for name, value in fields["env"].items():  # before torch reads them; what the shell has set wins
        os.environ.setdefault(name, value)
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # the bars of other libraries
    # Deprecations inside transformers and TRL are for those who develop with them, not for a run's user.
    warnings.simplefilter("ignore", FutureWarning)

    from mgrpo.training.recipe import load_recipe
    from mgrpo.training.run import train

    stop_reason = train(load_recipe(fields, source=arguments.config, overrides=overrides))
    if stop_reason:
        print(f"mgrpo: stopped: {stop_reason}", file=sys.stderr)
        return EXIT_STOPPED
    return 0


def _demo(arguments: argparse.Namespace, _: list[str]) -> int:
    from mgrpo.demo import run_demo

    return run_demo(arguments.output_dir, seed=arguments.seed, max_steps=arguments.max_steps, filter=arguments.filter)


def _plot(arguments: argparse.Namespace, _: list[str]) -> int:
    from mgrpo.monitoring.plot import plot_runs

    plot_runs(arguments.run_directories, arguments.output)
    print(arguments.output)
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
