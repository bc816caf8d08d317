import pytest

from mgrpo.report.panels import PANELS, panels_with_data, with_derived
from mgrpo.runs import metrics as names


def test_every_metric_of_every_panel_has_a_meaning():
    everything = [{name: 1.0 for panel in PANELS for name in panel.metrics}]
    panels = panels_with_data([everything])
    assert [panel["id"] for panel in panels] == [panel.id for panel in PANELS]
    assert len({panel.id for panel in PANELS}) == len(PANELS)
    assert all(line["about"].endswith(".") for panel in panels for line in panel["lines"])


def test_meanings_are_those_of_the_names():
    (panel,) = panels_with_data([[{"eval_gold/accuracy": 0.5}]])
    assert panel == {
        "id": "held-out",
        "title": "Held-out accuracy",
        "unit": "share",
        "range": (0, 1),
        "kind": "lines",
        "lines": [
            {
                "metric": "eval_gold/accuracy",
                "label": "held-out accuracy",
                "about": "On held-out prompts: Share of the policy's completions whose answer is right. For "
                "measurement only.",
                "knows_answers": True,
            }
        ],
    }


def test_panels_without_data_are_left_out():
    rows = [{"step": 1, names.KL: 0.0, names.GRAD_NORM: None, names.LENGTH: 12.0}]
    assert [panel["id"] for panel in panels_with_data([[], rows])] == ["length"]


def test_lines_without_data_are_left_out_unless_they_belong_together():
    agreement, entropy = panels_with_data([[{"vote/agreement": 0.5, "entropy/mean": 0.25}]])
    assert [line["metric"] for line in agreement["lines"]] == ["vote/agreement"]
    assert [line["metric"] for line in entropy["lines"]] == ["entropy/mean", "entropy/p10", "entropy/p90"]


@pytest.mark.parametrize(
    ("phases", "learn"),
    [
        ({"time/sample_policy": 1.0, "time/sample_momentum": 0.5, "time/label": 0.25, "step_time": 4.0}, 2.25),
        ({"time/sample_policy": 1.0, "step_time": 4.0}, 3.0),  # without a momentum model
        ({"time/sample_policy": 9.0, "step_time": 4.0}, 0),  # a batch that is learnt from in several steps
        ({"time/sample_policy": 1.0}, None),
        ({"step_time": 4.0}, None),  # another trainer's
    ],
)
def test_time_to_learn_is_what_is_left(phases, learn):
    assert with_derived(phases).get("time/learn") == learn
