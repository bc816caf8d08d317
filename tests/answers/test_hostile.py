"""Answers that are meant to do harm: no crash, no delay, no code that runs, no wrong result for the honest ones."""

import contextlib
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mgrpo.answers import answer_ids, equal_to, mathematics, worker
from mgrpo.answers.mathematics import SECONDS_PER_ANSWER
from mgrpo.answers.worker import Failed, in_workers

sys.path.append(str(Path(__file__).parent))
import hostile  # noqa: E402

pytestmark = pytest.mark.timeout(900)

ANSWERS = hostile.hostile_answers()
LIMIT = SECONDS_PER_ANSWER + 0.5
HONEST = [r"\frac{\sqrt{3}}{2}", "0.5", "(1, 2)", "x^2+2x+1", r"\sqrt{3}/2", r"\frac12", "(x+1)^2", "Evelyn", r"\pi+1"]
HONEST_IDS = [0, 1, 2, 3, 0, 1, 3, 4, 5]
FINGERPRINTS = "mgrpo.answers.expressions:fingerprints"


@dataclass
class Attempts:
    """What happened while every one of some answers was numbered alone."""

    answers: list[str]
    errors: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    quick: list[str] = field(default_factory=list)
    wrong_ids: list[str] = field(default_factory=list)
    strangers: set[str] = field(default_factory=set)
    refused: list[Any] = field(default_factory=list)

    @property
    def harmless(self) -> list[str]:
        return [answer for answer in self.answers if answer not in {*self.errors, *self.slow}]


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises TimeoutError; the timer of pytest-timeout, which is the same one, goes on afterwards."""

    def ring(*_):
        raise TimeoutError

    started, handler = time.monotonic(), signal.signal(signal.SIGALRM, ring)
    rest, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, max(0.01, rest - (time.monotonic() - started)) if rest else 0)
        signal.signal(signal.SIGALRM, handler)


def warm_workers() -> None:
    in_workers(FINGERPRINTS, [["2"]] * 8 * worker.MAX_WORKERS)


def strange_processes() -> set[str]:
    """Children that are no workers, and children of workers."""
    me, strangers = psutil.Process(), set()
    for child in me.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            command = child.cmdline()
            is_new_or_over = command in ([], me.cmdline())  # forked, and no other program yet, or not waited for yet
            if child.ppid() != me.pid or not ("mgrpo.answers.worker_process" in command or is_new_or_over):
                strangers.add(" ".join(command))
    return strangers


@contextlib.contextmanager
def watch_processes(strangers: set[str]) -> Iterator[None]:
    known, is_over = strange_processes(), threading.Event()

    def watch():
        while not is_over.wait(0.1):
            strangers.update(strange_processes() - known)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        strangers.update(strange_processes() - known)


def try_alone(answer: str, seen: Attempts) -> None:
    known = {}
    for _ in range(3):  # other programs may have held the processor
        warm_workers()
        started = time.perf_counter()
        try:
            with time_limit(2 * LIMIT):
                ids = answer_ids([[answer]])
        except TimeoutError:
            ids = [[0]]
        except Exception:
            seen.errors.append(answer)
            return
        if (seconds := time.perf_counter() - started) <= LIMIT:
            seen.quick += [answer] if seconds < 0.1 else []
            break
        known |= mathematics._fingerprints
        mathematics.clear_caches()
    else:
        seen.slow.append(answer)
    mathematics._fingerprints.update(known)
    if ids != [[0]]:
        seen.wrong_ids.append(answer)


@pytest.fixture(
    scope="module", params=[pytest.param(1, id="all", marks=pytest.mark.slow), pytest.param(10, id="tenth")]
)
def seen(request, tmp_path_factory):
    """Every answer alone, or every tenth, with new workers, in an empty directory."""
    before, directory = Path.cwd(), tmp_path_factory.mktemp("hostile")
    elsewhere = Path(hostile.FILES[1])
    elsewhere.unlink(missing_ok=True)
    os.chdir(directory)
    try:
        worker._close()
        mathematics.clear_caches()
        seen = Attempts(ANSWERS[:: request.param])
        with watch_processes(seen.strangers):
            for answer in seen.answers:
                try_alone(answer, seen)
        seen.refused = refused_events()
        yield seen
        worker._close()
    finally:
        os.chdir(before)


@pytest.fixture
def empty_caches():
    """Caches that get back what they held."""
    caches = (mathematics._fingerprints, mathematics._verdicts)
    kept = list(map(dict, caches))
    mathematics.clear_caches()
    yield
    mathematics.clear_caches()
    for cache, content in zip(caches, kept, strict=True):
        cache.update(content)


@pytest.fixture
def new_workers(empty_caches):
    worker._close()
    warm_workers()
    yield [child for child in psutil.Process().children() if "mgrpo.answers.worker_process" in child.cmdline()]
    worker._close()


def refused_events() -> list[Any]:
    caches = (*mathematics._fingerprints.items(), *mathematics._verdicts.items())
    return [(texts, result) for texts, result in caches if isinstance(result, Failed) and "refused" in result.reason]


def renumbered(ids: list[int]) -> list[int]:
    first = list(dict.fromkeys(ids))
    return [first.index(number) for number in ids]


def groups_of(answers: list[str], size: int = 6) -> list[list[str]]:
    return [answers[start : start + size] for start in range(0, len(answers), size)]


def shown(answers: list[str]) -> str:
    return f"{len(answers)}: " + "\n".join(f"{answer[:100]!r} ({len(answer)} characters)" for answer in answers)


# Alone.


def test_the_corpus_is_large_and_the_same_each_time():
    assert len(ANSWERS) == len(set(ANSWERS)) >= 300
    assert hostile.hostile_answers() == ANSWERS


def test_no_answer_raises(seen):
    assert not seen.errors, shown(seen.errors)
    assert not seen.wrong_ids, shown(seen.wrong_ids)


def test_no_answer_takes_long(seen):
    assert not seen.slow, shown(seen.slow)


def test_no_answer_creates_a_file(seen):
    assert not os.listdir()
    assert not Path(hostile.FILES[1]).exists()


def test_no_answer_starts_a_process(seen):
    assert not seen.strangers


def test_no_answer_even_tries_what_is_refused(seen):
    assert not seen.refused


def test_workers_are_right_afterwards(seen, empty_caches):
    assert answer_ids([HONEST] * 3) == [HONEST_IDS] * 3


def test_results_do_not_depend_on_what_came_before(seen):
    """New workers that get the expressions in another order find the same."""
    known = dict(mathematics._fingerprints)
    mathematics.clear_caches()
    worker._close()
    answer_ids(groups_of(seen.quick[::-1]))
    again = dict(mathematics._fingerprints)
    mathematics._fingerprints.update(known)
    assert len(again) > len(seen.answers) * 75 // len(ANSWERS)
    different = [(known[texts], again[texts]) for texts in again if again[texts] != known[texts]]
    assert not [pair for pair in different if Failed("timeout") not in pair]


# In company.


def test_honest_answers_keep_their_ids(seen):
    groups = groups_of(seen.harmless)
    mixed = [[*HONEST[:4], *group, *HONEST[4:]] for group in groups]
    ids = answer_ids([HONEST, *mixed, HONEST])
    assert ids[0] == ids[-1] == HONEST_IDS
    of_honest = [[*numbers[:4], *numbers[4 - len(HONEST) :]] for numbers in ids[1:-1]]
    wrong = [group for group, numbers in zip(groups, of_honest, strict=True) if renumbered(numbers) != HONEST_IDS]
    assert not wrong


def test_ids_do_not_depend_on_the_order(seen):
    answers = seen.harmless
    random.Random(0).shuffle(answers)
    groups = groups_of(answers)
    forwards = answer_ids(groups)
    backwards = answer_ids([group[::-1] for group in groups[::-1]])
    wrong = [
        group
        for group, ids, reverse in zip(groups, forwards, backwards[::-1], strict=True)
        if renumbered(ids) != renumbered(reverse[::-1])
    ]
    assert not wrong


def test_no_hostile_answer_is_right(seen):
    right = equal_to(seen.harmless, r"\frac{17\sqrt{2}}{23}")
    assert not [answer for answer, is_right in zip(seen.harmless, right, strict=True) if is_right]
    right = equal_to(seen.harmless, "17/23")
    assert not [answer for answer, is_right in zip(seen.harmless, right, strict=True) if is_right]


@pytest.mark.parametrize("equivalence", ["number", "choice", "text"])
def test_other_equivalences(seen, equivalence):
    with time_limit(20):
        ids = answer_ids([[*seen.harmless, "12", "12"]], equivalence)
    assert ids[0][-1] == ids[0][-2]


@pytest.mark.parametrize("answers", [("1e99999999", "1"), (".5E-9999999999", "0"), ("1 e 999999999", "2")])
def test_an_exponent_is_not_worked_out_in_this_process(answers):
    with time_limit(2 * LIMIT):
        assert answer_ids([list(answers)]) == [[0, 1]]


def test_a_group_of_slow_comparisons_takes_time_by_its_answers_not_by_their_pairs(monkeypatch, empty_caches):
    """Else 64 such answers, 2016 pairs, hold a training step for an hour."""
    group = [f"(f(x)+g(x)+h(x)+1)^{{{20 + n}}}" for n in range(8)]
    monkeypatch.setattr(mathematics, "SECONDS_PER_ANSWER", 0.3)
    assert answer_ids([group]) == [list(range(8))]
    assert sum(isinstance(result, Failed) for result in mathematics._verdicts.values()) <= len(group)


def test_an_expression_that_needs_sympys_polynomials_is_compared(empty_caches):
    r"""SymPy writes code of its own for them, which is not to be taken for the answer's."""
    assert answer_ids([[r"\frac{f(x)^2-1}{f(x)-1}", "f(x)+1", r"\lfloor x \rfloor"]]) == [[0, 0, 1]]
    assert not refused_events()


@pytest.mark.parametrize(
    "answers", [(r"\lfloor \frac{|x|}{2} \rfloor", "0"), ("e^{-1000}", "0"), (r"\frac{\pi}{10^{50}}", "0")]
)
def test_what_is_nearly_nothing_is_not_nothing(answers):
    assert answer_ids([list(answers)]) == [[0, 1]]


# What stays behind.


def test_long_answers_are_not_kept():
    answer = "".join(map(str, range(20_000)))
    before = sys.getrefcount(answer)
    answer_ids([[answer, "1"]])
    assert sys.getrefcount(answer) == before


def test_a_worker_that_died_between_two_calls_costs_no_answer(new_workers):
    for process in new_workers:
        process.kill()
    psutil.wait_procs(new_workers, timeout=5)
    assert answer_ids([[r"\sqrt{12}", r"2\sqrt3"]]) == [[0, 0]]


def test_a_machine_that_stood_still_costs_an_answer_once(new_workers):
    group = [r"\sqrt{20}", r"2\sqrt5"]
    for process in new_workers:
        process.suspend()
    answer_ids([group])
    assert answer_ids([group]) == [[0, 0]]


@pytest.mark.slow
def test_interrupted_expressions_leave_workers_that_are_right(new_workers):
    """The alarm rings anywhere in SymPy and in the worker's own code."""
    texts = [r"\lfloor 9 ^ { 99 } \pi \rfloor", "( x + y ) ^ { 99 }", r"\sqrt { 2 + \sqrt { 3 } }", "| | x | - 1 |"]
    chance = random.Random(0)
    for n in range(300):
        in_workers(FINGERPRINTS, [[f"{chance.choice(texts)} + {n}"]] * 2, seconds=0.02 * chance.random() + 1e-4)
        if n % 50 == 49:
            mathematics.clear_caches()
            assert answer_ids([HONEST] * 2) == [HONEST_IDS] * 2


def test_a_full_stack_is_no_error(empty_caches):
    """Training calls from somewhere deep."""

    def deeper(depth):
        return deeper(depth - 1) if depth else answer_ids([["x^" + "-" * 500 + "7", "1"]])

    mathematics.clear_caches()
    assert deeper(600) == [[0, 1]]


# At random.

HONEST_TAIL = [r"\sqrt{2}", "1/2", "0.5"]


def check_random(text: str) -> None:
    with time_limit(4 * LIMIT):
        ids = answer_ids([[text, *HONEST_TAIL, text + " "]])[0]
    assert ids[0] == ids[4]
    assert ids[2] == ids[3] != ids[1]


kinds_of_text = pytest.mark.parametrize(
    "text",
    [
        pytest.param(st.lists(st.sampled_from(hostile.VOCABULARY), max_size=12).map("".join), id="expressions"),
        pytest.param(st.text(max_size=80), id="texts"),
        pytest.param(
            st.builds(
                hostile.mutated,
                st.sampled_from(HONEST),
                st.just(hostile.VOCABULARY),
                st.randoms(use_true_random=False),
            ),
            id="mutated honest answers",
        ),
    ],
)


@kinds_of_text
@settings(max_examples=40)
@given(data=st.data())
def test_random_texts(text, data):
    check_random(data.draw(text))


@pytest.mark.slow
@kinds_of_text
@settings(max_examples=250)
@given(data=st.data())
def test_many_random_texts(text, data):
    check_random(data.draw(text))
