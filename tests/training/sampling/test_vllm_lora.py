"""LoRA through a real vLLM engine: one call, two adapters, each row its own. `make vllm` runs it."""

import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from peft import LoraConfig

from mgrpo.training.sampling.vllm import RAM

sys.path.append(str(Path(__file__).parent))
from vllm_engine import check_that_it_learnt, largest_difference, make_engine_trainer  # noqa: E402

pytestmark = pytest.mark.slow


class Calls:
    """What a trainer's engine was asked for, and what it sampled."""

    def __init__(self, generation):
        self.handed_over, self.batches = [], []
        hand_over, generate = generation._hand_over, generation.llm.generate

        def recording_hand_over(before):
            request = hand_over(before)
            self.handed_over.append(request.lora_name)
            return request

        def recording_generate(rows, **options):
            outputs = generate(rows, **options)
            self.batches.append(([request.lora_name for request in options["lora_request"]], outputs))
            return outputs

        generation._hand_over, generation.llm.generate = recording_hand_over, recording_generate


@pytest.fixture(scope="module")
def trained(tmp_path_factory, chain_data):
    """A trainer after 3 steps through vLLM, and what its engine was asked for."""
    trainer = make_engine_trainer(
        tmp_path_factory.mktemp("lora"),
        chain_data,
        LoraConfig(r=4, target_modules="all-linear"),
        entropy_source="top_20",
        learning_rate=1e-2,
    )
    calls = Calls(trainer.vllm_generation)
    trainer.train()
    return trainer, calls


def test_it_learns(trained):
    check_that_it_learnt(trained[0])


def test_each_batch_is_one_call_with_both_adapters_handed_over_once(trained):
    trainer, calls = trained
    assert len(calls.batches) == 3
    assert len(calls.handed_over) == len(set(calls.handed_over)) == 6
    for step, (names, _) in enumerate(calls.batches):
        momentum, policy = calls.handed_over[2 * step : 2 * step + 2]
        assert names == [policy] * 12 + [momentum] * 4
    assert len(trainer.vllm_generation.llm.llm_engine.list_loras()) == 2
    assert not list(RAM.glob("mgrpo-adapter-*"))


@torch.no_grad()
def test_each_model_samples_through_its_own_adapter(trained, chain_data):
    trainer, calls = trained
    generator = torch.Generator().manual_seed(0)
    for name, weight in trainer.model.named_parameters():
        if weight.requires_grad:
            weight.copy_(0.2 * torch.randn(weight.shape, generator=generator))
            trainer.momentum_model._weights[name].copy_(0.2 * torch.randn(weight.shape, generator=generator))
    trainer._last_loaded_step, trainer.args.iqr_multiplier = -1, None
    trainer.sampler.momentum_temperature = 0.5
    trainer.model.train()
    trainer._generate_and_score_completions([row for row in chain_data(2) for _ in range(6)])
    _, outputs = calls.batches[-1]
    assert len(outputs) == 12 + 4
    trainer.model.eval()
    momentum_weights = trainer.momentum_model.in_place_of_policy
    for rows, temperature, own, other in (
        (outputs[:12], 1.1, nullcontext, momentum_weights),
        (outputs[12:], 0.5, momentum_weights, nullcontext),
    ):
        with own():
            assert largest_difference(trainer.model, rows, temperature) < 1e-3
            exact = [exact_entropy(trainer.model, output, temperature) for output in rows]
        with other():
            assert largest_difference(trainer.model, rows, temperature) > 0.1
        # of 17 tokens the 20 likeliest are all
        start = 0 if temperature == 1.1 else 12
        said = trainer.vllm_generation.entropy[start : start + len(rows)]
        torch.testing.assert_close(said, torch.stack(exact), atol=1e-4, rtol=0)


def exact_entropy(model, output, temperature):
    """A completion's trajectory entropy from a forward pass, nats per token."""
    ids = list(output.outputs[0].token_ids)
    logits = model(torch.tensor([output.prompt_token_ids + ids])).logits[0, -len(ids) - 1 : -1]
    return torch.distributions.Categorical(logits=logits / temperature).entropy().mean()
