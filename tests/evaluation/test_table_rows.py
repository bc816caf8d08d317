import json

import numpy as np
import pytest

from mgrpo.errors import UserError
from mgrpo.evaluation.statistics import estimate, estimate_mean, paired_difference
from mgrpo.evaluation.table_rows import Line, compare_lines, measure_line, measure_mean, read_lines, read_measured


@pytest.fixture
def right():
    """Draws which of 2 samples of each question are right."""
    rng = np.random.default_rng(0)
    return lambda chance, num=40: rng.random((num, 2)) < chance


@pytest.fixture
def line(tmp_path, make_evaluation):
    """Makes a line of runs, each of which samples are right by benchmark."""

    def make(name, *runs, **settings):
        places = [make_evaluation(tmp_path / name / str(seed), right, **settings) for seed, right in enumerate(runs)]
        return Line(name, {seed: read_measured(place) for seed, place in enumerate(places)})

    return make


def test_scores_of_the_samples_that_were_measured(tmp_path, make_evaluation):
    place = make_evaluation(tmp_path / "final", {"math500": [[1, 0], [1, 1], [0, 0]]})
    assert read_measured(place).scores == {"math500": {0: 0.5, 1: 1.0, 2: 0.0}}
    # More samples and questions than were measured, as a larger k and limit leave them, and half a line of a crash
    with (place / "math500" / "samples.jsonl").open("a") as file:
        for question, number in ((0, 2), (3, 0), (3, 1)):
            file.write(json.dumps({"question": question, "number": number, "is_right": True}) + "\n")
        file.write('{"question": 4, "num')
    assert read_measured(place).scores == {"math500": {0: 0.5, 1: 1.0, 2: 0.0}}


def test_samples_that_are_gone_or_others(tmp_path, make_evaluation):
    place = make_evaluation(tmp_path / "final", {"math500": [[1, 0], [1, 1]]})
    samples = place / "math500" / "samples.jsonl"
    lines = samples.read_text().splitlines(keepends=True)
    samples.write_text("".join(lines[:-1]))  # one is missing
    assert read_measured(place).scores == {}
    samples.write_text("".join(lines).replace("false", "true"))  # not those of the result
    assert read_measured(place).scores == {}
    samples.unlink()
    assert read_measured(place).scores == {}
    (place / "math500" / "settings.json").write_text("[")
    assert read_measured(place).results.benchmarks["math500"].headline.value == 0.75


def test_a_model_has_its_own_interval(line, right):
    one = line("srt", {"math500": right(0.5)})
    assert measure_line(one, "math500") == one.runs[0].results.benchmarks["math500"].headline


def test_several_runs_have_an_interval_over_runs_and_questions(line, right):
    runs = [{"math500": right(0.5)}, {"math500": right(0.7)}]
    found = measure_line(line("srt", *runs), "math500")
    assert found == estimate([run["math500"].mean(axis=1) for run in runs], is_share=True)


def test_without_samples_the_interval_is_over_runs_alone(line, right, tmp_path):
    line("srt", {"math500": right(0.5)}, {"math500": right(0.7)})
    (tmp_path / "srt" / "0" / "math500" / "samples.jsonl").unlink()
    runs = {seed: read_measured(tmp_path / "srt" / str(seed)) for seed in (0, 1)}
    means = [run.results.benchmarks["math500"].headline.value for run in runs.values()]
    assert measure_line(Line("srt", runs), "math500") == estimate(means, is_share=True)
    assert np.isnan(measure_mean(Line("srt", runs), ["math500"]).low)


def test_a_mean_over_benchmarks(line, right):
    run = {"math500": right(0.5), "aime24": right(0.2, num=10)}
    found = measure_mean(line("srt", run), ["math500", "aime24"])
    assert found == estimate_mean([run["math500"].mean(axis=1), run["aime24"].mean(axis=1)], are_shares=True)


def test_lines_are_compared_by_benchmark_and_together(line, right):
    first, second = ({"math500": right(chance), "aime24": right(chance, num=10)} for chance in (0.7, 0.4))
    found = compare_lines(line("a", first), line("b", second))
    assert list(found) == ["math500", "aime24", None]
    of_math, of_aime, mean = found.values()
    scores = (first["math500"].mean(axis=1), second["math500"].mean(axis=1))
    assert of_math == paired_difference([scores])
    assert mean.value == pytest.approx((of_math.value + of_aime.value) / 2)
    assert (mean.num_questions, mean.num_runs) == (50, 1)


def test_runs_are_paired_by_seed(line, right):
    runs = [{"math500": right(chance)} for chance in (0.2, 0.5, 0.8)]
    three = line("a", *runs)
    two = Line("b", {2: three.runs[2], 1: three.runs[1], 5: three.runs[0]})
    (found,) = compare_lines(three, two).values()
    assert (found.num_runs, found.value, found.p_runs) == (2, 0, 1)
    assert compare_lines(three, Line("c", {7: three.runs[0]})) == {}


def test_a_model_of_no_seed_is_compared_with_each_run(line, right):
    runs = line("a", {"math500": right(0.5)}, {"math500": right(0.8)})
    base = line("b", {"math500": right(0.2)})
    base = Line("base model", {None: base.runs[0]})
    (found,) = compare_lines(runs, base).values()
    assert found.num_runs == 2
    assert found.value == pytest.approx(measure_line(runs, "math500").value - measure_line(base, "math500").value)


def test_other_questions_are_not_paired(line, right):
    one = line("a", {"math500": right(0.5)})
    assert compare_lines(one, line("b", {"math500": right(0.5)}, sha256="1" * 64)) == {}
    assert compare_lines(one, line("c", {"aime24": right(0.5)})) == {}


def test_questions_that_only_one_answered_are_left_out(line, right):
    many = right(0.5)
    (found,) = compare_lines(line("a", {"math500": many}), line("b", {"math500": many[:10]}, limit=10)).values()
    assert (found.num_questions, found.value) == (10, 0)


def test_the_models_of_a_run(tmp_path, make_evaluation):
    few = {"math500": [[1, 0], [0, 0]]}
    for label, step in (("checkpoint-1000", 1000), ("checkpoint-200", 200), ("initial", 0), ("final", 1500)):
        make_evaluation(tmp_path / label, few, step=step)
    for label, step in (("final-momentum", 1500), ("checkpoint-200-momentum", 200)):
        make_evaluation(tmp_path / label, few, step=step, weights="momentum")
    labels = [path.name for path in tmp_path.iterdir()]
    lines = read_lines(tmp_path, labels, ["math500"])
    assert [(line.name, line.is_momentum) for line in lines] == [
        ("initial", False),
        ("checkpoint-200", False),
        ("checkpoint-200-momentum", True),
        ("checkpoint-1000", False),
        ("final", False),
        ("final-momentum", True),
    ]


def test_a_model_by_its_name(tmp_path, make_evaluation):
    make_evaluation(tmp_path, {"math500": [[1, 0], [0, 0]]}, name="Qwen/Qwen3-4B-Base")
    assert [line.name for line in read_lines(tmp_path, [""], ["math500"])] == ["Qwen/Qwen3-4B-Base"]
    with pytest.raises(UserError, match=r"nowhere .*results.json"):
        read_lines(tmp_path / "nowhere", [""], ["math500"])


def test_a_table_has_what_one_call_measured(tmp_path, make_evaluation):
    both = {"math500": [[1, 0], [0, 0]], "aime24": [[1, 1], [0, 1]]}
    make_evaluation(tmp_path / "final", both, step=10)
    make_evaluation(tmp_path / "initial", both, step=0)
    (line,) = read_lines(tmp_path, ["final"], ["aime24"])
    assert (line.name, line.benchmarks, list(line.runs[None].scores)) == ("final", ["aime24"], ["aime24"])
