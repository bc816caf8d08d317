import pytest

from mgrpo.report.panels import DASHES, NUM_COLOURS, PANELS, figures, with_derived
from mgrpo.runs import metrics as names


def of_runs(*runs, alarms=None):
    """The figures of runs whose rows are given, labelled a, b, ..."""
    labels = "abcdefgh"[: len(runs)]
    return figures(runs, list(labels), alarms or [[] for _ in runs])


def metrics_of(figure):
    return [trace["meta"]["metric"] for trace in figure["data"]]


def test_every_panel_of_one_run_explains_its_metrics():
    found = of_runs([{"step": 1, **{name: 1.0 for panel in PANELS for name in panel.metrics}}])
    assert [figure["id"] for figure in found] == [panel.id for panel in PANELS]
    assert len({panel.id for panel in PANELS}) == len(PANELS)
    for figure, panel in zip(found, PANELS, strict=True):
        assert tuple(name for name, _ in figure["about"]) == panel.metrics
        assert all(meaning.endswith(".") for _, meaning in figure["about"])
        assert set(metrics_of(figure)) == set(panel.metrics)


def test_a_figure_is_what_plotly_draws():
    (figure,) = of_runs([{"step": 0, "eval_gold/accuracy": 0.5}, {"step": 200, "eval_gold/accuracy": 0.25}])
    assert (figure["title"], figure["unit"], figure["is_measured"]) == ("Held-out accuracy", "share", True)
    meaning = "On held-out prompts: Share of the policy's completions that are right. For measurement only."
    assert figure["about"] == [["eval_gold/accuracy", meaning]]
    (trace,) = figure["data"]
    assert trace["type"] == "scatter" and trace["name"] == "held-out accuracy"
    assert trace["meta"] == {"run": 0, "metric": "eval_gold/accuracy", "measured": True}
    assert trace["line"]["color"] == "series-0"
    assert figure["layout"]["xaxis"]["range"] == [-3, 203]  # 1.5% of 200 at each end
    assert figure["layout"]["yaxis"]["range"] == [-0.03, 1.03]


def test_panels_without_data_are_left_out():
    rows = [{"step": 1, names.KL: 0.0, names.GRAD_NORM: None, names.LENGTH: 12.0}]
    assert [figure["id"] for figure in of_runs([], rows)] == ["length"]
    assert of_runs([]) == []


def test_lines_without_data_are_left_out_unless_they_belong_together():
    agreement, entropy = of_runs([{"step": 1, "vote/agreement": 0.5, "entropy/mean": 0.25}])
    assert metrics_of(agreement) == ["vote/agreement"]
    assert metrics_of(entropy) == ["entropy/mean"]  # no band without its edges


def test_a_band_is_between_its_edges_and_its_middle_is_drawn_last():
    (figure,) = of_runs([{"step": 1, "entropy/mean": 0.5, "entropy/p10": 0.25, "entropy/p90": 0.75}])
    assert metrics_of(figure) == ["entropy/p10", "entropy/p90", "entropy/mean"]
    assert [trace.get("fill") for trace in figure["data"]] == [None, "tonexty", None]
    assert "10% are below" in figure["key"]


def test_one_run_has_its_lines_in_one_panel_and_several_compare_them_one_by_one():
    row = {"step": 1, "vote/policy_agreement": 0.5, "vote/momentum_agreement": 0.75}
    (alone,) = of_runs([row])
    assert [trace["name"] for trace in alone["data"]] == ["policy", "momentum model"]
    compared = of_runs([row], [row])
    assert [figure["title"].partition(": ")[2] for figure in compared] == ["policy", "momentum model"]
    assert len({figure["id"] for figure in compared}) == 2
    assert [trace["name"] for trace in compared[0]["data"]] == ["a", "b"]
    assert [trace["legendgroup"] for trace in compared[0]["data"]] == ["a", "b"]


def test_phases_are_stacked_by_run_and_of_many_runs_steps_are_compared():
    row = {"step": 1, "time/sample_policy": 1.0, "time/label": 0.5, "time/learn": 0.5, "step_time": 2.0}
    stacks = of_runs([row], [row])
    assert [figure["title"] for figure in stacks] == ["Time of a step, a", "Time of a step, b"]
    assert metrics_of(stacks[1]) == ["time/sample_policy", "time/label", "time/learn"]
    assert {trace["stackgroup"] for trace in stacks[1]["data"]} == {"phases"}
    (whole,) = of_runs(*[[row]] * 5)
    assert metrics_of(whole) == ["step_time"] * 5


def test_the_first_42_runs_look_different():
    assert NUM_COLOURS * len(DASHES) == 42
    rows = [{"step": 1, "kl": 1.0}]
    (figure,) = figures([rows] * 42, [str(r) for r in range(42)], [[]] * 42)
    assert len({(trace["line"]["color"], trace["line"]["dash"]) for trace in figure["data"]}) == 42


def test_alarms_are_lines_in_every_panel():
    events = [{"step": 20, "kind": "alarm"}, {"step": 30, "kind": "cleared"}]
    rows = [{"step": 10, "kl": 1.0, "grad_norm": 2.0}]
    for figure in of_runs(rows, alarms=[events]):
        shapes = figure["layout"]["shapes"]
        assert [(shape["x0"], shape["line"]["dash"]) for shape in shapes] == [(20, "solid"), (30, "dot")]
        assert {shape["line"]["color"] for shape in shapes} == {"raised"}
        first, later = ((shape["line"]["width"], shape["opacity"]) for shape in shapes)
        assert first > later
    compared = of_runs(rows, rows, alarms=[[], events])
    assert {(s["legendgroup"], s["line"]["color"]) for s in compared[0]["layout"]["shapes"]} == {("b", "series-1")}


def test_each_benchmark_has_a_panel_for_both_models():
    (figure,) = of_runs([{"step": 1, "benchmark/gsm8k/policy": 0.5, "benchmark/gsm8k/momentum": 0.25}])
    assert (figure["title"], figure["is_measured"]) == ("gsm8k", True)
    assert [trace["name"] for trace in figure["data"]] == ["policy", "momentum model"]


@pytest.mark.parametrize(
    ("phases", "learn"),
    [
        ({"time/sample_policy": 1.0, "time/sample_momentum": 0.5, "time/label": 0.25, "step_time": 4.0}, 2.25),
        ({"time/sample_policy": 1.0, "step_time": 4.0}, 3.0),  # without a momentum model
        ({"time/sample_policy": 9.0, "step_time": 4.0}, 0),  # a batch that is trained on in several steps
        ({"time/sample_policy": 1.0}, None),
        ({"step_time": 4.0}, None),  # another trainer's
    ],
)
def test_time_to_learn_is_what_is_left(phases, learn):
    assert with_derived(phases).get("time/learn") == learn
