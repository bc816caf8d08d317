"""`python -m mgrpo.embedded build NAME`: make one of the embedded models, in minutes on one CPU thread."""

import argparse
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mgrpo.embedded.starts import EMBEDDED, SHIPPED, STARTS, start_name
from mgrpo.errors import UserError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m mgrpo.embedded", description="The embedded models' workshop.")
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="warm up a fresh model and save it", description=__doc__)
    names = ", ".join(f"{EMBEDDED}:{name}" for name in STARTS if name != SHIPPED)
    build.add_argument("name", nargs="?", default=EMBEDDED, help=f"{EMBEDDED}, {names}; default: %(default)s")
    directory = "default: where recipes that name the model look for it; runs/embedded for the shipped one"
    build.add_argument("--output_dir", type=Path, help=directory)
    build.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    build.add_argument("--steps", type=int, help="optimizer steps; default: the whole warm-up")
    options = parser.parse_args(arguments)
    try:
        _build(options)
    except UserError as error:
        build.error(str(error))


def _build(options: argparse.Namespace) -> None:
    name = start_name(options.name)
    start, is_shipped = STARTS[name], name == SHIPPED
    if options.steps is not None and options.steps < 1:
        raise UserError(f"--steps is {options.steps}; give a positive number")
    is_own = options.seed != 0 or options.steps is not None
    if is_own and not is_shipped and options.output_dir is None:
        raise UserError(
            f"what recipes find as {options.name} has seed 0 and {start.num_steps} steps; "
            "give an --output_dir for one with a --seed or --steps of its own"
        )

    # torch and transformers take seconds to import; --help does not need them
    from transformers.utils import logging

    from mgrpo.embedded.build import build, report
    from mgrpo.embedded.cache import ensure_built

    logging.disable_progress_bar()  # one file is written and read in no time
    if options.output_dir is None and not is_shipped:
        directory = ensure_built(options.name)
    else:
        directory = options.output_dir or Path("runs/embedded")
        start, began = replace(start, num_steps=options.steps or start.num_steps), time.perf_counter()
        build(start, directory, seed=options.seed)
        print(f"{start.num_steps} steps in {time.perf_counter() - began:.0f} s, saved in {directory}")
    report(directory, start.task)


if __name__ == "__main__":
    main()
