import pytest

from mgrpo.errors import UserError
from mgrpo.study.figure import draw_study
from mgrpo.study.tables import StudiedRun

figure_module = pytest.importorskip("matplotlib.figure")


@pytest.fixture
def figures(monkeypatch):
    saved = []
    save = figure_module.Figure.savefig
    monkeypatch.setattr(
        figure_module.Figure, "savefig", lambda figure, *a, **k: (saved.append(figure), save(figure, *a, **k))
    )
    return saved


def run(variant, seed, *accuracies, kl=None):
    rows = [{"step": 10 * i, "eval_gold/accuracy": accuracy} for i, accuracy in enumerate(accuracies)]
    return StudiedRun(variant, seed, [*rows, {"step": 90, "kl": kl}] if kl is not None else rows)


def lines(axis):
    return [line.get_xydata().tolist() for line in axis.get_lines()]


def test_a_row_a_variant(tmp_path, figures):
    runs = [run("srt", 0, 0.5, 0.25), run("srt", 1, 0.5, 0.75, 0.5), run("m-grpo", 0, 0.25, 0.5, kl=0.0)]
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
    draw_study([run(f"momentum={i},beta=1", 0, 0.5, 0.6) for i in range(12)], tmp_path / "curves.png", None)
    assert len(figures[0].axes) == 12
    assert figures[0].axes[-1].get_ylabel() == "momentum=11\nbeta=1"
    assert figures[0].get_suptitle() == "thick: mean over seeds; thin: one seed"


def test_nothing_to_draw(tmp_path):
    with pytest.raises(UserError, match="there is nothing to draw"):
        draw_study([StudiedRun("a", 0, [{"step": 1, "grad_norm": 1.0}])], tmp_path / "curves.png", None)
