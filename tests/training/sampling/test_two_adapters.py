"""Policy and momentum model as two adapters in one batch: the numbers of each alone, and nothing left behind."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from mgrpo.training.sampling.momentum_model import MomentumModel
from mgrpo.training.sampling.two_adapters import both_adapters, paired_layers

LORA = {"r": 4, "lora_alpha": 6, "target_modules": "all-linear"}
PROMPTS = ["47+8*3-5=", "12+3=", "99-9+2-1+5-4="]


def make_apart(model, scale=0.3):
    """Give an adapter that starts at zero something to say, and return a momentum model that says something else."""
    generator = torch.Generator().manual_seed(0)
    momentum_model = MomentumModel(model, m=0.5)
    trained = [p for p in model.parameters() if p.requires_grad]
    for _ in range(2):
        with torch.no_grad():
            for p in trained:
                p.copy_(scale * torch.randn(p.shape, generator=generator))
        momentum_model.update()
    return momentum_model


@pytest.fixture
def adapted(embedded):
    """An adapted model, its momentum model, and the inputs of 6 policy rows and 3 momentum rows."""
    model, tokenizer = embedded()
    model = get_peft_model(model, LoraConfig(**LORA)).eval()
    rows = [prompt for prompt in PROMPTS for _ in range(2)] + PROMPTS
    return model, make_apart(model), tokenizer(rows, return_tensors="pt", padding=True)


def alone(model, momentum_model, compute):
    """What each model makes of all rows by itself, then the policy's first 6 and the momentum model's last 3."""
    policy = compute()
    with momentum_model.in_place_of_policy():
        momentum = compute()
    return torch.cat([policy[:6], momentum[6:]]), policy, momentum


@torch.no_grad()
def test_each_row_has_its_own_adapters_logits(adapted):
    model, momentum_model, inputs = adapted
    base = model.get_base_model()
    layers = paired_layers(base, momentum_model)
    assert len(layers) == 14  # 2 blocks of q, k, v, o, gate, up, down
    expected, policy, momentum = alone(model, momentum_model, lambda: model(**inputs).logits)
    assert (policy - momentum).abs().max() > 1  # another adapter is another model
    with both_adapters(base, layers, momentum_model, 6, 3):
        together = model(**inputs).logits
    is_token = inputs["attention_mask"].bool()
    torch.testing.assert_close(together[is_token], expected[is_token], atol=1e-5, rtol=1e-5)


def test_each_row_has_its_own_adapters_greedy_tokens(adapted):
    model, momentum_model, inputs = adapted
    base = model.get_base_model()
    layers = paired_layers(base, momentum_model)

    def greedy():
        return model.generate(**inputs, do_sample=False, max_new_tokens=14, min_new_tokens=14)

    expected, policy, momentum = alone(model, momentum_model, greedy)
    assert not torch.equal(policy, momentum)
    with both_adapters(base, layers, momentum_model, 6, 3):
        assert torch.equal(greedy(), expected)


@torch.no_grad()
def test_the_momentum_rows_have_a_temperature_of_their_own(adapted):
    model, momentum_model, inputs = adapted
    base = model.get_base_model()
    expected, _, _ = alone(model, momentum_model, lambda: model(**inputs).logits)
    expected[6:] *= 1.5 / 0.5
    with both_adapters(base, paired_layers(base, momentum_model), momentum_model, 6, 3, momentum_scale=1.5 / 0.5):
        together = model(**inputs).logits
    is_token = inputs["attention_mask"].bool()
    torch.testing.assert_close(together[is_token], expected[is_token], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("breaks", [False, True])
def test_nothing_is_added_and_nothing_stays(adapted, tmp_path, breaks):
    model, momentum_model, inputs = adapted
    base = model.get_base_model()
    layers = paired_layers(base, momentum_model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modules = [name for name, _ in model.named_modules()]
    try:
        with both_adapters(base, layers, momentum_model, 6, 3, momentum_scale=2.0):
            assert list(model.peft_config) == ["default"]
            assert [name for name, _ in model.named_modules()] == modules
            assert model.state_dict().keys() == before.keys()
            model.save_pretrained(tmp_path / "within")
            if breaks:
                raise RuntimeError("sampling broke")
    except RuntimeError:
        assert breaks
    assert not any("forward" in vars(layer) for layer in layers)
    assert not base._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.save_pretrained(tmp_path / "after")
    written = [(tmp_path / at / "adapter_model.safetensors").read_bytes() for at in ("within", "after")]
    assert written[0] == written[1]
    assert not list(tmp_path.glob("*/*/"))  # a second adapter would have a directory of its own
    model(**inputs).logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


class TokensInALine(nn.Module):
    """A layer's input without its batch dimension, as a mixture's experts have it."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x.flatten(0, 1)).view(*x.shape[:-1], -1)


@pytest.mark.parametrize(
    "settings", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"target_modules": ["q_proj", "embed_tokens"]}]
)
def test_other_adapters_are_sampled_apart(embedded, settings):
    model = get_peft_model(embedded()[0], LoraConfig(**{**LORA, **settings}))
    assert paired_layers(model.get_base_model(), MomentumModel(model, m=0.5)) == []


def test_layers_that_do_not_see_the_rows_are_sampled_apart(embedded):
    model = get_peft_model(embedded()[0], LoraConfig(**LORA))
    base, momentum_model = model.get_base_model(), MomentumModel(model, m=0.5)
    assert paired_layers(base, momentum_model)
    base.model.layers[0].mlp.up_proj = TokensInALine(base.model.layers[0].mlp.up_proj)
    assert paired_layers(base, momentum_model) == []


def test_full_fine_tuning_has_no_layers_to_pair(embedded):
    model, _ = embedded()
    assert paired_layers(model, MomentumModel(model, m=0.5)) == []


# In the trainer.


def calls_of_generate(trainer):
    """Counts the rows of each call from here on."""
    base, rows = trainer.model.get_base_model(), []
    generate = base.generate

    def counting(*args, **kwargs):
        rows.append(len(kwargs["input_ids"]))
        return generate(*args, **kwargs)

    base.generate = counting
    return rows


def score_one_batch(trainer, chain_data):
    trainer.momentum_model = make_apart(trainer.model, scale=0.1)
    trainer.sampler = trainer._make_sampler()
    trainer.model.train()
    rows = calls_of_generate(trainer)
    trainer._generate_and_score_completions([row for row in chain_data(4) for _ in range(6)])
    return rows, trainer.batch


@torch.no_grad()
def entropies_alone(trainer, data, part, temperature):
    """Each completion's trajectory entropy from a forward pass over it alone."""
    num = len(part.completions) // 4
    prompts = [row["prompt"] for row in data for _ in range(num)]
    values = []
    for prompt, completion, tokens in zip(prompts, part.completions, part.completion_ids, strict=True):
        prompt_ids, ids = (trainer.processing_class(text)["input_ids"] for text in (prompt, completion))
        ids = (ids + [trainer.processing_class.eos_token_id])[: len(tokens)]
        logits = trainer.model(torch.tensor([prompt_ids + ids])).logits[0, len(prompt_ids) - 1 : -1] / temperature
        values.append(torch.distributions.Categorical(logits=logits).entropy().mean())
    return torch.stack(values).view(4, num)


@pytest.mark.parametrize("momentum_temperature", [None, 0.3])
def test_one_call_samples_both_and_keeps_their_entropies_apart(make_trainer, chain_data, momentum_temperature):
    trainer = make_trainer(
        {"peft_config": LoraConfig(**LORA)}, temperature=1.1, momentum_temperature=momentum_temperature
    )
    rows, batch = score_one_batch(trainer, chain_data)
    assert rows == [4 * (6 + 2)]
    policy = entropies_alone(trainer, chain_data(4), batch.policy, 1.1)
    with trainer.momentum_model.in_place_of_policy():
        momentum = entropies_alone(trainer, chain_data(4), batch.momentum, momentum_temperature or 1.1)
    torch.testing.assert_close(batch.labels.entropy, torch.cat([policy, momentum], dim=1), atol=1e-4, rtol=1e-4)
    # the momentum model's completions are no part of what is learnt from and counted
    assert trainer._metrics["train"]["completions/mean_length"][-1] == pytest.approx(
        sum(map(len, batch.policy.completion_ids)) / 24
    )


def test_a_run_sees_one_adapter(make_trainer, tmp_path):
    trainer = make_trainer(
        {"peft_config": LoraConfig(**LORA)}, probe_prompts=0, save_strategy="steps", save_steps=2, max_steps=2
    )
    names = {name for name, _ in trainer.model.named_parameters()}
    rows = calls_of_generate(trainer)
    trainer.train()
    assert rows == [4 * (6 + 2)] * 2
    assert {name for name, _ in trainer.model.named_parameters()} == names
    optimized = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert optimized == {id(p) for p in trainer.model.parameters() if p.requires_grad}
    checkpoint = tmp_path / "run" / "checkpoint-2"
    assert (checkpoint / "adapter_model.safetensors").exists()
    assert not [path for path in checkpoint.iterdir() if path.is_dir()]


@pytest.mark.parametrize("settings", [{"label_source": "frozen"}, {"num_momentum_generations": 0}])
def test_who_has_no_voters_samples_alone(make_trainer, chain_data, settings):
    trainer = make_trainer({"peft_config": LoraConfig(**LORA)}, **settings)
    rows, _ = score_one_batch(trainer, chain_data)
    assert rows[0] == 4 * 6
