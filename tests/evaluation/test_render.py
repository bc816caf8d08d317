"""Tables on the terminal, as Markdown and as LaTeX."""

import pytest

from mgrpo.errors import UserError
from mgrpo.evaluation.render import escape_latex, export_grids, latex, markdown, show_grids, write_grids
from mgrpo.evaluation.tables import Grid

GRID = Grid(["", "math_500 avg@4"], [["a|b & 50% {x}", "61.5 ± 4.2"], ["best †", "−1.0 [−2.0, +0.1]"]], ["A note."])


def test_markdown():
    assert markdown(GRID).splitlines() == [
        *("|  | math_500 avg@4 |", "| --- | --- |"),
        *("| a/b & 50% {x} | 61.5 ± 4.2 |", "| best † | −1.0 [−2.0, +0.1] |"),
        *("", "A note."),
    ]


def test_latex():
    assert latex(GRID).splitlines() == [
        "% A note.",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r" & math\_500 avg@4 \\",
        r"\midrule",
        r"a$|$b \& 50\% \{x\} & 61.5 $\pm$ 4.2 \\",
        r"best $^\dagger$ & $-$1.0 [$-$2.0, +0.1] \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    assert escape_latex(r"\a~b^c<d>$#") == r"\textbackslash{}a\textasciitilde{}b\textasciicircum{}c$<$d$>$\$\#"


def test_exports(tmp_path):
    write_grids([GRID, GRID], tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"benchmarks.md", "benchmarks.tex"}
    assert (tmp_path / "out" / "benchmarks.md").read_text() == f"{markdown(GRID)}\n{markdown(GRID)}"
    with pytest.raises(UserError, match=r"table.csv .*\.md .*\.tex"):
        export_grids([GRID], tmp_path / "table.csv")
    with pytest.raises(UserError, match=r"table.md .*No such file"):
        export_grids([GRID], tmp_path / "nowhere" / "table.md")


def test_on_the_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    show_grids([GRID])
    said = capsys.readouterr().out
    assert "a|b & 50% {x}         61.5 ± 4.2" in said and "−1.0 [−2.0, +0.1]" in said and said.endswith("A note.\n\n")
    monkeypatch.setenv("COLUMNS", "30")
    show_grids([GRID, Grid(["", "x"], [["[bold]run\x1b[2J[/bold]", "1"]])])
    said = capsys.readouterr().out
    assert "−1.0\n" in said and "[−2.0, +0.1]" in said  # an interval stands below its value
    assert "[bold]run\\x1b[2J[/bold]" in said  # neither rich nor the terminal reads a name


def test_nothing_is_cut_off_on_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    name = "organisation/a-model-of-a-very-long-name"
    show_grids([Grid(["", *["benchmark avg@4"] * 3], [[name, *["61.5 ± 4.2"] * 3]])])
    said = "".join(line[:16].strip() for line in capsys.readouterr().out.splitlines()[2:])
    assert name in said
