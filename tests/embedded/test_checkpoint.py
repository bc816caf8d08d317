from dataclasses import replace

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from mgrpo.embedded.build import build
from mgrpo.embedded.evaluate import evaluate
from mgrpo.embedded.model import CHECKPOINT, build_model, build_tokenizer
from mgrpo.embedded.problem import draw_problems
from mgrpo.embedded.starts import SHIPPED, STARTS
from mgrpo.embedded.swaps import Swaps
from mgrpo.embedded.task import PROBLEMS, chains


def test_checkpoint_is_small():
    sizes = {file.name: file.stat().st_size for file in CHECKPOINT.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= sizes.keys()
    assert sum(sizes.values()) < 2_000_000


def test_checkpoint_is_of_the_architecture_in_the_code():
    model = AutoModelForCausalLM.from_pretrained(CHECKPOINT)
    fresh = build_model()
    assert {name: weight.shape for name, weight in model.state_dict().items()} == {
        name: weight.shape for name, weight in fresh.state_dict().items()
    }
    assert sum(weight.numel() for weight in model.parameters()) == 102_912


@pytest.mark.parametrize(
    ("task", "tokenizer"),
    [
        ("chains", AutoTokenizer.from_pretrained(CHECKPOINT)),
        ("chains", build_tokenizer()),
        ("swaps", build_tokenizer(Swaps.alphabet)),
    ],
    ids=["shipped", "chains", "swaps"],
)
def test_tokenizer_round_trip(task, tokenizer):
    for problem in draw_problems(PROBLEMS[task], 50, seed=0, split="test"):
        text = problem.prompt + problem.write_completion(problem.states)
        ids = tokenizer(text)["input_ids"]
        assert len(ids) == len(text)
        assert tokenizer.decode(ids) == text
        assert tokenizer.decode(ids, skip_special_tokens=True) == text.removesuffix("$")


@pytest.mark.parametrize("is_shipped", [True, False])
def test_tokenizer_pads_on_the_left(is_shipped):
    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT) if is_shipped else build_tokenizer()
    batch = tokenizer(["1+2=", "10+2="], padding=True)
    assert batch["attention_mask"] == [[0, 1, 1, 1, 1], [1, 1, 1, 1, 1]]


def test_tokenizer_refuses_what_it_does_not_know():
    with pytest.raises(Exception, match="Missing"):
        build_tokenizer()("what is 1+1?")


def test_checkpoint_is_unsure_but_mostly_right():
    model = AutoModelForCausalLM.from_pretrained(CHECKPOINT)
    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
    metrics = evaluate(model, tokenizer, chains(256, seed=0, split="test"), seed=0)
    assert 0.7 < metrics["greedy_accuracy"] < 0.9
    assert 0.35 < metrics["sampled_accuracy"] < metrics["greedy_accuracy"] - 0.1
    assert metrics["no_answer_rate"] < 0.1


def test_build_is_reproducible(tmp_path):
    start = replace(STARTS[SHIPPED], num_steps=3)
    for name in ("first", "second", "other_seed"):
        build(start, tmp_path / name, seed=int(name == "other_seed"))
    files = {file.name for file in (tmp_path / "first").iterdir()}
    for file in files:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes(), file
    weights = "model.safetensors"
    assert (tmp_path / "first" / weights).read_bytes() != (tmp_path / "other_seed" / weights).read_bytes()
    assert files == {file.name for file in CHECKPOINT.iterdir()}


def test_build_needs_a_step(tmp_path):
    with pytest.raises(ValueError, match="num_steps=0"):
        build(replace(STARTS[SHIPPED], num_steps=0), tmp_path)
