import json
import sys

import pytest

from mgrpo.errors import UserError
from mgrpo.monitoring.plot import draw, plot_runs

ROWS = [
    {"step": 0, "eval_gold/accuracy": 0.5},
    {"step": 10, "vote/agreement": 0.6, "entropy/mean": None, "something/else": 1.0},
    {"step": 20, "vote/agreement": 0.8, "eval_gold/accuracy": 0.4},
]


def write_run(directory, rows):
    directory.mkdir(parents=True)
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return directory


@pytest.fixture
def figures(monkeypatch):
    """The figures that were saved, still drawn to their files."""
    matplotlib_figure = pytest.importorskip("matplotlib.figure")
    saved = []
    save = matplotlib_figure.Figure.savefig

    def savefig(figure, *args, **kwargs):
        saved.append(figure)
        return save(figure, *args, **kwargs)

    monkeypatch.setattr(matplotlib_figure.Figure, "savefig", savefig)
    return saved


def panels(figure):
    return {axis.get_title(): axis for axis in figure.axes if axis.get_visible()}


def test_panels_are_those_that_a_run_has(tmp_path, figures):
    output = tmp_path / "new" / "curves.png"
    draw({"SRT": ROWS, "M-GRPO": [{"step": 10, "kl": 0.25}]}, output)
    assert output.read_bytes().startswith(b"\x89PNG\r\n")
    shown = panels(figures[0])
    assert list(shown) == [
        "held-out accuracy (measured)",
        "agreement",
        "KL to the initial model, nats per token",
    ]
    agreement = shown["agreement"]
    assert agreement.get_lines()[0].get_xydata().tolist() == [[10, 0.6], [20, 0.8]]
    assert agreement.get_ylim() == (0, 1)
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["SRT", "M-GRPO"]


def test_levels_are_lines_where_accuracy_is_drawn(tmp_path, figures):
    greedy = [{"step": 0, "benchmark/sums/policy": 0.4, "benchmark/sums/momentum": 0.4}]
    draw({"SRT": [*ROWS, *greedy]}, tmp_path / "curves.png", {"no training": 0.3})
    shown = panels(figures[0])
    assert list(shown) == ["held-out accuracy (measured)", "sums, greedy, policy (measured)", "agreement"]
    lines = [{line.get_label(): list(line.get_ydata()) for line in axis.get_lines()} for axis in shown.values()]
    assert [line.get("no training") for line in lines] == [[0.3, 0.3], [0.3, 0.3], None]
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["SRT", "no training"]


def test_runs_are_labelled_by_their_directories(tmp_path, figures):
    first, second = write_run(tmp_path / "a" / "seed-0", ROWS), write_run(tmp_path / "a" / "seed-1", ROWS)
    plot_runs([first, second], tmp_path / "curves.png")
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["seed-0", "seed-1"]


def test_equal_names_are_told_apart_by_their_paths(tmp_path, figures):
    first, second = write_run(tmp_path / "a" / "run", ROWS), write_run(tmp_path / "b" / "run", ROWS)
    plot_runs([first, second], tmp_path / "curves.png")
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == [str(first), str(second)]


@pytest.mark.parametrize("rows", [[], [{"step": 1}]])
def test_nothing_to_draw(tmp_path, rows):
    with pytest.raises(UserError, match="there is nothing to draw: young logged no step yet"):
        plot_runs([write_run(tmp_path / "young", rows)], tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_unknown_format(tmp_path):
    with pytest.raises(UserError, match=r"curves\.doc cannot be drawn .*give it the ending \.png"):
        draw({"run": ROWS}, tmp_path / "curves.doc")


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"curves\.png cannot be written"):
        draw({"run": ROWS}, tmp_path / "file" / "curves.png")


def test_matplotlib_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=r"matplotlib, which is not installed: pip install 'mgrpo\[report\]'"):
        draw({"run": ROWS}, tmp_path / "curves.png")
