from io import BytesIO, TextIOWrapper

import pytest
from rich.console import Console

from mgrpo.monitoring.live import LiveView, number, trend


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def view(clock):
    """A run of 200 steps, a batch of 128 completions each, of which half a second a step has 100 behind it."""
    view = LiveView(clock)
    view.begin(step=0, max_steps=200, batches_per_step=1.0, completions_per_step=128, watched_from=50)
    for step in range(1, 101):
        clock.now = step / 2
        view.end_step(step)
    return view


@pytest.mark.parametrize(
    ("batches_per_step", "seconds", "told_at", "expected"),
    [
        (1.0, 60.0, 1, "60.0 s/step, 1:40:00 for 100 steps"),
        (1.0, 0.5, 5, "2.0 steps/s, 0:50 for 100 steps"),
        (0.5, 60.0, 2, "60.0 s/step, 1:40:00 for 100 steps"),  # the second step samples nothing
        (2.0, 5.0, 1, "5.0 s/step, 8:20 for 100 steps"),
    ],
)
def test_what_a_run_will_take_is_told_once_the_pace_is_known(clock, batches_per_step, seconds, told_at, expected):
    view = LiveView(clock)
    clock.now = 300.0  # the model is loaded, and answers the probe
    view.begin(step=0, max_steps=100, batches_per_step=batches_per_step, completions_per_step=32, watched_from=1)
    clock.now = 400.0  # an evaluation
    told = {}
    for step in range(1, 11):
        view.begin_step()
        clock.now += seconds
        view.end_step(step)
        told[step] = view.expected()
        if step == 1:
            assert "remaining" in lines(view)[0]
    assert {step: text for step, text in told.items() if text} == {told_at: expected}


def test_the_clock_runs_from_the_beginning_of_the_command(clock):
    view = LiveView(clock)
    clock.now = 90.0
    view.begin(step=0, max_steps=5, batches_per_step=1.0, completions_per_step=32, watched_from=1)
    assert "elapsed 1:30" in lines(view)[0]


def lines(view, width=80, encoding="utf-8"):
    file = TextIOWrapper(BytesIO(), encoding=encoding)
    Console(file=file, force_terminal=True, color_system=None, width=width).print(view)
    file.seek(0)
    return file.read().splitlines()


LOGGED = [
    {"vote/agreement": 0.25, "entropy/mean": 2.0, "answers/distinct": 8.0, "momentum/distance": 0.0},
    {"vote/agreement": 0.5, "entropy/mean": None, "answers/distinct": 8.0, "momentum/distance": 0.00012345},
    {"vote/agreement": 0.75, "entropy/mean": 1.0, "answers/distinct": 8.0, "completion/length": 10.0},
    {"eval_gold/accuracy": 0.62, "eval_vote/agreement": 1.0},
    {"time/sample_policy": 0.2, "time/sample_momentum": 0.1, "time/label": 0.05, "step_time": 0.5},
]


def test_all_of_it_in_eighty_columns(view):
    for row in LOGGED:
        view.add_row(row)
    # 2 steps a second, 100 left. 13 + 29 columns of text leave 38 for the bar.
    # 128 completions in 0.5 s, 10 tokens each. 0.5 s - 0.2 s - 0.1 s - 0.05 s = 0.15 s of learning.
    assert lines(view) == [
        "step 100/200 " + "━" * 19 + "─" * 19 + "  2.0 steps/s  remaining 0:50",
        "agreement 0.75    ▁▅█                    held-out  0.62    ▅",
        "entropy   1       █▁                     distance  0.000123▁█",
        "distinct  8       ▅▅▅                    length    10      ▅",
        "speed     256 completions/s  2,560 tokens/s",
        "time      policy 40%  momentum 20%  label 10%  learn 30%",
        "alarm     none",
    ]


@pytest.mark.parametrize("width", [20, 60, 80, 120])
def test_as_many_lines_from_the_beginning_and_none_too_wide(view, clock, width):
    new = LiveView(clock)
    new.begin(step=0, max_steps=12345, batches_per_step=1.0, completions_per_step=128, watched_from=50)
    for row in LOGGED * 20:
        view.add_row(row)
    for each in (new, view):
        assert len(lines(each, width)) == 7
        assert all(len(line) <= width for line in lines(each, width))


def test_no_more_than_thirty_values_however_wide(view):
    for step in range(50):
        view.add_row({"vote/agreement": step / 50})
    assert lines(view, 200)[1].split() == [
        "agreement",
        "0.98",
        trend(tuple(s / 50 for s in range(20, 50))),
        "held-out",
        "-",
    ]


def test_nothing_is_known_before_the_first_step_and_the_clock_goes_on(clock):
    view = LiveView(clock)
    view.begin(step=400, max_steps=600, batches_per_step=1.0, completions_per_step=0, watched_from=1)
    clock.now = 65.0
    view.end_step(401)  # one end: no rate yet
    head, *_, speed, time, _ = lines(view)
    assert head.startswith("step 401/600 ━") and head.endswith("─  elapsed 1:05")
    assert (speed, time) == ("speed     -", "time      -")


def test_the_time_left_runs_down_within_a_step(clock):
    view = LiveView(clock)
    view.begin(step=0, max_steps=5, batches_per_step=1.0, completions_per_step=0, watched_from=1)
    for step, clock.now in ((1, 100.0), (2, 130.0), (3, 160.0)):
        view.end_step(step)
    assert lines(view)[0].endswith("  30.0 s/step  remaining 1:00")  # the first step, which is slower, aside
    clock.now = 170.0
    assert lines(view)[0].endswith("remaining 0:50")
    clock.now = 999.0
    assert lines(view)[0].endswith("remaining 0:00")
    view.end_step(4)
    view.end_step(5)
    assert lines(view)[0].endswith("elapsed 16:39")  # 999 s


def test_a_batch_that_is_learnt_from_twice_takes_half_its_time_a_step(view):
    view.begin(step=0, max_steps=200, batches_per_step=0.5, completions_per_step=64, watched_from=1)
    view.add_row({"time/sample_policy": 0.6, "time/label": 0.2, "step_time": 1.0, "completion/length": 0.05})
    assert lines(view)[4:6] == [
        "speed     64 completions/s  3.2 tokens/s",
        "time      policy 30%  label 10%  learn 60%",
    ]


def test_a_run_that_goes_back_begins_again(view, clock):
    view.alarm = "agreement"
    view.begin(step=60, max_steps=200, batches_per_step=1.0, completions_per_step=128, watched_from=50)
    clock.now += 7
    shown = lines(view)
    assert shown[0].startswith("step  60/200 ━") and shown[0].endswith("─  elapsed 0:57")  # since the command began
    assert shown[-1] == "alarm     none"


def test_the_alarm(view):
    view.begin(step=100, max_steps=200, batches_per_step=1.0, completions_per_step=128, watched_from=101)
    assert lines(view)[-1] == "alarm     watching from step 101"
    view.end_step(101)
    assert lines(view)[-1] == "alarm     none"
    view.alarm = "agreement is [bold]8[/bold] deviations above the start; " + "entropy " * 20
    assert lines(view)[-1].startswith("alarm     agreement is [bold]8[/bold] deviations")
    assert len(lines(view)[-1]) == 80


def test_signs_that_the_terminal_has(view):
    view.add_row({"vote/agreement": 0.0})
    view.add_row({"vote/agreement": 1.0})
    text = "\n".join(lines(view, encoding="ascii"))
    assert text.isascii() and "####----" in text and " _#" in text


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((), ""),
        ((0.0, 0.0), "▁▁"),
        ((5.0, 5.0), "▅▅"),
        ((1.0, 0.0, 0.5), "█▁▅"),
        ((-1.0, 1.0), "▁█"),
        # 0.02 apart, drawn over a fifth of 0.62 around 0.61: 0.052 / 0.124 * 8 = 3.4, 0.072 / 0.124 * 8 = 4.6
        ((0.60, 0.62), "▄▅"),
    ],
)
def test_trend(values, expected):
    assert trend(values) == expected


def test_number():
    assert [number(value) for value in (0.5, 0.123456, 12.34, 3071.6, 0.0)] == ["0.5", "0.123", "12.3", "3072", "0"]
