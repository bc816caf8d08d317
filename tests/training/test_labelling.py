"""Labels, masks and weights of small groups; every expected value is worked out by hand."""

import torch

from mgrpo.training.label_memory import PromptHistory
from mgrpo.training.labelling import FixedLabels, flip_weights, label, mask
from mgrpo.training.sampling.sampler import Rollouts


def extract(text):
    """The text itself; none where it is silent."""
    return None if text == "-" else text


def rollouts(texts, entropy=None):
    """Completions, of one token for each character."""
    ids = [[1] * len(text) for text in texts]
    return Rollouts(ids, None if entropy is None else torch.tensor(entropy), completions=texts)


def test_groups_hold_the_policys_completions_first():
    policy = rollouts(["7", "4", "12", "-"], [1.0, 2.0, 3.0, 4.0])
    momentum = rollouts(["4", "12"], [5.0, 6.0])
    labels = label([(policy, 2), (momentum, 1)], extract, "text")
    assert labels.completions == [["7", "4", "4"], ["12", "-", "12"]]
    assert labels.num_tokens == [[1, 1, 1], [2, 1, 2]]
    assert labels.answers == [["7", "4", "4"], ["12", None, "12"]]
    assert labels.ids.tolist() == [[0, 1, 1], [0, -1, 0]]
    assert labels.entropy.tolist() == [[1.0, 2.0, 5.0], [3.0, 4.0, 6.0]]
    # two of three votes are for 4, and both for 12
    assert labels.texts == ["4", "12"]
    assert labels.groups.reward.tolist() == [[0, 1, 1], [1, 0, 1]]
    assert (labels.failed_rate, labels.timeout_rate) == (0, 0)


def test_a_label_is_the_text_that_came_first_of_those_that_are_equal():
    labels = label([(rollouts(["4", "1.0", "1", "-"]), 4)], extract, "number")
    assert labels.texts == ["1.0"]
    assert labels.groups.reward.tolist() == [[0, 1, 1, 0]]


def test_nobody_votes():
    labels = label([(rollouts(["-", "-"]), 2)], extract, "text")
    assert labels.texts == [None]
    assert not labels.groups.loss_mask.any()


def test_without_the_entropies_of_one_model_there_are_none():
    labels = label([(rollouts(["1"], [0.5]), 1), (rollouts(["1"]), 1)], extract, "text")
    assert labels.entropy is None


def test_a_dropped_completion_has_no_vote():
    # quartiles of .1 1 1 1: .775 and 1, so the fence is at .775 - .75 * .225 = .606; 7 loses its only vote
    labels = label([(rollouts(["7", "4", "4", "-"], [0.1, 1.0, 1.0, 1.0]), 4)], extract, "text", iqr_multiplier=0.75)
    assert labels.groups.keep.tolist() == [[False, True, True, True]]
    assert labels.groups.loss_mask.tolist() == [[False, True, True, True]]


def test_extractors_that_fail_are_counted_over_both_models():
    def fragile(text):
        return text[3]  # fails on less than four characters

    policy, momentum = rollouts(["long", "long", "no"]), rollouts(["long"])
    labels = label([(policy, 3), (momentum, 1)], fragile, "text")
    assert labels.failed_rate == 1 / 4
    assert labels.answers == [["g", "g", None, "g"]]


def test_known_labels_replace_the_vote():
    def is_prefix(answers, truth):
        return [answer is not None and truth.startswith(answer) for answer in answers]

    known = FixedLabels(["42", None], is_prefix)
    texts = rollouts(["4", "1", "1", "4", "4", "-"])
    labels = label([(texts, 3)], extract, "text", known, label_source="gold")
    assert labels.texts == ["42", None]
    assert labels.groups.vote is None
    assert labels.groups.reward.tolist() == [[1, 0, 0], [0, 0, 0]]
    # the second group's label is not known
    assert labels.groups.loss_mask.tolist() == [[True] * 3, [False] * 3]


def test_the_mask_has_a_row_for_each_of_the_policys_completions():
    policy, momentum = rollouts(["7", "7", "-", "-"]), rollouts(["7", "-"])
    labels = label([(policy, 2), (momentum, 1)], extract, "text")
    # nobody answers in the second group
    assert mask(labels, 3).tolist() == [[1, 1, 1], [1, 1, 1], [0, 0, 0], [0, 0, 0]]


def test_the_mask_leaves_answers_out():
    labels = label([(rollouts(["7", "7"]), 2)], extract, "text")
    assert mask(labels, 4, [range(1, 3), range(0)]).tolist() == [[1, 0, 0, 1], [1, 1, 1, 1]]


def test_flips_beyond_the_patience_cost():
    visits = [PromptHistory("a", num_flips) for num_flips in (0, 2, 4)]
    assert flip_weights(visits, 2).tolist() == [1, 1, 0.5]
    assert flip_weights(visits, None).tolist() == [1, 1, 1]
