"""`python -m mgrpo.embedded build`: make the embedded checkpoint anew, in about three minutes on one CPU thread."""

import argparse
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m mgrpo.embedded", description="The embedded model's workshop.")
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="warm up a fresh model and save it", description=__doc__)
    build.add_argument("--output_dir", type=Path, default=Path("runs/embedded"), help="default: %(default)s")
    build.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    build.add_argument("--steps", type=_positive, help="optimizer steps; default: the whole warm-up")
    options = parser.parse_args(arguments)

    # torch and transformers take seconds to import; --help need not wait for them
    from mgrpo.embedded.build import NUM_STEPS, build_and_report

    build_and_report(options.output_dir, seed=options.seed, num_steps=options.steps or NUM_STEPS)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of steps")
    return number


if __name__ == "__main__":
    main()
