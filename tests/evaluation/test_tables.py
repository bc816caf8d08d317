import numpy as np
import pytest

from mgrpo.evaluation.statistics import Estimate, PairedDifference
from mgrpo.evaluation.table_rows import Line, read_measured
from mgrpo.evaluation.tables import benchmark_grid, difference_grid, metric_grid, p_value, percent, points

EASY, HARD = np.arange(40)[:, None] < [30, 30], np.arange(40)[:, None] < [10, 10]


@pytest.fixture
def line(tmp_path, make_evaluation):
    """Makes a line of one model: which of its samples are right by benchmark."""

    def make(name, right, is_momentum=False, **settings):
        weights = "momentum" if is_momentum else "policy"
        place = make_evaluation(tmp_path / name, right, name=name, weights=weights, **settings)
        return Line(name, {None: read_measured(place)}, is_momentum=is_momentum)

    return make


def test_numbers():
    assert percent(Estimate(0.615, 0.573, 0.657)) == "61.5 ± 4.2"
    assert percent(Estimate(0.0083, 0.0012, 0.081, "wilson")) == "0.8 [0.1, 8.1]"
    assert percent(Estimate(1.0, np.nan, np.nan)) == "100.0"
    assert points(PairedDifference(0.012, -0.003, 0.027, 0.1, None, 40, 1)) == "+1.2 [−0.3, +2.7]"
    assert points(PairedDifference(-0.5, np.nan, np.nan, 1.0, None, 1, 1)) == "−50.0"
    assert (p_value(0.0004), p_value(0.0306), p_value(1.0)) == ("<0.001", "0.031", "1.000")


def test_models_under_one_another(line):
    grid = benchmark_grid([line("a", {"math500": EASY, "aime24": HARD}), line("b", {"math500": HARD})])
    assert grid.head == ["", "math500 avg@2", "aime24 avg@2"]
    # 30 of 40: 1.96 * sqrt(0.75 * 0.25 / 40) = 13.4, as 10 of 40; the bootstrap's ends lie on multiples of 2.5
    assert [[cell.split(" ± ")[0] for cell in row] for row in grid.rows] == [["a", "75.0", "25.0"], ["b", "25.0", "–"]]
    assert 11 < float(grid.rows[0][1].split(" ± ")[1]) < 15
    assert len(grid.notes) == 1


def test_which_of_both_to_ship(line):
    few = HARD.copy()
    few[:3] = False
    grid = benchmark_grid(
        [
            line("policy", {"math500": HARD}),
            line("momentum", {"math500": EASY}, is_momentum=True),
            line("other", {"math500": HARD}),
            line("other momentum", {"math500": few}, is_momentum=True),
        ]
    )
    assert grid.head[-3:] == ["policy − momentum", "p", "ship"]
    ships = [row[-3:] for row in grid.rows]
    # 20 of 40 questions, all for the momentum model: 2 / 2^20 exactly, 1 / 10,001 drawn
    assert ships[0][0].startswith("−50.0 [−6") and ships[0][1:] == ["<0.001", "momentum"]
    # 3 questions, all for the policy: 2 of 8 signs
    assert ships[2][0].startswith("+7.5 [") and ships[2][1:] == ["0.250", "either"]
    assert ships[1] == ships[3] == [""] * 3


def test_of_several_benchmarks_their_mean_is_what_ships(line):
    grid = benchmark_grid(
        [line("a", {"math500": EASY, "aime24": HARD}), line("b", {"math500": HARD, "aime24": HARD}, is_momentum=True)]
    )
    assert grid.head[3] == "mean of 2"
    assert grid.rows[0][3].startswith("50.0 ±") and grid.rows[1][3].startswith("25.0 ±")
    assert grid.rows[0][4].startswith("+25.0 [") and grid.rows[0][6] == "policy"


def test_numbers_that_were_not_taken_alike(line):
    grid = benchmark_grid(
        [
            line("a", {"math500": EASY}),
            line(
                "b", {"math500": EASY[:, :1]}, temperature=1.0, limit=40, versions={"mgrpo": "0.1.0", "torch": "2.14"}
            ),
        ]
    )
    assert grid.head[1] == "math500 avg@1/2"
    assert grid.notes[1:] == [
        "Only the first questions: 40 of math500.",
        "Not measured alike, so compare with care: temperature (0.8, 1.0); version of torch (2.13.0, 2.14); limit of "
        "math500 (None, 40); k of math500 (2, 1).",
    ]


def test_differences(line):
    a, b = line("a", {"math500": EASY}), line("b", {"math500": HARD})
    grid = difference_grid([(a, b)])
    assert grid.head == ["", "benchmark", "questions", "difference", "p"]
    assert grid.rows[0][:3] == ["a − b", "math500", "40"]
    assert grid.rows[0][3].startswith("+50.0 [")
    assert difference_grid([(a, line("c", {"aime24": HARD}))]) is None
    assert difference_grid([]) is None


def test_differences_of_runs(line):
    runs = Line("a", {0: line("x", {"math500": EASY}).runs[None], 1: line("y", {"math500": HARD}).runs[None]})
    grid = difference_grid([(runs, line("base", {"math500": HARD}))])
    assert grid.head[3:] == ["runs", "difference", "p", "p (runs)"]
    # +50 and 0: of the signs of one difference that is not 0, all are as large
    assert (grid.rows[0][3], grid.rows[0][6]) == ("2", "1.000")
    assert benchmark_grid([runs]).rows[0][0] == "a (2 runs)"


def test_metrics(line):
    # 2 samples: 10 questions twice right, 10 once; of the latter the majority is tied: 10 + 5 of 40
    right = np.arange(40)[:, None] < [20, 10]
    grid = metric_grid([line("a", {"math500": right, "gsm8k": right[:, :1]})])
    assert grid.rows == [
        ["a", "math500", "40", "2", "37.5", "50.0", "37.5", "87.5", "0.0", "311"],
        ["", "gsm8k", "40", "1", "50.0", "–", "–", "–", "0.0", "311"],
    ]
