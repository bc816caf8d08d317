"""bfloat16 products on a CPU against float32, on a tiny model of SmolLM2's architecture."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from mgrpo.models import precision
from mgrpo.training.patches import bfloat16_products

SIZE = {"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 3}
TOKENS = torch.randint(200, (16, 40), generator=torch.Generator().manual_seed(1))
LEARNING_RATE = 2e-6
"""A first step, as warm-up has it."""


@pytest.fixture
def on_the_grid():
    """A tiny Llama whose weights, like those of a quantized file, lie on or between bfloat16 numbers."""
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=200, num_key_value_heads=1, tie_word_embeddings=True, **SIZE)
    config.initializer_range = 0.1
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            bits = weight.view(torch.int32)
            bits.copy_(bits & ~0x7FFF)  # 9 digits: every second weight is halfway between two numbers of 8
    return model


def log_probs(model, is_on):
    with bfloat16_products(is_on=is_on):
        logits = model(input_ids=TOKENS).logits[:, :-1] / 1.1
    return torch.log_softmax(logits, dim=-1).gather(-1, TOKENS[:, 1:, None])[..., 0]


def kl(reference, policy):
    difference = reference - policy
    return (difference.exp() - difference - 1).mean().item()


def stepped(model):
    """Log-probabilities before and after a step in the direction of the gradient's sign; each (exact, rounded)."""
    log_probs(model, is_on=False).mean().backward()
    with torch.no_grad():
        before = [log_probs(model, is_on) for is_on in (False, True)]
        for weight in model.parameters():
            weight.add_(LEARNING_RATE * weight.grad.sign())
        return before, [log_probs(model, is_on) for is_on in (False, True)]


@pytest.mark.skipif(precision.bfloat16_unit() is None, reason="this CPU computes such products in float32")
def test_log_probabilities_ratio_and_kl_agree_with_float32(on_the_grid):
    """The bounds that benchmarks/benchmarks.md states."""
    precision.spread_within_rounding_(on_the_grid)
    before, after = stepped(on_the_grid)
    for exact, rounded in (before, after):
        assert 0 < (rounded - exact).pow(2).mean().sqrt() < 0.02
    ratio = (after[1] - before[1]).exp() / (after[0] - before[0]).exp()
    assert (ratio - 1).abs().mean() < 0.02
    assert kl(before[1], after[1]) == pytest.approx(kl(before[0], after[0]), abs=2e-4)


def moved(model):
    """How far the rounded weights went in a step, of how far they should have gone."""
    sign = {name: torch.sign(torch.randn_like(weight)) for name, weight in model.named_parameters()}
    done, asked = 0.0, 0.0
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                before = weight.bfloat16().float()
                weight.add_(LEARNING_RATE * sign[name])
                done += ((weight.bfloat16().float() - before) * sign[name]).sum().item()
                asked += LEARNING_RATE * weight.numel()
    return done / asked


def test_a_step_moves_rounded_weights_as_far_as_it_should(on_the_grid):
    torch.manual_seed(0)
    kept = {name: weight.clone() for name, weight in on_the_grid.state_dict().items()}
    assert moved(on_the_grid) > 5
    on_the_grid.load_state_dict(kept)
    precision.spread_within_rounding_(on_the_grid)
    assert moved(on_the_grid) == pytest.approx(1, abs=0.3)


def test_weights_are_spread_by_half_a_spacing_and_always_alike():
    def spread(weight):
        layer = torch.nn.Linear(64, 64)
        layer.weight.data = weight.clone()
        bias = layer.bias.clone()
        precision.spread_within_rounding_(layer)
        assert torch.equal(layer.bias, bias)
        return layer.weight.detach()

    weight = torch.full((64, 64), -0.75)  # numbers of 8 digits between 0.5 and 1 are 2**-8 apart
    first = spread(weight)
    assert torch.equal(first, spread(weight))
    assert 2**-9 * 0.99 < (first - weight).abs().max() <= 2**-9
    assert torch.equal(spread(torch.zeros(64, 64)), torch.zeros(64, 64))
    spacing = precision.bfloat16_spacing(torch.tensor([1.0, -1.99, 3e-3]))
    assert torch.equal(spacing, torch.tensor([2**-7, 2**-7, 2**-16]))


@pytest.mark.parametrize(
    ("unit", "choice", "expected"),
    [
        ("AMX", "auto", "bfloat16, 2 threads: this CPU has AMX"),
        (None, "auto", "float32, 2 threads: this CPU has neither AMX nor AVX512_BF16"),
        ("AVX512_BF16", "float32", "float32, 2 threads: this CPU has AVX512_BF16"),
        (None, "bfloat16", "bfloat16, 2 threads: this CPU has neither AMX nor AVX512_BF16"),
    ],
)
def test_the_choice_in_one_line(monkeypatch, unit, choice, expected):
    monkeypatch.setattr(precision, "bfloat16_unit", lambda: unit)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert precision.describe_precision(choice) == expected
    assert precision.uses_bfloat16(choice) == expected.startswith("bfloat16")
