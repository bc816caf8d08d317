"""A trainer of the embedded model over a real vLLM engine on the CPU, for tests. A process can have one."""

import functools
import os
from importlib.util import find_spec

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

ENGINE_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine in this process
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_LOGGING_LEVEL": "WARNING",
}


@torch.no_grad()
def with_wider_heads(model):
    """The same function with heads of 32 numbers, the fewest that vLLM's CPU kernel takes; the given model's have 16.

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


def make_engine_trainer(directory, chain_data, peft_config=None, **overrides):
    """A trainer that samples 2 groups of 6 + 2 through vLLM, in `directory`; skips the test where there is no vLLM."""
    if find_spec("vllm") is None:
        pytest.skip("vLLM is not installed; make vllm installs it in an environment of its own")
    os.environ |= ENGINE_ENVIRONMENT
    from trl.generation import vllm_generation

    from mgrpo import MGRPOConfig, MGRPOTrainer
    from mgrpo.embedded.task import extract_answer
    from mgrpo.models.load import load_model

    # vLLM would sample in bfloat16, and compile for a minute
    vllm_generation.LLM = functools.partial(vllm_generation.LLM, dtype="float32", enforce_eager=True)
    model, tokenizer = load_model("embedded")
    wide = with_wider_heads(model)
    inputs = tokenizer(["47+8*3-5=", "12+3="], return_tensors="pt", padding=True)
    is_token = inputs["attention_mask"].bool()
    torch.testing.assert_close(wide(**inputs).logits[is_token], model(**inputs).logits[is_token], atol=1e-3, rtol=0)
    wide.save_pretrained(directory / "wide")
    tokenizer.save_pretrained(directory / "wide")
    settings = {
        "num_generations": 6,
        "num_momentum_generations": 2,
        "per_device_train_batch_size": 12,
        "gradient_accumulation_steps": 1,
        "use_vllm": True,
        "vllm_mode": "colocate",
        "vllm_max_model_length": 64,
        "iqr_multiplier": 0.75,
        "momentum": 0.5,
        "probe_prompts": 0,
        "max_completion_length": 14,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "max_steps": 3,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "seed": 7,
    }
    model, tokenizer = load_model(str(directory / "wide"))
    trainer = MGRPOTrainer(
        model,
        args=MGRPOConfig(output_dir=str(directory / "run"), **{**settings, **overrides}),
        train_dataset=chain_data(),
        processing_class=tokenizer,
        answer_fn=extract_answer,
        peft_config=peft_config,
    )
    assert torch.initial_seed() == 7  # vLLM has set it to 0
    return trainer


@torch.no_grad()
def largest_difference(model, outputs, temperature):
    """The largest, in nats, between vLLM's log-probabilities of tokens that it sampled, and a model's."""
    found = []
    for output in outputs:
        ids, logprobs = list(output.outputs[0].token_ids), output.outputs[0].logprobs
        sampled = torch.tensor([logprobs[i][token].logprob for i, token in enumerate(ids)])
        logits = model(torch.tensor([output.prompt_token_ids + ids])).logits[0, -len(ids) - 1 : -1]
        expected = (logits / temperature).log_softmax(-1)[torch.arange(len(ids)), ids]
        found.append((sampled - expected).abs().max())
    return max(found)


def check_that_it_learnt(trainer):
    """Whether 3 steps were taken that mean something."""
    rows = [row for row in trainer.state.log_history if "loss" in row]
    assert len(rows) == 3
    assert rows[0]["answers/none_rate"] == 0  # the embedded model writes chains of sums, and answers
    assert rows[-1]["momentum/distance"] > 0
    assert all(row["entropy/mean"] > 0 and row["grad_norm"] > 0 for row in rows)
    # how far vLLM's log-probabilities of the tokens are from transformers', nats
    assert all(row["sampling/sampling_logp_difference/max"] < 1e-3 for row in rows)
