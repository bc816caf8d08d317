"""LoRA through a real vLLM engine on the CPU, and a vLLM server that fails. `make vllm` runs the first."""

import functools
import os
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread

import pytest
import torch
from peft import LoraConfig
from transformers import Qwen3Config, Qwen3ForCausalLM

from mgrpo.errors import UserError
from mgrpo.training.vllm_sampling import RAM, server_errors_in_a_sentence

ENGINE_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine in this process
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_LOGGING_LEVEL": "WARNING",
}
SETTINGS = {
    "num_generations": 6,
    "num_momentum_generations": 2,
    "per_device_train_batch_size": 12,
    "use_vllm": True,
    "vllm_mode": "colocate",
    "vllm_max_model_length": 64,
    "entropy_source": "sampled",
    "iqr_multiplier": 0.75,
    "momentum": 0.5,
    "probe_prompts": 0,
}


@torch.no_grad()
def with_wider_heads(model):
    """The same function with heads of 32 numbers, the fewest that vLLM's CPU kernel takes; the embedded model's are 16.

    The other 16 are zeros. Of 32 numbers every other pair turns at the speed of the 16's. Their root mean square is
    smaller by sqrt(2), and so is the scale of the scores; with the norms of q and k the scores are larger by sqrt(2).
    """
    old = model.config
    assert old.head_dim == 16
    wide = Qwen3ForCausalLM(Qwen3Config(**{**old.to_dict(), "head_dim": 32}))
    kept = torch.cat([torch.arange(0, 16, 2), 16 + torch.arange(0, 16, 2)])
    for (name, target), source in zip(wide.named_parameters(), model.parameters(), strict=True):
        if target.shape == source.shape:
            target.copy_(source)
        elif name.endswith("_norm.weight"):
            target.zero_()[kept] = source * (0.5**0.5 if "q_norm" in name else 1)
        elif name.endswith("o_proj.weight"):
            target.zero_().unflatten(1, (-1, 32))[..., kept] = source.unflatten(1, (-1, 16))
        else:
            target.zero_().unflatten(0, (-1, 32))[:, kept] = source.unflatten(0, (-1, 16))
    return wide.eval()


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
    if find_spec("vllm") is None:
        pytest.skip("vLLM is not installed; make vllm installs it in an environment of its own")
    os.environ |= ENGINE_ENVIRONMENT
    from trl.generation import vllm_generation

    from mgrpo import MGRPOConfig, MGRPOTrainer
    from mgrpo.embedded.task import extract_answer
    from mgrpo.training.models import load_model

    # vLLM would sample in bfloat16, and compile for a minute
    vllm_generation.LLM = functools.partial(vllm_generation.LLM, dtype="float32", enforce_eager=True)
    path = str(tmp_path_factory.mktemp("wide"))
    model, tokenizer = load_model("embedded")
    wide = with_wider_heads(model)
    inputs = tokenizer(["47+8*3-5=", "12+3="], return_tensors="pt", padding=True)
    is_token = inputs["attention_mask"].bool()
    torch.testing.assert_close(wide(**inputs).logits[is_token], model(**inputs).logits[is_token], atol=1e-3, rtol=0)
    wide.save_pretrained(path)
    tokenizer.save_pretrained(path)
    config = MGRPOConfig(
        output_dir=str(tmp_path_factory.mktemp("run")),
        **SETTINGS,
        gradient_accumulation_steps=1,
        max_completion_length=14,
        learning_rate=1e-2,
        lr_scheduler_type="constant",
        warmup_steps=0,
        max_steps=3,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        seed=7,
    )
    model, tokenizer = load_model(path)
    trainer = MGRPOTrainer(
        model,
        args=config,
        train_dataset=chain_data(),
        processing_class=tokenizer,
        answer_fn=extract_answer,
        peft_config=LoraConfig(r=4, target_modules="all-linear"),
    )
    assert torch.initial_seed() == 7
    calls = Calls(trainer.vllm_generation)
    trainer.train()
    return trainer, calls


@pytest.mark.slow
def test_it_learns(trained):
    trainer, _ = trained
    rows = [row for row in trainer.state.log_history if "loss" in row]
    assert len(rows) == 3
    assert rows[0]["answers/none_rate"] == 0  # the embedded model writes chains of sums, and answers
    assert rows[-1]["momentum/distance"] > 0
    assert all(row["entropy/mean"] > 0 and row["grad_norm"] > 0 for row in rows)
    # how far vLLM's log-probabilities of the tokens are from transformers', nats
    assert all(row["sampling/sampling_logp_difference/max"] < 1e-3 for row in rows)


@pytest.mark.slow
def test_each_batch_is_one_call_with_both_adapters_handed_over_once(trained):
    trainer, calls = trained
    assert len(calls.batches) == 3
    assert len(calls.handed_over) == len(set(calls.handed_over)) == 6
    for step, (names, _) in enumerate(calls.batches[:3]):
        momentum, policy = calls.handed_over[2 * step : 2 * step + 2]
        assert names == [policy] * 12 + [momentum] * 4
    assert len(trainer.vllm_generation.llm.llm_engine.list_loras()) == 2
    assert not list(RAM.glob("mgrpo-adapter-*"))


@pytest.mark.slow
@torch.no_grad()
def test_each_model_samples_through_its_own_adapter(trained, chain_data):
    trainer, calls = trained
    generator = torch.Generator().manual_seed(0)
    for name, weight in trainer.model.named_parameters():
        if weight.requires_grad:
            weight.copy_(0.2 * torch.randn(weight.shape, generator=generator))
            trainer.momentum_model._weights[name].copy_(0.2 * torch.randn(weight.shape, generator=generator))
    trainer._last_loaded_step, trainer.args.momentum_temperature = -1, 0.5
    trainer.model.train()
    trainer._generate_and_score_completions([row for row in chain_data(2) for _ in range(6)])
    _, outputs = calls.batches[-1]
    assert len(outputs) == 12 + 4

    def difference(outputs, weights, temperature):
        """The largest, in nats, between vLLM's log-probabilities of tokens and a model's."""
        found = []
        with weights:
            for output in outputs:
                ids, logprobs = list(output.outputs[0].token_ids), output.outputs[0].logprobs
                sampled = torch.tensor([logprobs[i][token].logprob for i, token in enumerate(ids)])
                logits = trainer.model(torch.tensor([output.prompt_token_ids + ids])).logits[0, -len(ids) - 1 : -1]
                expected = (logits / temperature).log_softmax(-1)[torch.arange(len(ids)), ids]
                found.append((sampled - expected).abs().max())
        return max(found)

    trainer.model.eval()
    momentum_weights = trainer.momentum_model.in_place_of_policy
    assert difference(outputs[:12], nullcontext(), 1.1) < 1e-3
    assert difference(outputs[12:], momentum_weights(), 0.5) < 1e-3
    assert difference(outputs[:12], momentum_weights(), 1.1) > 0.1
    assert difference(outputs[12:], nullcontext(), 0.5) > 0.1
