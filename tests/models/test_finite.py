import math

import pytest
import torch
from torch import nn

from mgrpo.errors import UserError
from mgrpo.models.finite import broken_weight, check_logits, check_rewards, check_weights


def layer(**changed):
    """A linear layer of ones, with some of its numbers changed."""
    module = nn.Linear(3, 2)
    with torch.no_grad():
        module.weight.fill_(1)
        module.bias.fill_(1)
        for name, value in changed.items():
            getattr(module, name).view(-1)[-1] = value
    return module


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_single_broken_number_is_found(value, dtype):
    assert broken_weight(layer(bias=value).to(dtype).named_parameters()) == "bias"
    assert broken_weight(layer(weight=value, bias=value).to(dtype).named_parameters()) == "weight"  # the first


def test_what_is_fine():
    assert broken_weight(layer().named_parameters()) is None
    assert broken_weight(layer(weight=torch.finfo(torch.float32).max).named_parameters()) is None
    assert broken_weight([]) is None


def test_whole_numbers_and_empty_parts_are_skipped():
    """Quantized weights are whole numbers; a process may hold an empty part of a sharded weight."""
    weights = {"whole": torch.tensor([1, 2]), "empty": torch.empty(0), "broken": torch.tensor([math.inf])}
    assert broken_weight(weights.items()) == "broken"
    del weights["broken"]
    assert broken_weight(weights.items()) is None


def test_a_broken_model_is_refused_by_name():
    check_weights(layer(), "the model fine")
    with pytest.raises(UserError, match="the model mine.*bias.*intact copy"):
        check_weights(layer(bias=math.nan), "the model mine")


def test_logits():
    check_logits(torch.tensor([0.0, -5.0]), token=1)
    with pytest.raises(UserError, match="token 7 of 2 of 3 completions.*dtype.*learning_rate"):
        check_logits(torch.tensor([math.nan, 0.0, math.inf]), token=7)


def test_rewards():
    # nan: the function has no reward to give
    check_rewards(torch.tensor([[1.0, math.nan], [0.0, 2.0]]), ["vote", "mine"])
    with pytest.raises(UserError, match="reward mine is infinite for 1 of 2 completions"):
        check_rewards(torch.tensor([[1.0, -math.inf], [0.0, 2.0]]), ["vote", "mine"])
