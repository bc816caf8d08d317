from itertools import product

import numpy as np
import pytest

from mgrpo.evaluation import statistics as intervals
from mgrpo.evaluation.statistics import estimate, estimate_mean, holm, paired_difference, sign_flip_p


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_interval_by_hand():
    # Means of 3 resampled: all 0 with probability 1/27 > 2.5%, all 1 likewise
    found = estimate([0.0, 0.0, 1.0])
    assert (found.value, found.low, found.high) == pytest.approx((1 / 3, 0.0, 1.0))
    # Of 8, P(0 or 1 right) = 3.5%, P(0) = 0.4%: both quantiles are at 1 and 7 of 8
    found = estimate([0.0, 1.0] * 4)
    assert (found.low, found.high) == (0.125, 0.875)


def test_equal_scores_have_an_interval_without_width():
    found = estimate([0.25] * 6)
    assert (found.value, found.low, found.high) == (0.25, 0.25, 0.25)


def test_no_right_answer_is_no_proof_that_there_is_never_one():
    # Wilson's interval of 0 of n: from 0 to z^2 / (n + z^2) = 3.8415 / 33.8415
    found = estimate(np.zeros(30), is_share=True)
    assert (found.value, found.low, found.high) == pytest.approx((0, 0, 0.11351), abs=1e-5)
    assert found.method == "wilson"
    mirrored = estimate(np.ones(30), is_share=True)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - 0.11351, 1), abs=1e-5)
    # Of a length or a difference nothing of the kind is known
    assert estimate(np.zeros(30)).high == 0


def test_wilson_s_interval_against_scipy():
    binomtest = pytest.importorskip("scipy.stats").binomtest
    # 4 of 200, one sample each: the bootstrap's variance is that of 199 samples, and so are the ends, to 1%
    theirs = binomtest(4, 200).proportion_ci(method="wilson")
    ours = estimate(np.arange(200) < 4, is_share=True)
    assert ours.method == "wilson"
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=0.02)


def test_right_answers_that_are_few_but_enough():
    is_right = np.arange(200) < 5
    assert estimate(is_right, is_share=True).method == "bootstrap"
    assert estimate(is_right, is_share=True) == estimate(is_right)


def test_the_interval_of_one_question_is_unknown():
    assert estimate([0.5]).value == 0.5
    assert np.isnan([estimate([0.5]).low, estimate([0.5]).high, estimate([[0.5], [1.0]]).low]).all()


def test_interval_against_scipy(rng):
    stats = pytest.importorskip("scipy.stats")
    of_questions = rng.beta(0.5, 1.5, 40)
    theirs = stats.bootstrap(
        (of_questions,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(1)
    ).confidence_interval
    ours = estimate(of_questions)
    # Other draws: an end's standard error is about 2% of the width
    tolerance = 0.06 * (theirs.high - theirs.low)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=tolerance)


def test_memory_is_drawn_in_pieces_without_another_result(rng, monkeypatch):
    of_runs = rng.random((3, 50))
    whole, p = estimate(of_runs), sign_flip_p(of_runs[0] - 0.4)
    monkeypatch.setattr(intervals, "CHUNK", 7_001)
    in_pieces = estimate(of_runs)
    assert (in_pieces.low, in_pieces.high) == pytest.approx((whole.low, whole.high), rel=1e-12)
    assert sign_flip_p(of_runs[0] - 0.4) == p


def test_the_draws_are_the_same_each_time(rng):
    of_questions = rng.random(100)
    assert estimate(of_questions) == estimate(of_questions)
    assert sign_flip_p(of_questions - 0.45) == sign_flip_p(of_questions - 0.45)


def test_runs_are_drawn_too(rng):
    # Runs that differ by far more than questions do: of means 0, 0, 1, 1 three are drawn, all 0 with probability 1/8
    of_runs = np.repeat([0.0, 0.0, 1.0, 1.0], 200).reshape(4, 200)
    assert (estimate(of_runs).low, estimate(of_runs).high) == (0.0, 1.0)
    # Two runs: one is drawn
    assert estimate([[0.0] * 9, [1.0] * 9]).low == 0.0
    # Equal runs: nothing but the questions is left
    of_questions = rng.random(200)
    same, alone = estimate(np.tile(of_questions, (4, 1))), estimate(of_questions)
    assert (same.low, same.high) == pytest.approx((alone.low, alone.high))


@pytest.mark.parametrize("num_runs", [1, 4])
def test_as_many_intervals_hold_the_truth_as_they_say(num_runs, monkeypatch):
    monkeypatch.setattr(intervals, "RESAMPLES", 1_000)
    rng = np.random.default_rng(0)
    trials = 400
    held = 0
    for _ in range(trials):
        # 100 questions of difficulties whose mean is 1/2, 4 samples each, and runs that differ a little
        chance = np.clip(rng.random(100) + rng.normal(0, 0.05, (num_runs, 1)) * (num_runs > 1), 0, 1)
        found = estimate(rng.binomial(4, chance) / 4)
        held += found.low <= 0.5 <= found.high
    # Binomial standard error 1.1%. One run: 95%; several: at least that
    assert 0.92 <= held / trials <= (0.98 if num_runs == 1 else 1.0)


def test_samples_of_one_question_are_not_independent():
    # 40 questions of which a model always or never solves each, 16 samples: as wide as with one sample
    is_solved = (np.arange(40) % 2).astype(float)
    once, often = estimate(is_solved), estimate(np.repeat(is_solved[:, None], 16, axis=1).mean(axis=1))
    assert once == often
    assert once.high - once.low > 0.25  # 2 * 1.96 * 0.5 / sqrt(40) = 0.31; of 640 independent ones 0.08


def test_p_by_hand():
    # Sums of +-1 +-2 +-3: 6, 4, 2, 0, 0, -2, -4, -6; two of eight are as far from 0 as 6
    assert sign_flip_p([1, 2, 3]) == 2 / 8
    # 1 - 2 + 3 = 2: all but the two zeros
    assert sign_flip_p([1, -2, 3]) == 6 / 8
    assert sign_flip_p([0.0, 0.0]) == 1.0
    assert sign_flip_p([0.3]) == 1.0
    # Questions without a difference change nothing
    assert sign_flip_p([1, 2, 3, 0, 0, 0]) == 2 / 8


def test_rounding_does_not_hide_an_equal_sum():
    # 0.1 + 0.2 - 0.3 is not 0 in floating point, and nor are its permutations alike: all 8 signs count
    assert sign_flip_p([0.1, 0.2, -0.3]) == 1.0
    values = [0.1, 0.7, 0.2, 0.2, 0.3]
    tenths = [round(10 * value) for value in values]
    sums = [np.dot(signs, tenths) for signs in product((-1, 1), repeat=5)]
    assert sign_flip_p(values) == sum(abs(total) >= 15 for total in sums) / 32


@pytest.mark.parametrize("number", [10, 60])
def test_p_against_scipy(rng, number):
    stats = pytest.importorskip("scipy.stats")
    first, second = rng.binomial(4, 0.6, number) / 4, rng.binomial(4, 0.45, number) / 4
    theirs = stats.permutation_test(
        (first, second),
        lambda left, right, axis: (left - right).mean(axis=axis),
        permutation_type="samples",
        n_resamples=20_000,
        vectorized=True,
        rng=np.random.default_rng(1),
    ).pvalue
    # Exact for 10; else Monte Carlo on both sides
    assert sign_flip_p(first - second) == pytest.approx(theirs, abs=1e-12 if number == 10 else 0.01)


def test_p_of_many_is_never_0():
    assert sign_flip_p(np.ones(100)) == 1 / 10_001


def test_exact_and_drawn_agree(rng, monkeypatch):
    differences = rng.normal(0.3, 1, 12)
    exact = sign_flip_p(differences)
    monkeypatch.setattr(intervals, "EXACT_UP_TO", 0)
    assert sign_flip_p(differences) == pytest.approx(exact, abs=0.015)  # 3 standard errors of a p near 1/2


def test_p_is_as_rare_as_it_says():
    rng = np.random.default_rng(0)
    ps = [sign_flip_p(rng.normal(0, 1, 12)) for _ in range(1_000)]
    assert np.mean(np.array(ps) <= 0.05) == pytest.approx(0.05, abs=0.02)


def test_holm_by_hand():
    # .01 x 4 = .04; .02 x 3 = .06; .03 x 2 = .06; .9 x 1 = .9, back in the given order
    assert holm([0.03, 0.01, 0.9, 0.02]) == pytest.approx([0.06, 0.04, 0.9, 0.06])
    # .02 x 2 = .04, then .03 x 1 = .03 may not be smaller
    assert holm([0.03, 0.02]) == pytest.approx([0.04, 0.04])
    assert holm([0.7, 0.8]) == pytest.approx([1, 1])
    assert len(holm([])) == 0


def test_models_are_compared_on_the_same_questions(rng):
    # Questions of very different difficulty, the second model solves each a little less often
    hard = rng.random(50)
    first, second = hard + 0.05, hard + rng.normal(0, 0.02, 50)
    found = paired_difference([(first, second)])
    assert found.value == pytest.approx(float((first - second).mean()))
    assert (found.low, found.high) == (estimate(first - second).low, estimate(first - second).high)
    assert found.high - found.low < 0.02 < estimate(first).high - estimate(first).low
    assert found.p_questions < 0.001
    assert found.p_runs is None
    other = paired_difference([(second, first)])
    assert (other.value, other.p_questions) == (pytest.approx(-found.value), found.p_questions)


def test_equal_models():
    found = paired_difference([([1, 0, 1, 0.5], [1, 0, 1, 0.5])])
    assert (found.value, found.low, found.high, found.p_questions) == (0, 0, 0, 1)


def test_one_question():
    found = paired_difference([([1.0], [0.0])])
    assert (found.value, found.p_questions) == (1.0, 1.0)
    assert np.isnan([found.low, found.high]).all()


def test_methods_are_compared_over_runs():
    # Better by 0.2 in each of three runs: the signs of three runs agree in 2 of 8 cases
    first = np.tile([1.0, 0.5, 0.25, 0.75], (3, 1))
    found = paired_difference([(first, first - 0.2)])
    assert found.p_runs == 2 / 8
    # and so do those of four questions, in 2 of 16
    assert found.p_questions == 2 / 16
    assert found.value == pytest.approx(0.2)


def test_a_single_run_is_compared_with_each():
    base = [0.0, 0.5, 0.5]
    runs = [[1.0, 0.5, 0.5], [0.0, 0.5, 1.0]]
    found = paired_difference([(runs, base)])
    # Differences 1 0 0 and 0 0 1/2: mean 1/4; of the runs 1/3 and 1/6, whose signs agree in 2 of 4 cases
    assert (found.value, found.p_runs) == (pytest.approx(0.25), 0.5)
    assert paired_difference([(base, runs)]).value == pytest.approx(-0.25)


def test_a_mean_over_benchmarks(rng):
    few, many = rng.random(20), rng.random(500)
    found = estimate_mean([few, many])
    assert found.value == pytest.approx((few.mean() + many.mean()) / 2)
    # Half of each: variances of independent draws add
    assert found.high - found.low == pytest.approx(
        3.92 * np.hypot(few.std() / 20**0.5, many.std() / 500**0.5) / 2, rel=0.05
    )
    assert estimate_mean([few]) == estimate(few)
    with pytest.raises(ValueError, match="the same runs on each"):
        estimate_mean([few, [many, many]])
    assert np.isnan(estimate_mean([[1.0], few]).low)


def test_benchmarks_of_as_many_questions_are_drawn_independently(rng):
    # Were the same questions drawn of both, the second would take away all that the first one adds
    first = rng.random(30)
    found = estimate_mean([first, 1 - first])
    assert found.high - found.low == pytest.approx(3.92 * first.std() / 30**0.5 / 2**0.5, rel=0.05)


def test_runs_are_drawn_once_for_all_benchmarks():
    # A run that is better by 1 on the one is worse by 1 on the other: their mean does not depend on the runs drawn
    found = estimate_mean([[[0.0] * 5, [1.0] * 5], [[1.0] * 8, [0.0] * 8]])
    assert (found.low, found.high) == (0.5, 0.5)


def test_a_mean_difference_over_benchmarks():
    # Differences 1 and 0 on the one, 1/2 on each of three others: mean 1/2 and 1/2. The weights of the signs are
    # 1/4 and three times 1/12, all of which agree in 2 of 16 cases
    found = paired_difference([([1.0, 0.5], [0.0, 0.5]), ([0.5] * 3, [0.0] * 3)])
    assert (found.value, found.p_questions, found.p_runs) == (pytest.approx(0.5), 2 / 16, None)


def test_what_cannot_be_compared():
    with pytest.raises(ValueError, match="3 questions cannot be paired with 2"):
        paired_difference([([1, 2, 3], [1, 2])])
    with pytest.raises(ValueError, match="2 runs cannot be paired with 3"):
        paired_difference([(np.ones((2, 4)), np.ones((3, 4)))])
    with pytest.raises(ValueError, match="not finite"):
        estimate([0.5, float("nan")])
    with pytest.raises(ValueError, match="scores must be of questions"):
        estimate([])


def test_a_mean_of_benchmarks_without_a_right_answer_has_their_interval():
    """6 questions each, none right: Wilson's [0, 0.39]; independent errors give sqrt(2) x 0.39 / 2 of the mean."""
    of_one = estimate(np.zeros(6), is_share=True)
    found = estimate_mean([np.zeros(6), np.zeros(6)], are_shares=True)
    assert (found.value, found.low, found.method) == (0, 0, "wilson")
    assert found.high == pytest.approx(2**0.5 * of_one.high / 2) and of_one.high == pytest.approx(0.39, abs=0.01)
    # of two benchmarks with enough of both it is the bootstrap's, and a mean of differences never Wilson's
    half = np.arange(40) % 2
    assert estimate_mean([half, half], are_shares=True) == estimate_mean([half, half])
    assert estimate_mean([np.zeros(6), np.zeros(6)]).method == "bootstrap"


def test_a_mean_lies_between_its_benchmarks_and_within_its_interval():
    few, many = np.array([1, 0, 0, 0, 0, 0, 0, 0]), np.arange(60) % 2
    found = estimate_mean([few, many], are_shares=True)
    assert found.value == pytest.approx((1 / 8 + 1 / 2) / 2)
    assert found.low < found.value < found.high
    of_few, of_many = estimate(few, is_share=True), estimate(many, is_share=True)
    assert (of_few.method, of_many.method) == ("wilson", "bootstrap")
    assert found.high - found.value == pytest.approx(
        ((of_few.high - of_few.value) ** 2 + (of_many.high - of_many.value) ** 2) ** 0.5 / 2
    )
