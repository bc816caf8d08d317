"""The trial of the alarm: limits by hand, and the committed table against the committed runs."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest


@pytest.fixture(scope="module")
def alarm_trial():
    directory = str(Path(__file__).parents[2] / "studies")
    sys.path.insert(0, directory)
    yield importlib.import_module("alarm_trial")
    sys.path.remove(directory)


def test_a_limit_separates_best(alarm_trial):
    peaks = np.array([5.0, 4.0, 1.0, 3.0, 2.0, 0.0])
    is_collapse = np.array([True, True, True, False, False, False])
    # above 3.5: 2 of 3 collapses and no other run; no limit does better
    assert alarm_trial.choose(peaks, is_collapse) == (3.5, pytest.approx(2 / 3))


def test_a_signal_that_was_never_logged_rings_nowhere(alarm_trial):
    limit, gain = alarm_trial.choose(np.full(4, -np.inf), np.array([True, True, False, False]))
    assert (limit, gain) == (np.inf, 0)


def test_the_area_counts_pairs_and_half_of_ties(alarm_trial):
    peaks = np.array([3.0, 1.0, 2.0, 1.0])
    # (3, 2), (3, 1) above; (1, 2) below; (1, 1) tied
    assert alarm_trial.area(peaks, np.array([True, True, False, False])) == pytest.approx(2.5 / 4)


def test_forms_know_only_the_past(alarm_trial):
    signal = pd.Series(np.arange(30.0) ** 2, index=range(5, 155, 5))
    whole, part = alarm_trial.forms(signal), alarm_trial.forms(signal.iloc[:20])
    for name, values in part.items():
        pd.testing.assert_series_equal(whole[name].iloc[:20], values)


@pytest.mark.slow  # 15 s
def test_the_committed_trial_is_what_the_committed_runs_give(alarm_trial):
    committed = pd.read_csv(alarm_trial.TRIAL)
    measured = alarm_trial.measure().reset_index(drop=True)
    pd.testing.assert_frame_equal(measured, committed, rtol=1e-3)
