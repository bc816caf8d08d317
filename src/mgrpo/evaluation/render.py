"""Writes tables to the terminal, as Markdown and as LaTeX."""

import re
import sys
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from mgrpo.errors import UserError
from mgrpo.evaluation.tables import Grid
from mgrpo.monitoring.display import visible

NAME_WIDTH = 16
"""Characters of a name in a line, on a narrow terminal."""
JOINTS = re.compile(r"[^\s/:,_-]*[\s/:,_-]*")
"""The parts of a name between which a line may end."""
UNBOUNDED = 10_000

_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "†": r"$^\dagger$",
}


def show_grids(grids: Sequence[Grid], name_width: int = NAME_WIDTH) -> None:
    """Print tables with their notes.

    In a table that would be too wide names and intervals take several lines; one that still is becomes several, each
    with the rows' names.
    """
    console = Console(file=sys.stdout, emoji=False)

    def fits(table: Table) -> bool:
        return Measurement.get(console, console.options.update(width=UNBOUNDED), table).maximum <= console.width

    for grid in grids:
        columns = list(range(1, len(grid.head)))
        if fits(table := _rich_table(grid, columns)):
            console.print(table)
            columns = []
        while columns:
            shown = columns[:1]
            while len(shown) < len(columns) and fits(_rich_table(grid, columns[: len(shown) + 1], name_width)):
                shown = columns[: len(shown) + 1]
            console.print(_rich_table(grid, shown, name_width))
            columns = columns[len(shown) :]
            if columns:
                console.print()
        for note in grid.notes:
            console.print(Text(visible(note)))
        console.print()


def _rich_table(grid: Grid, columns: Sequence[int], name_width: int | None = None) -> Table:
    """Some columns of a table next to its names, in as few lines as possible or, with a width, in few characters."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0) if name_width is None else 0, show_edge=False)
    shown = []
    for column in (0, *columns):
        heading, *cells = (visible(row[column]) for row in (grid.head, *grid.rows))
        if name_width is not None:
            is_name = column == 0 or any(cell[:1].isalpha() for cell in cells)
            cells = [wrapped(cell, name_width) if is_name else cell.replace(" [", "\n[") for cell in cells]
            longest = max((len(line) for cell in cells for line in cell.split("\n")), default=0)
            longest_part = max((len(part.rstrip()) for part in JOINTS.findall(heading)), default=0)
            heading = wrapped(heading, max(longest, min(name_width, longest_part)))
        table.add_column(Text(heading), justify="left" if column == 0 else "right", overflow="fold")
        shown.append(map(Text, cells))
    for row in zip(*shown, strict=True):
        table.add_row(*row)
    return table


def wrapped(text: str, width: int) -> str:
    """A name in lines, broken behind spaces; a word longer than a line behind punctuation, or anywhere."""
    lines = [""]
    words = re.findall(r"\S*\s*", text)
    pieces = [[word] if len(word.rstrip()) <= width else JOINTS.findall(word) for word in words]
    for piece in chain.from_iterable(pieces):
        if lines[-1] and len((lines[-1] + piece).rstrip()) > width:
            lines.append("")
        lines[-1] += piece
        while len(lines[-1].rstrip()) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return "\n".join(line.rstrip() for line in lines)


def write_grids(grids: Sequence[Grid], directory: Path) -> None:
    """Write tables into a directory, which is created, as `benchmarks.md` and `benchmarks.tex`."""
    directory.mkdir(parents=True, exist_ok=True)
    for suffix in FORMATS:
        export_grids(grids, directory / f"benchmarks{suffix}")


def export_grids(grids: Sequence[Grid], path: Path) -> None:
    """Write tables into a file of Markdown (`.md`) or LaTeX (`.tex`).

    Raises:
        UserError: if it has another ending, or cannot be written.
    """
    write = check_export(path)
    try:
        path.write_text("\n".join(map(write, grids)), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


def check_export(path: Path) -> Callable[[Grid], str]:
    """The function that writes a table in the format of a file's name; call it before anything is computed.

    Raises:
        UserError: if there is no such format.
    """
    if path.suffix not in FORMATS:
        raise UserError(f"{path} ends with neither {' nor '.join(FORMATS)}; name a file of Markdown or of LaTeX")
    return FORMATS[path.suffix]


def markdown(grid: Grid) -> str:
    """The table in Markdown, and its notes as paragraphs."""
    lines = markdown_table(grid.head, grid.rows)
    return "\n".join([*lines, *(f"\n{visible(note)}" for note in grid.notes)]) + "\n"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(visible(cell).replace('|', '/') for cell in line)} |" for line in lines]


def latex(grid: Grid) -> str:
    r"""The table in LaTeX, for a document with `\usepackage{booktabs}`; its notes as comments above."""
    notes = [f"% {visible(note)}" for note in grid.notes]
    lines = [" & ".join(map(escape_latex, row)) + r" \\" for row in (grid.head, *grid.rows)]
    begin = rf"\begin{{tabular}}{{l{'r' * (len(grid.head) - 1)}}}"
    body = [begin, r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*notes, *body]) + "\n"


def escape_latex(text: str) -> str:
    """Text with LaTeX's special characters escaped."""
    return "".join(_LATEX.get(character, character) for character in visible(text))


FORMATS = {".md": markdown, ".tex": latex}
"""The function that writes a table, by the ending of a file's name."""
