"""Tables on the terminal, as Markdown and as LaTeX."""

import pytest

from mgrpo.errors import UserError
from mgrpo.evaluation.render import escape_latex, export_grids, latex, markdown, show_grids, wrapped, write_grids
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


def test_headings_and_names_break_at_their_joints_and_wide_tables_become_several(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    benchmarks = ["embedded:chains", "file:data/held-out.jsonl", "gpqa_diamond", "livecodebench", "aime24", "mmlu_pro"]
    head = ["", *(f"{name} avg@8" for name in benchmarks), "mean of 6", "policy − momentum", "p", "ship"]
    row = [*["66.7 [33.9, 88.6]"] * 7, "+0.0 [−1.0, +1.0]", "<0.001", "momentum"]
    show_grids([Grid(head, [["checkpoint-100-momentum", *row], ["final", *row]])])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    words = {word for line in lines for word in line.split()}
    whole = ["embedded:", "file:data/", "gpqa_diamond", "livecodebench", "mmlu_pro", "policy", "momentum", "ship"]
    assert words >= {*whole, "checkpoint-100-", "final", "<0.001", "[33.9,", "88.6]"}
    assert sum(line.startswith("final") for line in lines) == 3  # three tables, each with the names


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("final-momentum", 16, ["final-momentum"]),
        ("checkpoint-100-momentum", 16, ["checkpoint-100-", "momentum"]),
        ("embedded:chains avg@2", 12, ["embedded:", "chains avg@2"]),
        ("organisation/a-model", 8, ["organisa", "tion/a-", "model"]),
        ("", 5, [""]),
    ],
)
def test_a_name_in_lines(text, width, lines):
    assert wrapped(text, width).split("\n") == lines


def test_nothing_is_cut_off_on_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    name = "organisation/a-model-of-a-very-long-name"
    show_grids([Grid(["", *["benchmark avg@4"] * 3], [[name, *["61.5 ± 4.2"] * 3]])])
    said = "".join(line[:16].strip() for line in capsys.readouterr().out.splitlines()[2:])
    assert name in said
