"""What is changed in the code of others is as it was when the block ends, and after a whole run."""

from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig
from torch import nn
from trl import GRPOConfig, GRPOTrainer
from trl.generation import vllm_generation
from trl.trainer import grpo_trainer
from trl.trainer import utils as trl_utils

from mgrpo.training.patches import fitted_fused_head, replaced, watched


class Owner:
    of_class = "class"

    def __init__(self):
        self.own = "own"


@pytest.mark.parametrize("breaks", [False, True])
@pytest.mark.parametrize(("name", "before"), [("own", "own"), ("of_class", "class")])
def test_an_attribute_is_put_back(name, before, breaks):
    owner = Owner()
    kept = dict(vars(owner))
    try:
        with replaced(owner, name, "other"):
            assert getattr(owner, name) == "other"
            if breaks:
                raise RuntimeError("sampling broke")
    except RuntimeError:
        assert breaks
    assert getattr(owner, name) == before
    assert vars(owner) == kept  # the class's shows again


def test_a_hook_sees_the_passes_of_its_block_alone():
    layer, seen = nn.Linear(1, 1), []
    with watched(layer, lambda module, args, kwargs, output: seen.append(output)):
        layer(torch.ones(1))
    layer(torch.ones(1))
    assert len(seen) == 1 and not layer._forward_hooks


def test_the_fused_heads_buffer_is_no_wider_than_the_vocabulary():
    before = trl_utils._CHUNKED_LOGPROB_CHUNK_SIZE
    for vocabulary, columns in ((17, 17), (before + 1, before)):
        with fitted_fused_head(vocabulary):
            assert columns == trl_utils._CHUNKED_LOGPROB_CHUNK_SIZE
    assert before == trl_utils._CHUNKED_LOGPROB_CHUNK_SIZE == 32768


def patched_attributes(model):
    """Everything that mgrpo replaces while it trains: of TRL, and of the model."""
    modules = dict(model.named_modules())
    return SimpleNamespace(
        columns=trl_utils._CHUNKED_LOGPROB_CHUNK_SIZE,
        engines=(grpo_trainer.VLLMGeneration, getattr(vllm_generation, "LLM", None)),
        hooks={name for name, module in modules.items() if module._forward_hooks or module._forward_pre_hooks},
        own={name: sorted(vars(module).keys() & {"forward", "generate"}) for name, module in modules.items()},
    )


@pytest.mark.parametrize("is_adapter", [False, True])
def test_a_plain_trl_trainer_in_the_same_process_finds_everything_restored(
    make_trainer, make_config, embedded, chain_data, tmp_path, is_adapter
):
    """Shared prompts, or two adapters with a temperature of their own; entropies, evaluation and a momentum anchor."""
    peft = {"peft_config": LoraConfig(r=4, target_modules="all-linear")} if is_adapter else {}
    own = {"momentum_temperature": 0.9} if is_adapter else {"share_prompts": True, "iqr_multiplier": 0.75}
    trainer = make_trainer(
        {"eval_dataset": chain_data(4, split="test"), **peft},
        kl_anchor="momentum",
        beta=0.1,
        max_steps=2,
        eval_strategy="steps",
        eval_steps=1,
        num_generations_eval=1,
        per_device_eval_batch_size=4,
        **own,
    )
    before = patched_attributes(trainer.model)
    trainer.train()
    assert patched_attributes(trainer.model) == before
    assert before.columns == 32768 and not before.hooks
    assert trainer.beta == trainer.args.beta == 0.1

    columns = []

    def reward(completions, **_):
        columns.append(trl_utils._CHUNKED_LOGPROB_CHUNK_SIZE)
        return [float(len(text)) for text in completions]

    model, tokenizer = embedded()
    config = GRPOConfig(
        output_dir=str(tmp_path / "plain"), per_device_train_batch_size=8, max_steps=1, max_completion_length=14,
        report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False, save_strategy="no",
    )  # fmt: skip
    plain = GRPOTrainer(model, reward, config, chain_data(), processing_class=tokenizer)
    before = patched_attributes(plain.model)
    plain.train()
    assert patched_attributes(plain.model) == before
    assert columns == [32768]
