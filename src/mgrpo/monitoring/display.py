"""How a run's state is put into one line, and how text of others gets to a terminal."""

import sys
import unicodedata
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from mgrpo.runs import metrics as names

_NUMBERS = (names.AGREEMENT, names.ENTROPY, names.HELD_OUT_ACCURACY)
_INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories: control and format characters (escape, direction marks), lone surrogates, line separators."""


def visible(text: str, keep: str = "") -> str:
    """Text of a model or a data set, safe for a terminal: control and format characters become escapes.

    Args:
        text: the text.
        keep: characters that stay as they are, the line break of a text of many lines.
    """
    return "".join(
        c.encode("unicode_escape").decode() if c not in keep and unicodedata.category(c) in _INVISIBLE else c
        for c in text
    )


def summary_line(row: dict[str, Any]) -> str:
    """The few numbers that matter, as far as they are in the row."""
    known = (name for name in _NUMBERS if row.get(name) is not None)
    return "  ".join(f"{names.short_label(name)} {row[name]:.2f}" for name in known)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


def progress_bar(console: Console) -> Progress:
    """A bar with steps, rate, time left and a field `numbers`, in 80 columns; nothing off a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=6),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[numbers]}"),
        console=console,
        redirect_stdout=sys.stdout.isatty(),  # else text for a file would go to the terminal
        disable=not (console.is_terminal and console.file.isatty()),  # rich takes FORCE_COLOR for a terminal
    )
