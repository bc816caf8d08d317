"""Assemble the pages of the site in build/docs, from which Zensical builds it: `make docs`.

    python docs/assemble.py [DIRECTORY]

Takes the pages of docs/, the laboratory notebook (texts next to their data, in studies/ and benchmarks/) and three
files of the project. Replaces each `<!-- generated: NAME -->` by what `GENERATORS` makes from the code, turns
equations into MathML, which needs no script, and points every link at the place that its target has in the site. A
link to any other file of the repository copies that file.
"""

import argparse
import os
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from mgrpo.cli import _parser
from mgrpo.options import options_of, plain
from mgrpo.recipes.recipe import RECIPE_TYPES
from mgrpo.runs.metrics import METRICS, knows_answers
from mgrpo.tasks.reasoning_gym_generators import GENERATORS as PUZZLES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
NOTEBOOK = {
    f"{directory}/{name}.md": f"notebook/{name}.md"
    for directory, names in {
        "studies": ("stability", "monitoring", "methods"),
        "benchmarks": ("benchmarks", "evaluation", "statistics", "reliability", "sandbox", "vllm"),
    }.items()
    for name in names
}
"""Texts next to their data, and their places in the site."""
PROJECT = {f"{name}.md": f"project/{name.lower()}.md" for name in ("CONTRIBUTING", "SECURITY", "CHANGELOG")}
LINK = re.compile(r"(!?\[[^\]]*\])\(([^)\s#]*)(#[^)\s]*)?\)")
FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
GENERATED = re.compile(r"<!-- generated: (\w+) -->")
GROUPS = ("Data and task", "Method and training", "Model and adapter")


def fields() -> str:
    """Every field of a recipe, as `mgrpo fields` prints it, under the dataclass that has it."""
    parts = []
    for heading, type_ in zip(GROUPS, RECIPE_TYPES, strict=True):
        own = [name for name in options_of(type_) if name in type_.__annotations__] or list(options_of(type_))
        parts.append(f"## {heading}\n\n{_field_table(type_, own)}")
        if rest := [name for name in options_of(type_) if name not in own]:
            parts.append(f"## Inherited from TRL and transformers\n\n{_field_table(type_, rest)}")
    return "\n\n".join(parts)


def _field_table(type_: type, names: Iterable[str]) -> str:
    lines = ["| field | value | default | |", "|---|---|---|---|"]
    for name in names:
        option = options_of(type_)[name]
        default = plain(option.default)
        shown = "none" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
        kind = f"{option}, or none" if option.is_optional else str(option)
        lines.append(f"| `{name}` | {_cell(kind)} | {_cell(f'`{shown}`' if shown else '')} | {_cell(option.help)} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text in one cell of a table; `<` and `[` are what a user reads, not markup."""
    return re.sub(r"([<\[])", r"\\\1", " ".join(text.split())).replace("|", r"\|")


def commands() -> str:
    """The help of every command, as the parsers print it."""
    os.environ["COLUMNS"] = "100"
    return "\n\n".join(_help(_parser()))


def _help(parser: argparse.ArgumentParser) -> Iterable[str]:
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    level = "##" if parser.prog.count(" ") < 2 else "###"
    yield f"{level} {parser.prog}\n\n```text\n{parser.format_help().rstrip()}\n```"
    for action in actions:
        for child in action.choices.values():
            yield from _help(child)


def metrics() -> str:
    """The registry of metrics."""
    lines = ["| metric | unit | meaning |", "|---|---|---|"]
    for name, metric in METRICS.items():
        measured = " Measured with the ground truth." if knows_answers(name) else ""
        lines.append(f"| `{name}` | {metric.unit} | {_cell(metric.meaning)}{measured} |")
    return "\n".join(lines)


def puzzles() -> str:
    """The generators of reasoning-gym, and how their answers are compared."""
    lines = ["| name | compared as | vote | right is | example | note |", "|---|---|---|---|---|---|"]
    for name, puzzle in PUZZLES.items():
        right = "what a checker passes" if puzzle.is_checked else "the ground truth"
        example = f"`{puzzle.example}`" if puzzle.example else ""
        cells = (name, puzzle.equivalence, "yes" if puzzle.votable else "no", right, example, puzzle.note)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


GENERATORS = {"fields": fields, "commands": commands, "metrics": metrics, "puzzles": puzzles}


def site_path(source: Path) -> str | None:
    """Where a file of the repository is in the site; None: nowhere."""
    name = source.relative_to(ROOT).as_posix()
    if name in NOTEBOOK | PROJECT:
        return (NOTEBOOK | PROJECT)[name]
    if source.is_relative_to(DOCS) and source.suffix != ".py":
        return source.relative_to(DOCS).as_posix()
    return f"files/{name}" if source.is_file() else None


def assemble(output: Path) -> None:
    """Write the site's pages into a directory, which is emptied first.

    Raises:
        SystemExit: with every link that leads nowhere.
    """
    shutil.rmtree(output, ignore_errors=True)
    broken: list[str] = []
    for source in [*sorted(DOCS.rglob("*.md")), *(ROOT / name for name in NOTEBOOK | PROJECT)]:
        target = output / str(site_path(source))
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text(encoding="utf-8")
        text = GENERATED.sub(lambda match: GENERATORS[match[1]](), text)
        parts = FENCE.split(text)  # code at odd places
        parts[::2] = [_equations(_links(part, source, output, broken)) for part in parts[::2]]
        target.write_text("".join(parts), encoding="utf-8")
    if broken:
        sys.exit("\n".join(broken))


def _links(text: str, source: Path, output: Path, broken: list[str]) -> str:
    here = (output / str(site_path(source))).parent

    def moved(match: re.Match[str]) -> str:
        label, link, anchor = match[1], match[2], match[3] or ""
        if not link or re.match(r"\w+:", link):
            return match[0]
        target = (source.parent / link).resolve()
        place = site_path(target) if target.is_relative_to(ROOT) else None
        if place is None or not target.is_file():
            broken.append(f"{source.relative_to(ROOT)}: {link} leads nowhere")
            return match[0]
        if target.suffix != ".md" or place.startswith("files/"):
            (output / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(target, output / place)
        return f"{label}({os.path.relpath(output / place, here)}{anchor})"

    return LINK.sub(moved, text)


def _equations(text: str) -> str:
    if "$$" not in text:
        return text
    from latex2mathml.converter import convert

    return re.sub(r"\$\$(.+?)\$\$", lambda match: convert(match[1].strip(), display="block"), text, flags=re.DOTALL)


if __name__ == "__main__":
    assemble(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build" / "docs")
