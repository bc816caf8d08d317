"""Rows that hold a prompt once, and several of its completions."""

from types import SimpleNamespace

import pytest
import torch

from mgrpo.training import packed_rows
from mgrpo.training.packed_rows import pack, score_once, score_packed, visible


def test_rows_of_a_prompt_are_packed_in_whatever_order():
    """Prompts a, b, a, a, b, with at most 2 in a row: a a, a, b b."""
    prompts = torch.tensor([[1, 2], [3, 4], [1, 2], [1, 2], [3, 4]])
    places = pack(prompts, torch.ones_like(prompts), most=2)
    assert places.row.tolist() == [0, 2, 0, 1, 2]
    assert places.slot.tolist() == [0, 0, 1, 0, 1]
    assert torch.equal(prompts[places.source], torch.tensor([[1, 2], [1, 2], [3, 4]]))
    completions = torch.tensor([[10], [20], [11], [12], [21]])
    packed = places.packed(completions)
    assert packed.tolist() == [[10, 11], [12, 0], [20, 21]]
    assert torch.equal(places.unpacked(packed, 1), completions)


def test_the_same_tokens_with_other_padding_are_another_prompt():
    prompts, mask = torch.tensor([[0, 2], [0, 2]]), torch.tensor([[1, 1], [0, 1]])
    assert pack(prompts, mask, most=8).row.unique().numel() == 2


def test_a_token_sees_the_prompt_and_its_own_completion():
    """A padded place, a prompt's token, two completions of two tokens of which the second has one."""
    is_token = torch.tensor([[False, True, True, True, True, False]])
    expected = [
        [1, 0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 0, 0, 1, 0],
        [0, 1, 0, 0, 1, 1],
    ]
    assert visible(torch.tensor([0, 0, 1, 1, 2, 2]), is_token)[0, 0].long().tolist() == expected


@pytest.mark.parametrize(
    ("attention", "prompt_tokens", "num_tokens", "is_packed"),
    [
        ("sdpa", 45, 5, True),
        ("sdpa", 45, 128, True),
        ("sdpa", 45, 129, False),  # a row would hold one
        ("sdpa", 4, 20, False),
        ("eager", 45, 5, False),
    ],
)
def test_rows_are_packed_where_it_is_less_work(monkeypatch, attention, prompt_tokens, num_tokens, is_packed):
    monkeypatch.setattr(packed_rows, "can_share_prompts", lambda _: True)
    bare = SimpleNamespace(config=SimpleNamespace(_attn_implementation=attention))
    scorer = score_once(bare, bare, prompt_tokens + num_tokens, num_tokens, keeps_prompts=False)
    assert (scorer is not bare) == is_packed
    assert scorer is bare or scorer.__qualname__ == f"{score_packed.__name__}.<locals>.score"
