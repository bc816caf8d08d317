"""What is logged of small batches; every expected value is worked out by hand."""

import math

import pytest
import torch

from mgrpo.errors import UserError
from mgrpo.runs import metrics as names
from mgrpo.training.batch import Batch
from mgrpo.training.batch_log import (
    batch_metrics,
    completion_rows,
    gold_metrics,
    gold_verdicts,
    spread_metrics,
    vote_metrics,
)
from mgrpo.training.label_memory import PromptHistory
from mgrpo.training.labelling import label
from mgrpo.training.sampling.sampler import Rollouts


def extract(text):
    return None if text == "-" else text


def is_equal(answers, truth):
    return [answer == truth for answer in answers]


@pytest.fixture
def batch():
    """Two groups of two policy completions and one of the momentum model.

    7 4 | 4: the label is 4. 1 - | 1: the label is 1.
    """
    policy = Rollouts([[5], [5, 5], [5, 5, 5], [5, 5]], torch.tensor([1.0, 2.0, 3.0, 4.0]), seconds=2.0)
    momentum = Rollouts([[5], [5]], torch.tensor([9.0, 9.0]), seconds=1.0, completions=["4", "1"])
    made = Batch(True, 2, 1, prompts=["3+1=", [{"role": "user", "content": "1?"}]], gold=["4", None])
    made.policy = Rollouts(policy.completion_ids, policy.entropy, seconds=2.0, completions=["7", "4", "1", "-"])
    made.momentum = momentum
    made.labels = label([(made.policy, 2), (momentum, 1)], extract, "text")
    made.visits = [PromptHistory("4", 3, True), PromptHistory("1")]
    return made


def test_the_vote_in_numbers(batch):
    metrics = vote_metrics(batch.labels)
    assert metrics == pytest.approx(
        {
            names.AGREEMENT: 4 / 6,
            names.UNLABELLED_RATE: 0,
            names.DROPPED_RATE: 0,
            names.NONE_RATE: 1 / 4,
            names.FAILED_RATE: 0,
            names.TIMEOUT_RATE: 0,
            names.LENGTH: (1 + 2 + 3 + 2) / 4,
            names.ENTROPY: (1 + 2 + 3 + 4) / 4,
            names.TIE_RATE: 0,
            # alone the policy's 7 and 4 tie, and 7 comes first; its 1 is the label
            names.POLICY_AGREEMENT: 1 / 2,
            names.MOMENTUM_AGREEMENT: 1,
        }
    )


def test_a_policy_alone_has_no_second_voter(batch):
    metrics = vote_metrics(label([(batch.policy, 2)], extract, "text"))
    assert names.POLICY_AGREEMENT not in metrics and names.MOMENTUM_AGREEMENT not in metrics
    assert metrics[names.TIE_RATE] == 1 / 2  # 7 and 4 tie


def test_the_spread_of_labels():
    assert spread_metrics(["4", "4", "1", None]) == {names.DISTINCT: 2, names.TOP_SHARE: 2 / 3}
    nobody = spread_metrics([None])
    assert nobody[names.DISTINCT] == 0 and math.isnan(nobody[names.TOP_SHARE])


def test_gold_answers_are_compared_with_answers_and_label(batch):
    verdicts = gold_verdicts(batch.labels, ["4", None], is_equal)
    assert verdicts == [[False, True, True, True], None]
    metrics = gold_metrics(batch.labels, verdicts)
    dropped = metrics.pop(names.GOLD_DROPPED_ACCURACY)
    assert math.isnan(dropped)  # nothing was dropped
    assert metrics == {names.GOLD_ACCURACY: 0.5, names.GOLD_MOMENTUM_ACCURACY: 1, names.GOLD_LABEL_ACCURACY: 1}


def test_a_scorer_that_does_not_judge_each_answer_is_refused(batch):
    with pytest.raises(UserError, match="1 verdicts on 4 answers"):
        gold_verdicts(batch.labels, ["4", "1"], lambda answers, gold: [True])


def test_the_metrics_of_a_batch(batch):
    batch.label_seconds = 0.5
    metrics = batch_metrics(batch, [None, None], 1, torch.device("cpu"))
    assert metrics[names.TIME_POLICY] == 2 and metrics[names.TIME_MOMENTUM] == 1 and metrics[names.TIME_LABEL] == 0.5
    assert metrics[names.FLIP_RATE] == 1  # the other prompt was not seen before
    assert metrics[names.FLIP_WEIGHT] == pytest.approx((1 / 3 + 1) / 2)
    assert metrics[names.DISTINCT] == 2
    assert not any(name.startswith("gold/") for name in metrics)
    batch.is_training, batch.num_momentum = False, 0
    held_out = batch_metrics(batch, [[True, False, True, True], None], 1, torch.device("cpu"))
    assert held_out[names.GOLD_ACCURACY] == 0.5
    assert not held_out.keys() & {names.FLIP_RATE, names.FLIP_WEIGHT, names.TIME_MOMENTUM}


def test_a_row_for_each_completion(batch):
    verdicts = gold_verdicts(batch.labels, batch.gold, is_equal)
    rows = completion_rows(batch, [-0.5, 0.5, 1.0, -1.0], verdicts, first_group=6)
    assert [row["group"] for row in rows] == [6, 6, 6, 7, 7, 7]
    assert [row["model"] for row in rows] == ["policy", "policy", "momentum"] * 2
    assert [row["prompt"] for row in rows[2:4]] == ["3+1=", "1?"]
    assert [row["completion"] for row in rows] == ["7", "4", "4", "1", "-", "1"]
    assert [row["num_tokens"] for row in rows] == [1, 2, 1, 3, 2, 1]
    assert [row["advantage"] for row in rows] == [-0.5, 0.5, None, 1.0, -1.0, None]
    assert [row["is_right"] for row in rows] == [False, True, True, None, None, None]
    assert rows[4] == {
        "group": 7, "prompt": "1?", "completion": "-", "answer": None, "answer_id": -1, "model": "policy",
        "num_tokens": 2, "entropy": 4.0, "fence": None, "kept": True, "pseudo_label": "1", "is_match": False,
        "is_tie": False, "reward": 0.0, "advantage": -1.0, "is_right": None, "right_answer": None,
    }  # fmt: skip
