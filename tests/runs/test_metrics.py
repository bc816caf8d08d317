import pytest

from mgrpo.runs import metrics


def test_every_metric_is_described():
    for name, metric in metrics.METRICS.items():
        assert metric.name == name
        assert metric.label and metric.meaning.endswith(".")


def test_constants_are_the_names_of_the_metrics():
    constants = {value for name, value in vars(metrics).items() if name.isupper() and isinstance(value, str)}
    assert constants >= metrics.METRICS.keys()
    assert metrics.AGREEMENT == "vote/agreement"  # names are a file format: older runs have them


def test_held_out_metrics_are_described_by_those_of_training():
    held_out = metrics.describe("eval_vote/agreement")
    assert held_out == metrics.Metric(
        "eval_vote/agreement",
        "held-out agreement",
        "share",
        f"On held-out prompts: {metrics.METRICS['vote/agreement'].meaning}",
    )


def test_benchmarks_are_described_by_the_model_that_answered():
    name = metrics.benchmark_metric("gsm8k", metrics.MOMENTUM_MODEL)
    assert name == "benchmark/gsm8k/momentum"
    described = metrics.describe(name)
    assert (described.label, described.unit) == ("momentum model", "share")
    assert metrics.describe("benchmark/gsm8k/policy").label == "policy"


@pytest.mark.parametrize("name", ["nothing", "eval_nothing", "loss"])
def test_unknown_metrics_are_no_metrics(name):
    with pytest.raises(KeyError):
        metrics.describe(name)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("eval_gold/accuracy", "held-out accuracy (measured)"),
        ("vote/agreement", "agreement"),
        ("entropy/mean", "entropy, nats per token"),
        ("grad_norm", "gradient norm"),
    ],
)
def test_titles_have_units_and_say_what_is_measured(name, title):
    assert metrics.title(name) == title


def test_short_labels_are_one_word():
    names = (metrics.HELD_OUT_ACCURACY, metrics.DISTINCT, metrics.DISTANCE, metrics.LENGTH, metrics.TIME_MOMENTUM)
    assert [metrics.short_label(name) for name in names] == ["held-out", "distinct", "distance", "length", "momentum"]


@pytest.mark.parametrize(
    ("name", "knows"),
    [
        ("gold/accuracy", True),
        ("eval_gold/label_accuracy", True),
        ("benchmark/math/policy", True),
        ("eval_vote/agreement", False),
    ],
)
def test_what_knows_the_right_answers(name, knows):
    assert metrics.knows_answers(name) == knows
