import pytest

from mgrpo.monitoring.stability import Stability, stability, verdict


def rows(*accuracies):
    return [{"step": 40 * i, "eval_gold/accuracy": value} for i, value in enumerate(accuracies)]


def test_no_evaluation():
    assert stability([]) is None
    assert stability([{"step": 1, "vote/agreement": 1.0}]) is None


def test_collapse():
    # mean of the last 3:   0.6  0.7  0.8  0.8  0.6  0.3
    # running peak x 0.7:  0.42 0.49 0.56 0.56 0.56 0.56   -> the sixth (step 200) is below
    outcome = stability(rows(0.6, 0.8, 1.0, 0.6, 0.2, 0.1))
    assert outcome is not None
    assert outcome.start == 0.6
    assert outcome.peak == pytest.approx(0.8)
    assert outcome.peak_step == 80
    assert outcome.final == pytest.approx(0.3)
    assert outcome.last_step == 200
    assert outcome.collapse_step == 200
    assert verdict("SRT", outcome) == (
        "SRT: held-out accuracy began at 0.60, peaked at 0.80 (step 80), collapsed at step 200 and ended at 0.30 "
        "(step 200)."
    )


def test_one_bad_evaluation_is_no_collapse():
    # mean of the last 3: 0.9 0.9 0.9 0.7 0.7 0.7, all above 0.63; unsmoothed, 0.3 would be below
    outcome = stability(rows(0.9, 0.9, 0.9, 0.3, 0.9, 0.9))
    assert outcome is not None and outcome.collapse_step is None
    assert verdict("run", outcome).endswith("did not collapse, but ended at 0.70, below its start (step 200).")


def test_a_collapse_that_recovers_was_one():
    # mean of the last 3: 0.9 0.9 0.9 0.6 0.3 0.3 0.6 0.9; 0.6 < 0.63 at step 120
    outcome = stability(rows(0.9, 0.9, 0.9, 0.0, 0.0, 0.9, 0.9, 0.9))
    assert outcome is not None and outcome.collapse_step == 120
    assert outcome.final == pytest.approx(0.9)


def test_the_first_of_equal_peaks():
    assert stability(rows(0.5, 0.5, 0.5)) == Stability(0.5, 0.5, 0, 0.5, 80, None)


def test_held():
    outcome = stability(rows(0.4, 0.5, 0.9))  # means 0.4, 0.45, 0.6
    assert outcome is not None
    assert verdict("M-GRPO", outcome) == (
        "M-GRPO: held-out accuracy began at 0.40, peaked at 0.60 (step 80), held, and ended at 0.60 (step 80)."
    )


def test_missing_values_are_left_out():
    outcome = stability([*rows(0.5, 0.7), {"step": 80, "eval_gold/accuracy": None}, {"step": 81}])
    assert outcome is not None and outcome.last_step == 40 and outcome.final == pytest.approx(0.6)


def test_zero_from_the_start():
    outcome = stability(rows(0.0, 0.0))
    assert outcome is not None and outcome.collapse_step is None
