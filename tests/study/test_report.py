import json

import pandas as pd
import pytest

from mgrpo.errors import UserError
from mgrpo.study.report import draw_study, show_summary, summary_markdown, write_report
from mgrpo.study.tables import StudiedRun, summarize


def run(variant, seed, *accuracies):
    rows = [{"step": 10 * i, "eval_gold/accuracy": a, "kl": 0.25 * i} for i, a in enumerate(accuracies)]
    return StudiedRun(variant, seed, rows)


RUNS = [run("srt", 0, 0.5, *[0.1] * 5), run("srt", 1, 0.5, *[0.3] * 5), run("m|grpo", 0, 0.5, *[0.75] * 5)]


def test_markdown():
    text = summary_markdown(summarize(RUNS, "srt"), RUNS).splitlines()
    assert text[0].startswith("Held-out accuracy: at the start")
    assert "picked by KL, lowest" in text[0]
    assert text[2].startswith("| variant | start | peak | final |")
    # both srt runs peak at their start and collapse at step 10; KL: mean of the last three, 0.75, 1 and 1.25;
    # areas (0.3 + 4 x 0.1) / 5 = 0.14 and (0.4 + 4 x 0.3) / 5 = 0.32
    assert text[4] == (
        "| srt | 0.500 [0.500, 0.500] | 0.500 [0.500, 0.500] | 0.200 [0.100, 0.300] | 0.400 [0.200, 0.600] "
        "| 0.230 [0.140, 0.320] | 0.500 [0.500, 0.500] |  |  | 1.000 [1.000, 1.000] | 2/2 at 10 |  |  |"
    )
    assert text[5] == "| m/grpo | 0.500 | 0.750 | 0.750 | 1.000 | 0.725 | 0.500 |  |  | 1.000 | 0/1 | 1-0 | 1.000 |"
    assert text[7] == "| checkpoint picked by | mean held-out accuracy | runs that logged it |"
    assert text[9:] == ["| KL, lowest | 0.500 | 3 |", "| last | 0.383 | 3 |"]


def test_on_the_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    show_summary(summarize(RUNS, "srt"), RUNS)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split() for line in (lines[0], lines[2])] == [
        ["variant", "start", "peak", "final", "95%", "picked", "collapsed", "won-lost"],
        ["srt", "0.50", "0.50", "0.20", "0.10-0.30", "0.50", "2/2", "at", "10"],
    ]
    assert lines[3].split() == ["m|grpo", "0.50", "0.75", "0.75", "0.50", "0/1", "1-0"]


def test_long_names_are_wrapped_at_their_commas(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    runs = [run("momentum=0.9,iqr_multiplier=none,beta=0.1", 0, 0.5, 0.75)]
    show_summary(summarize(runs, None), runs)
    lines = capsys.readouterr().out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("─")) + 1
    names = [line.split()[0] for line in lines[first : first + 3]]
    assert names == ["momentum=0.9,", "iqr_multiplier=none,", "beta=0.1"]


def test_everything_is_written(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    write_report(RUNS, tmp_path / "out", "srt")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("table.parquet", "table.csv", "summary.csv", "summary.md", "curves.png")
    }
    summary = pd.read_csv(tmp_path / "out" / "summary.csv")
    assert json.loads(summary[["variant", "final", "collapsed", "wins"]].to_json(orient="records")) == [
        {"variant": "srt", "final": 0.2, "collapsed": 2, "wins": None},
        {"variant": "m|grpo", "final": 0.75, "collapsed": 0, "wins": 1},
    ]
    assert f"runs: 3; tables and curves: {tmp_path / 'out'}" in capsys.readouterr().out.replace("\n", "")


def test_nothing_was_evaluated():
    runs = [StudiedRun("a", 0, [{"step": 1, "kl": 0.5}])]
    text = summary_markdown(summarize(runs, None), runs).splitlines()
    assert text[0] == "Nothing was evaluated."
    assert text[-1] == "| a |  |  |  |  |  |  |  |  | 0.500 | 0/1 |  |  |"


def test_runs_on_right_answers_are_named():
    runs = [*RUNS, StudiedRun("grpo-gold", 0, RUNS[0].rows, learns_from_gold=True)]
    first = summary_markdown(summarize(runs, None), runs).splitlines()[0]
    assert "Not label-free" in first and first.endswith("right answers: grpo-gold.")


# The figure.


@pytest.fixture
def figures(monkeypatch):
    module = pytest.importorskip("matplotlib.figure")
    saved = []
    save = module.Figure.savefig
    monkeypatch.setattr(
        module.Figure, "savefig", lambda figure, *a, **k: (saved.append(figure), save(figure, *a, **k))
    )
    return saved


def drawn_run(variant, seed, *accuracies, kl=None):
    rows = [{"step": 10 * i, "eval_gold/accuracy": accuracy} for i, accuracy in enumerate(accuracies)]
    return StudiedRun(variant, seed, [*rows, {"step": 90, "kl": kl}] if kl is not None else rows)


def lines(axis):
    return [line.get_xydata().tolist() for line in axis.get_lines()]


def test_a_row_a_variant(tmp_path, figures):
    runs = [
        drawn_run("srt", 0, 0.5, 0.25),
        drawn_run("srt", 1, 0.5, 0.75, 0.5),
        drawn_run("m-grpo", 0, 0.25, 0.5, kl=0.0),
    ]
    draw_study(runs, tmp_path / "curves.png", "srt")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    accuracy_of_srt, _, accuracy_of_anchored, kl_of_anchored = figures[0].axes
    of_srt = [[0, 0.5], [10, 0.5], [20, 0.5]]  # step 20: one seed alone got there
    assert lines(accuracy_of_srt) == [[[0, 0.5], [10, 0.25]], [[0, 0.5], [10, 0.75], [20, 0.5]], of_srt]
    one = [[0, 0.25], [10, 0.5]]
    assert lines(accuracy_of_anchored) == [one, of_srt, one]
    assert lines(kl_of_anchored)[0] == [[90, 1e-4]]
    assert accuracy_of_srt.get_ylabel() == "srt" and accuracy_of_srt.get_ylim() == (0, 1)
    assert figures[0].get_suptitle() == "thick: mean over seeds; thin: one seed; dashed: srt"


def test_twelve_variants(tmp_path, figures):
    draw_study([drawn_run(f"momentum={i},beta=1", 0, 0.5, 0.6) for i in range(12)], tmp_path / "curves.png", None)
    assert len(figures[0].axes) == 12
    assert figures[0].axes[-1].get_ylabel() == "momentum=11\nbeta=1"
    assert figures[0].get_suptitle() == "thick: mean over seeds; thin: one seed"


def test_nothing_to_draw(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(UserError, match="there is nothing to draw"):
        draw_study([StudiedRun("a", 0, [{"step": 1, "grad_norm": 1.0}])], tmp_path / "curves.png", None)
