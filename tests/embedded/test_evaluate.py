import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mgrpo.embedded import evaluate as module
from mgrpo.embedded.chains import Chain
from mgrpo.embedded.evaluate import evaluate
from mgrpo.embedded.model import CHECKPOINT
from mgrpo.embedded.task import chains

PROBLEMS = chains(32, seed=0, split="test")


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(CHECKPOINT)


@pytest.fixture
def model():
    return AutoModelForCausalLM.from_pretrained(CHECKPOINT)


def test_evaluation_leaves_no_trace(model, tokenizer):
    model.train()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    evaluate(model, tokenizer, PROBLEMS, seed=0)
    assert torch.equal(torch.rand(3), expected)
    assert model.training


def test_seed_decides_the_samples_alone(model, tokenizer):
    first, again, other = (evaluate(model, tokenizer, PROBLEMS, num_samples=4, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first["greedy_accuracy"] == other["greedy_accuracy"]
    assert first["sampled_accuracy"] != other["sampled_accuracy"]


def test_a_low_temperature_is_greedy(model, tokenizer):
    metrics = evaluate(model, tokenizer, PROBLEMS, temperature=1e-4, num_samples=3, seed=0)
    assert metrics["sampled_accuracy"] == metrics["majority_accuracy"] == metrics["greedy_accuracy"]
    assert "majority_accuracy" not in evaluate(model, tokenizer, PROBLEMS, seed=0)


def test_an_answer_without_end_of_text_does_not_count(model, tokenizer, monkeypatch):
    # one step takes two digits, `#`, two digits and `$`: at 5 tokens only the `$` is missing
    problems = [Chain(40, (("+", operand),)) for operand in range(1, 10)]
    assert evaluate(model, tokenizer, problems, temperature=1e-4, seed=0)["no_answer_rate"] == 0
    monkeypatch.setattr(Chain, "max_completion_tokens", 5)
    metrics = evaluate(model, tokenizer, problems, temperature=1e-4, seed=0)
    assert metrics["no_answer_rate"] == 1
    assert metrics["greedy_accuracy"] == 0


def test_the_accuracies_of_given_answers(model, tokenizer, monkeypatch):
    problem = Chain(40, (("+", 2),))  # 42
    samples = ["42", None, "41", "42", "41", "41", None, None]
    # of the greedy answers one is right, the other is missing
    monkeypatch.setattr(module, "_answers", lambda *_, do_sample, **__: samples if do_sample else ["42", None])
    assert evaluate(model, tokenizer, [problem] * 2, num_samples=4, seed=0) == {
        "greedy_accuracy": 0.5,
        "sampled_accuracy": 0.25,  # 2 of 8
        "no_answer_rate": 0.375,  # 3 of 8
        "majority_accuracy": 0.5,  # those without an answer have no vote: 42 wins, and 41
    }


def test_a_tie_counts_with_its_right_share(model, tokenizer, monkeypatch):
    monkeypatch.setattr(module, "_answers", lambda *_, do_sample, **__: ["42", "41"] if do_sample else ["42"])
    assert evaluate(model, tokenizer, [Chain(40, (("+", 2),))], num_samples=2, seed=0)["majority_accuracy"] == 0.5
    monkeypatch.setattr(module, "_answers", lambda *_, do_sample, **__: [None, None] if do_sample else [None])
    assert evaluate(model, tokenizer, [Chain(40, (("+", 2),))], num_samples=2, seed=0)["majority_accuracy"] == 0


def test_mistakes_are_named(model, tokenizer):
    with pytest.raises(ValueError, match="problems"):
        evaluate(model, tokenizer, [], seed=0)
    with pytest.raises(ValueError, match="temperature=0"):
        evaluate(model, tokenizer, PROBLEMS, temperature=0, seed=0)
    with pytest.raises(ValueError, match="num_samples=0"):
        evaluate(model, tokenizer, PROBLEMS, num_samples=0, seed=0)
