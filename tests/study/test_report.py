import json

import pandas as pd
import pytest

from mgrpo.study.report import show_summary, summary_markdown, write_report
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
        "| 0.230 [0.140, 0.320] | 0.500 [0.500, 0.500] |  |  | 1.000 [1.000, 1.000] | 2/2 at 10 |  |"
    )
    assert text[5] == "| m/grpo | 0.500 | 0.750 | 0.750 | 1.000 | 0.725 | 0.500 |  |  | 1.000 | 0/1 | 1-0 |"
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
    assert text[-1] == "| a |  |  |  |  |  |  |  |  | 0.500 | 0/1 |  |"


def test_runs_on_right_answers_are_named():
    runs = [*RUNS, StudiedRun("grpo-gold", 0, RUNS[0].rows, learns_from_gold=True)]
    first = summary_markdown(summarize(runs, None), runs).splitlines()[0]
    assert "Not label-free" in first and first.endswith("right answers: grpo-gold.")
