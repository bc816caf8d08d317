import pytest

from mgrpo.monitoring.stability import Stability, stability, verdict


def rows(*accuracies):
    return [{"step": 40 * i, "eval_gold/accuracy": value} for i, value in enumerate(accuracies)]


def test_no_evaluation():
    assert stability([]) is None
    assert stability([{"step": 1, "vote/agreement": 1.0}]) is None


def test_collapse():
    # mean of the last 3:  0.5  0.6  0.7  0.63 0.43 0.23 0.2 0.2 0.2 -> the peak is at step 80
    # below 0.8 x 0.5 = 0.4 from step 160 on, to the end: five evaluations
    outcome = stability(rows(0.5, 0.7, 0.9, 0.3, 0.1, 0.3, 0.2, 0.1, 0.3))
    assert outcome is not None
    assert outcome.start == 0.5
    assert outcome.peak == pytest.approx(0.7)
    assert outcome.peak_step == 80
    assert outcome.final == pytest.approx(0.2)
    assert outcome.last_step == 320
    assert outcome.collapse_step == 120
    assert verdict("SRT", outcome) == (
        "SRT: held-out accuracy began at 0.50, peaked at 0.70 (step 80), collapsed at step 120 and ended at 0.20 "
        "(step 320)."
    )


def test_four_bad_evaluations_in_a_row_are_no_collapse():
    low = [0.1] * 4
    outcome = stability(rows(0.5, *low, 0.5, *low))
    assert outcome is not None and outcome.collapse_step is None
    assert verdict("run", outcome).endswith(
        "peaked at 0.50 (step 0), ended at 0.10, below its start, without a collapse (step 360)."
    )


def test_the_fifth_makes_it_one_and_its_first_is_the_step():
    outcome = stability(rows(0.5, *[0.1] * 4, 0.5, *[0.1] * 5))
    assert outcome is not None and outcome.collapse_step == 240


def test_exactly_80_percent_of_the_start_is_not_below_it():
    outcome = stability(rows(0.5, *[0.4] * 9))
    assert outcome is not None and outcome.collapse_step is None
    assert stability(rows(0.5, *[0.39] * 9)).collapse_step == 40


def test_it_is_the_start_that_counts_not_the_peak():
    # from 0.9 to 0.45 is half, but above 0.8 x 0.5 = 0.4
    outcome = stability(rows(0.5, 0.9, 0.9, 0.9, *[0.45] * 9))
    assert outcome is not None and outcome.collapse_step is None


def test_what_was_low_before_the_peak_is_no_collapse():
    # five evaluations at 0.1, then the peak
    outcome = stability(rows(0.5, *[0.1] * 5, 0.8, 0.8, 0.8))
    assert outcome is not None
    assert (outcome.peak_step, outcome.collapse_step) == (320, None)


def test_a_collapse_that_recovers_below_the_peak_was_one():
    outcome = stability(rows(0.6, *[0.1] * 5, 0.5, 0.5, 0.5))
    assert outcome is not None
    assert (outcome.peak_step, outcome.collapse_step) == (0, 40)
    assert outcome.final == pytest.approx(0.5)


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
    outcome = stability(rows(*[0.0] * 9))
    assert outcome is not None and outcome.collapse_step is None
