"""What is changed in the code of others is as it was when the block ends, and after a whole run."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig
from torch import nn
from trl import GRPOConfig, GRPOTrainer
from trl.generation import vllm_generation
from trl.trainer import grpo_trainer
from trl.trainer import utils as trl_utils

from mgrpo.models import precision
from mgrpo.training.patches import (
    LARGE_VOCABULARY,
    bfloat16_products,
    fast_draws,
    fitted_fused_head,
    replaced,
    watched,
    weights_cast_once,
)


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
    sizes = ((17, 640, 17), (49152, 640, 2**20 // 640), (49152, 10**6, 1024), (49152, 1, 32768))
    for vocabulary, num_tokens, columns in sizes:
        with fitted_fused_head(vocabulary, torch.zeros(num_tokens)):
            assert columns == trl_utils._CHUNKED_LOGPROB_CHUNK_SIZE
    assert before == trl_utils._CHUNKED_LOGPROB_CHUNK_SIZE == 32768


@pytest.mark.skipif(precision.bfloat16_unit() is None, reason="this CPU computes such products in float32")
@pytest.mark.parametrize("has_bias", [False, True])
def test_only_the_factors_of_products_are_rounded(has_bias):
    """y = x W, and its gradients with respect to both, from factors of 8 digits, in float32."""

    def rounded(tensor):
        return tensor.detach().bfloat16().float()

    torch.manual_seed(0)
    layer = nn.Linear(48, 32, bias=has_bias)
    x, gradient = torch.randn(5, 7, 48, requires_grad=True), torch.randn(5, 7, 32)
    with bfloat16_products(is_on=True):
        y = layer(x)
        y.backward(gradient)
    exact = rounded(x) @ rounded(layer.weight).T + (layer.bias if has_bias else 0)
    torch.testing.assert_close(y, exact, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(x.grad, rounded(gradient) @ rounded(layer.weight), atol=1e-5, rtol=1e-5)
    rows = rounded(gradient).flatten(0, 1), rounded(x).flatten(0, 1)
    torch.testing.assert_close(layer.weight.grad, rows[0].T @ rows[1], atol=1e-4, rtol=1e-5)
    if has_bias:
        torch.testing.assert_close(layer.bias.grad, gradient.sum(dim=(0, 1)))
    assert not torch.equal(y, F.linear(x, layer.weight, layer.bias))
    half = nn.Linear(48, 32).bfloat16()
    with bfloat16_products(is_on=True):
        assert half(x.bfloat16()).dtype == torch.bfloat16


def test_weights_are_cast_once_where_products_are_in_bfloat16(monkeypatch):
    layer, other, x = nn.Linear(48, 32), nn.Linear(48, 32), torch.randn(5, 48)
    with weights_cast_once():  # products are in float32
        assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))
    casts, cast = [], torch.Tensor.bfloat16
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda tensor: casts.append(tensor.shape) or cast(tensor))
    with bfloat16_products(is_on=True), weights_cast_once(), torch.no_grad():
        before = layer(x), layer(x)
        kept, layer.weight.data = layer.weight.data, other.weight.data  # as the momentum model's take their place
        other_weights = layer(x)
        layer.weight.data = kept
        after = layer(x)
    assert casts.count((32, 48)) == 2 and casts.count((5, 48)) == 4
    assert torch.equal(before[0], before[1]) and torch.equal(before[0], after)
    expected = F.linear(cast(x), cast(other.weight)).float() + layer.bias
    assert torch.equal(other_weights, expected)


def test_draws_from_a_large_vocabulary_follow_its_probabilities():
    probabilities = torch.zeros(3, LARGE_VOCABULARY)
    probabilities[0, 5] = probabilities[1, -1] = 1.0
    probabilities[2, [0, 7, -2]] = torch.tensor([0.2, 0.5, 0.3])
    torch.manual_seed(0)
    with fast_draws():
        drawn = torch.cat([torch.multinomial(probabilities, num_samples=1) for _ in range(2000)], dim=1)
    assert drawn[0].unique().tolist() == [5] and drawn[1].unique().tolist() == [LARGE_VOCABULARY - 1]
    tokens, counts = drawn[2].unique(return_counts=True)
    assert tokens.tolist() == [0, 7, LARGE_VOCABULARY - 2]
    torch.testing.assert_close(counts / 2000, torch.tensor([0.2, 0.5, 0.3]), atol=0.04, rtol=0)  # 3.6 standard errors


def test_draws_from_a_small_vocabulary_are_torchs():
    probabilities = torch.rand(4, 17)
    torch.manual_seed(0)
    expected = torch.multinomial(probabilities, num_samples=1)
    torch.manual_seed(0)
    with fast_draws():
        assert torch.equal(torch.multinomial(probabilities, num_samples=1), expected)


def patched_attributes(model):
    """Everything that mgrpo replaces while it trains: of TRL, and of the model."""
    modules = dict(model.named_modules())
    return SimpleNamespace(
        columns=trl_utils._CHUNKED_LOGPROB_CHUNK_SIZE,
        products=(F.linear, trl_utils._ChunkedLogProbFunction, torch.backends.mkldnn.matmul.fp32_precision),
        draws=torch.multinomial,
        engines=(grpo_trainer.VLLMGeneration, getattr(vllm_generation, "LLM", None)),
        hooks={name for name, module in modules.items() if module._forward_hooks or module._forward_pre_hooks},
        own={name: sorted(vars(module).keys() & {"forward", "generate"}) for name, module in modules.items()},
    )


@pytest.mark.parametrize("is_adapter", [False, True])
def test_a_plain_trl_trainer_in_the_same_process_finds_everything_restored(
    make_trainer, make_config, embedded, chain_data, tmp_path, capsys, is_adapter
):
    """Shared prompts, or two adapters with a temperature of their own; entropies, evaluation and a momentum anchor."""
    peft = {"peft_config": LoraConfig(r=4, target_modules="all-linear")} if is_adapter else {}
    own = {"momentum_temperature": 0.9} if is_adapter else {"share_prompts": True, "iqr_multiplier": 0.75}
    own["cpu_precision"] = "bfloat16"
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
    assert precision.describe_precision("bfloat16") in capsys.readouterr().err
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
