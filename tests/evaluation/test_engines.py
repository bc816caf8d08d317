"""Samples by seeds of their own: from the model's distribution, whatever the batch, and without a trace."""

import pytest
import torch

from mgrpo.errors import UserError
from mgrpo.evaluation.engines import TransformersEngine, check_engine, seed_of
from mgrpo.evaluation.protocols import SamplingSettings

PROMPTS = ["47+8*3-5=", "12+3=", "99-9+2-1+5-4="]


@pytest.fixture
def model(embedded):
    return embedded()


def engine_of(model, **settings):
    return TransformersEngine(
        *model, SamplingSettings(**{"temperature": 1.0, "max_tokens": 14, **settings}), batch_size=8
    )


def requests_of(model, prompts=PROMPTS, seeds=(0, 1, 2)):
    return model[1](list(prompts))["input_ids"], list(seeds)


def test_greedy_is_generate_s(model):
    batch = model[1](PROMPTS, return_tensors="pt", padding=True)
    expected = model[0].generate(**batch, do_sample=False, max_new_tokens=14)[:, batch["input_ids"].shape[1] :]
    sampled = engine_of(model, temperature=0.0).sample(*requests_of(model))
    assert [completion.text for completion in sampled] == model[1].batch_decode(expected, skip_special_tokens=True)


def test_a_sample_does_not_depend_on_its_batch(model):
    engine = engine_of(model)
    together = engine.sample(*requests_of(model))
    prompts, seeds = requests_of(model)
    alone = [engine.sample([ids], [seed])[0] for ids, seed in zip(prompts, seeds, strict=True)]
    assert together == alone
    assert engine.sample(prompts[::-1], seeds[::-1]) == together[::-1]
    assert engine.sample(*requests_of(model, seeds=(5, 6, 7))) != together


def test_what_all_prompts_begin_with_goes_through_the_model_once(model, monkeypatch):
    prompts, seeds = requests_of(model, ["12+3*4-5=" + rest for rest in PROMPTS])  # 9 equal tokens
    seen = []
    hook = model[0].get_input_embeddings().register_forward_hook(lambda _, args, __: seen.append(args[0].shape))
    shared = engine_of(model).sample(prompts, seeds)
    hook.remove()
    assert seen[:2] == [(1, 9), (3, max(map(len, prompts)) - 9)]
    monkeypatch.setattr("mgrpo.evaluation.engines.WORTH_SHARING", 100)
    assert engine_of(model).sample(prompts, seeds) == shared


def test_samples_come_from_the_model_s_distribution(model):
    # the first token of 2,000 samples: each frequency within 4 standard errors of its probability
    num, temperature = 2000, 1.5
    sampled = engine_of(model, temperature=temperature, max_tokens=1).sample(
        *requests_of(model, [PROMPTS[0]] * num, range(num))
    )
    with torch.no_grad():
        logits = model[0](**model[1]([PROMPTS[0]], return_tensors="pt")).logits[0, -1]
    for token, probability in enumerate((logits / temperature).softmax(dim=-1).tolist()):
        text = model[1].decode([token], skip_special_tokens=True)
        if text:
            frequency = sum(completion.text == text for completion in sampled) / num
            assert abs(frequency - probability) <= 4 * (probability * (1 - probability) / num) ** 0.5 + 1e-9


@pytest.mark.parametrize("settings", [{"top_k": 1}, {"top_p": 1e-6}])
def test_the_likeliest_token_alone_is_greedy(model, settings):
    greedy = engine_of(model, temperature=0.0).sample(*requests_of(model))
    assert engine_of(model, temperature=2.0, **settings).sample(*requests_of(model)) == greedy


def test_leaves_no_trace(model):
    model[0].train()
    model[0].generation_config.repetition_penalty = 5.0  # a model's own taste, which is no part of its distribution
    kept, state = model[0].generation_config, torch.get_rng_state()
    sampled = engine_of(model).sample(*requests_of(model))
    assert torch.equal(torch.get_rng_state(), state)
    assert model[0].training and model[0].generation_config is kept
    model[0].generation_config.repetition_penalty = None
    assert engine_of(model).sample(*requests_of(model)) == sampled


def test_ends_and_lengths(model):
    whole, cut = (engine_of(model, max_tokens=num).sample(*requests_of(model))[1] for num in (14, 3))
    assert whole.is_finished and whole.text.endswith("#15")
    assert whole.num_tokens == len(model[1](whole.text)["input_ids"]) + 1  # with end-of-text
    assert not cut.is_finished and cut.num_tokens == 3 and whole.text.startswith(cut.text)


def test_seeds_tell_samples_apart():
    seeds = {
        seed_of(seed, name, question, number)
        for seed in (0, 1)
        for name in ("a", "b")
        for question in ("1", "11")
        for number in (0, 1)
    }
    assert len(seeds) == 16 and all(0 <= seed < 2**63 for seed in seeds)


def test_engines():
    check_engine("transformers")
    with pytest.raises(UserError, match="'tgi'; .*transformers, vllm"):
        check_engine("tgi")


def test_vllm_is_refused_where_it_is_not_installed(monkeypatch):
    monkeypatch.setattr("mgrpo.evaluation.engines.find_spec", lambda name: None)
    with pytest.raises(UserError, match="engine is vllm, .*pip install"):
        check_engine("vllm")
