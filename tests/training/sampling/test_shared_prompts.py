"""Prompts that go through the model once, against rows that each go through it whole."""

from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig
from transformers import GenerationConfig, MistralConfig, MistralForCausalLM

from mgrpo.errors import UserError
from mgrpo.training.sampling.shared_prompts import (
    can_share_prompts,
    generate_with_shared_prompts,
    keeps_prompts,
    prefill,
)

TINY = {"vocab_size": 20, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
TINY |= {"num_attention_heads": 2, "num_key_value_heads": 2}
PROMPTS = ["47+8*3-5=", "12+3=", "99-9+2-1+5-4="]


@pytest.fixture
def model_and_inputs(embedded):
    """Three prompts of 9, 5 and 13 tokens, 5 rows each, prompts side by side as TRL has them."""
    model, tokenizer = embedded()
    inputs = tokenizer([prompt for prompt in PROMPTS for _ in range(5)], return_tensors="pt", padding=True)
    return model, inputs


def test_a_prompt_goes_through_the_model_once(model_and_inputs):
    model, inputs = model_and_inputs
    positions = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    shapes = []
    handle = model.model.register_forward_hook(
        lambda module, args, kwargs, output: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    shuffled = torch.randperm(15, generator=torch.Generator().manual_seed(0))
    rows = inputs["input_ids"][shuffled], inputs["attention_mask"][shuffled], positions[shuffled]
    with torch.no_grad():
        shared = prefill(model, *rows)
        whole = model.model(input_ids=rows[0], attention_mask=rows[1], position_ids=rows[2], use_cache=True)
    handle.remove()
    assert shapes == [(3, 13), (15, 13)]
    is_token = rows[1].bool()
    for ours, theirs in zip(shared.layers, whole.past_key_values.layers, strict=True):
        for name in ("keys", "values"):  # (B, heads, T, d)
            left, right = (getattr(layer, name).transpose(1, 2)[is_token] for layer in (ours, theirs))
            torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("prompts", [PROMPTS, ["4", "5"]])  # a prompt of one token leaves nothing to share
def test_samples_are_those_of_generate(embedded, prompts):
    model, tokenizer = embedded()
    inputs = tokenizer([prompt for prompt in prompts for _ in range(40)], return_tensors="pt", padding=True)
    settings = GenerationConfig(max_new_tokens=14, do_sample=True, temperature=1.1, top_k=0, eos_token_id=15)

    def sample():
        torch.manual_seed(0)
        return model.generate(**inputs, generation_config=settings)

    expected = sample()
    with generate_with_shared_prompts(model):
        shared = sample()
    assert torch.equal(shared, expected)
    assert "generate" not in vars(model)


@pytest.mark.parametrize(
    ("settings", "with_lora"),
    [
        ({"share_prompts": True, "beta": 0.0}, False),
        ({"share_prompts": True, "beta": 0.1}, False),
        ({"share_prompts": True, "beta": 0.1}, True),
        ({"share_prompts": "auto", "beta": 0.1}, False),
        ({"share_prompts": "auto", "beta": 0.1}, True),
        ({"share_prompts": "auto", "beta": 0.1, "gradient_checkpointing": True}, False),
        ({"share_prompts": "auto", "beta": 0.1, "gradient_checkpointing": True}, True),
        ({"share_prompts": True, "gradient_checkpointing": True}, False),
    ],
)
def test_loss_and_gradient_are_trls(make_trainer, chain_data, settings, with_lora):
    whole_rows = {**settings, "share_prompts": False}
    their_ids, theirs, their_metrics = step(make_trainer, chain_data, with_lora, **whole_rows)
    our_ids, ours, our_metrics = step(make_trainer, chain_data, with_lora, **settings)
    assert torch.equal(our_ids, their_ids)
    assert theirs.norm() > 1e-2
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-4)
    assert our_metrics == pytest.approx(their_metrics, abs=1e-5)


def step(make_trainer, chain_data, with_lora, **settings):
    """Completions, gradient and metrics of a batch, whose rows TRL shuffles."""
    peft = {"peft_config": LoraConfig(r=4, target_modules="all-linear")} if with_lora else {}
    trainer = make_trainer(peft, **settings)
    with torch.no_grad():  # a policy away from the reference
        for p in trainer.model.parameters():
            if p.requires_grad:
                p.add_(0.005 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    trainer.start_momentum_model()
    trainer.model.train()
    torch.manual_seed(1)
    output = trainer._prepare_inputs([row for row in chain_data(4) for _ in range(6)])
    trainer.current_gradient_accumulation_steps = 1
    loss = trainer.compute_loss(trainer.model, output)
    loss.backward()
    metrics = {name: values[-1] for name, values in trainer._metrics["train"].items() if "time" not in name}
    gradient = torch.cat([p.grad.flatten() for p in trainer.model.parameters() if p.requires_grad])
    return output["completion_ids"], gradient, metrics


def test_same_seed_same_bits(make_trainer, weights_of):
    def run():
        trainer = make_trainer(share_prompts=True, iqr_multiplier=0.75)
        trainer.train()
        return weights_of(trainer)

    first, second = run(), run()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_layers_that_forget_are_not_shared():
    window = MistralConfig(**TINY, sliding_window=4)
    assert not can_share_prompts(MistralForCausalLM(window))
    window.sliding_window = None
    assert can_share_prompts(MistralForCausalLM(window))


def test_a_model_that_forgets_is_refused():
    window = MistralForCausalLM(MistralConfig(**TINY, sliding_window=4))
    config = SimpleNamespace(share_prompts="true", gradient_checkpointing=False)
    with pytest.raises(UserError, match="mistral models keep more of a prompt .*; set share_prompts to auto"):
        keeps_prompts(config, window)
