import numpy as np
import pandas as pd
import pytest

from mgrpo.evaluation.statistics import estimate
from mgrpo.study.tables import (
    StudiedRun,
    area,
    at_evaluations,
    best_signal,
    measures,
    picks,
    signal_table,
    summarize,
    tidy_table,
    write_table,
)

HELD_OUT = "eval_gold/accuracy"


def run(variant, seed, *accuracies, **metrics):
    """A run evaluated every 10 steps from 0 on; metrics begin at step 10."""
    rows = [{"step": 10 * i, HELD_OUT: accuracy} for i, accuracy in enumerate(accuracies)]
    for name, values in metrics.items():
        for row, value in zip(rows[1:], values, strict=True):
            row[{"agreement": "vote/agreement", "entropy": "entropy/mean", "kl": "kl"}[name]] = value
    return StudiedRun(variant, seed, rows)


def test_training_metrics_are_means_since_the_evaluation_before():
    rows = [
        {"step": 0, HELD_OUT: 0.5, "eval_runtime": 3.0, "eval_kl": 0.0},
        {"step": 10, "vote/agreement": 0.5, "kl": 0.25, "loss": 1.0, "time/label": 0.1, "step_time": 0.2},
        {"step": 20, "vote/agreement": 0.75, HELD_OUT: 0.625},
        {"step": 30, "vote/agreement": 0.5, "kl": None, HELD_OUT: 0.75},
        {"step": 40, "vote/agreement": 0.125},
    ]
    assert at_evaluations(rows) == [
        {"step": 0, HELD_OUT: 0.5},
        {"step": 20, "vote/agreement": 0.625, "kl": 0.25, HELD_OUT: 0.625},
        {"step": 30, "vote/agreement": 0.5, HELD_OUT: 0.75},
    ]


def test_values_are_those_of_the_table(tmp_path):
    rows = at_evaluations([{"step": 5, "kl": 0.1}, {"step": 10, "kl": 0.2, HELD_OUT: 0.3}])
    write_table(tidy_table([StudiedRun("a", 0, rows)]), tmp_path)
    again = pd.read_parquet(tmp_path / "table.parquet")
    assert dict(zip(again["metric"], again["value"].astype(float), strict=True)) == {
        name: value for name, value in rows[0].items() if name != "step"
    }


def test_without_evaluation_the_rows_stay():
    rows = [{"step": 10, "kl": 0.25, "loss": 1.0}, {"step": 20, "kl": 0.5}, {"step": 20, "train_runtime": 3.0}]
    assert at_evaluations(rows) == [{"step": 10, "kl": 0.25}, {"step": 20, "kl": 0.5}]


def test_tidy_table(tmp_path):
    runs = [run("srt", 1, 0.5, 0.625, kl=[0.25]), run("m-grpo", 0, 0.5, 0.75, agreement=[0.0])]
    table = tidy_table(runs)
    assert table.to_numpy().tolist() == [
        ["m-grpo", 0, 0, HELD_OUT, 0.5],
        ["m-grpo", 0, 10, HELD_OUT, 0.75],
        ["srt", 1, 0, HELD_OUT, 0.5],
        ["srt", 1, 10, HELD_OUT, 0.625],
        ["srt", 1, 10, "kl", 0.25],
    ]  # agreement is 0 wherever it was logged
    assert table["value"].dtype == np.float32
    write_table(table, tmp_path)
    assert (tmp_path / "table.csv").read_text().splitlines()[:2] == [
        "variant,seed,step,metric,value",
        "m-grpo,0,0,eval_gold/accuracy,0.5",
    ]
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "table.parquet"), table)


def test_what_each_signal_picks():
    # agreement is highest at step 30, entropy lowest at 20 first; the start has neither
    fell = run("srt", 0, 0.9, 0.5, 0.6, 0.1, agreement=[0.5, 0.6, 0.9], entropy=[0.3, 0.1, 0.1])
    assert picks(fell) == {"agreement, highest": 0.1, "entropy, lowest": 0.6, "last": 0.1}
    assert picks(run("srt", 0)) == {}


def test_the_best_signal_is_one_that_every_run_logged():
    fell = run("a", 0, 0.5, 0.6, 0.2, agreement=[0.5, 0.9], entropy=[0.1, 0.2])
    rose = run("a", 1, 0.5, 0.6, 0.8, agreement=[0.5, 0.9], entropy=[0.2, 0.1], kl=[0.2, 0.1])
    # entropy: (0.6 + 0.8) / 2; agreement and last: (0.2 + 0.8) / 2; KL: 0.8, but of one run
    table = signal_table([fell, rose])
    assert table.set_index("signal")["accuracy"].to_dict() == pytest.approx(
        {"KL, lowest": 0.8, "entropy, lowest": 0.7, "agreement, highest": 0.5, "last": 0.5}
    )
    assert best_signal([fell, rose]) == "entropy, lowest"
    assert best_signal([run("a", 0)]) is None


def test_measures():
    found = measures(run("a", 0, 0.5, 0.6, 0.7, 0.2, 0.3, entropy=[0.4, 0.3, 0.2, 0.1]), "entropy, lowest")
    # smoothed: 0.5 0.55 0.6 0.5 0.4; by trapezoids (0.55 + 0.65 + 0.45 + 0.25) / 4
    assert found == pytest.approx(
        {
            "start": 0.5,
            "peak": 0.6,
            "final": 0.4,
            "final_to_peak": 0.4 / 0.6,
            "collapse_step": np.nan,
            "area": 0.475,
            "picked": 0.3,
            "final_entropy": 0.2,
            "final_agreement": np.nan,
            "final_kl": np.nan,
        },
        nan_ok=True,
    )


def test_area_minds_the_steps():
    assert area([0, 10, 40], [0.0, 1.0, 1.0]) == pytest.approx((5 + 30) / 40)
    assert area([0], [0.25]) == 0.25


def test_interval_over_seeds():
    def interval(values):
        found = estimate(values)
        return found.low, found.high

    assert interval([0.5, 0.5, 0.5]) == (0.5, 0.5)
    # Means of 3 resampled: all 0 with probability 1/27 > 2.5%, all 1 likewise
    assert interval([0.0, 0.0, 1.0]) == (0.0, 1.0)
    # of 8, all the same has probability 0.4%; P(2 or fewer of 8) = 14%, P(0 or 1) = 3.5%: the quantile is at 1/8
    assert interval([0.0, 1.0] * 4) == (0.125, 0.875)
    assert np.isnan(interval([0.5])).all()


def test_summary():
    runs = [
        run("srt", 0, 0.5, *[0.1] * 5),
        run("srt", 1, 0.5, *[0.5] * 5),
        run("m-grpo", 0, 0.5, *[0.7] * 5),
        run("m-grpo", 1, 0.5, *[0.4] * 5),
        run("m-grpo", 2, 0.5, *[0.4] * 5),
    ]
    srt, anchored = summarize(runs, baseline="srt").to_dict("records")
    assert (srt["variant"], srt["seeds"], srt["collapsed"], srt["collapse_step"]) == ("srt", 2, 1, 10)
    assert srt["final"] == pytest.approx(0.3)
    assert (srt["final_low"], srt["final_high"]) == pytest.approx((0.1, 0.5))
    assert pd.isna(srt["wins"]) and np.isnan(srt["collapse_step_low"])
    assert (anchored["variant"], anchored["seeds"], anchored["collapsed"]) == ("m-grpo", 3, 0)
    assert np.isnan(anchored["collapse_step"])
    assert (anchored["wins"], anchored["losses"]) == (1, 1)  # seed 2 has no baseline
    # differences .6 and -.1: of the four sums of +-.6 and +-.1, +-.7 and +-.5, all are at least .5 from 0
    assert anchored["p"] == 1 and np.isnan(srt["p"])


def test_p_values_are_corrected_for_the_number_of_variants():
    runs = [run("srt", seed, 0.5, 0.2) for seed in range(6)]
    runs += [run("better", seed, 0.5, 0.6 + 0.01 * seed) for seed in range(6)]
    runs += [run("same", seed, 0.5, 0.2 + 0.01 * (-1) ** seed) for seed in range(6)]
    by = summarize(runs, baseline="srt").set_index("variant")["p"]
    # six differences of one sign: 2 of 64 signs are as large, 1/32, times 2 variants; three up and three down: 1
    assert by["better"] == pytest.approx(2 / 32) and by["same"] == 1


def test_summary_without_baseline():
    summary = summarize([run("a", 0, 0.5, 0.6), run("b", 0, 0.5, 0.7)], baseline=None)
    assert summary["wins"].isna().all() and summary["losses"].isna().all()
