"""How lm-evaluation-harness loads, shuffles and refuses small local copies."""

import pytest

from mgrpo.errors import UserError
from mgrpo.evaluation.benchmarks import load_benchmark
from mgrpo.evaluation.protocols import SamplingSettings

needs_harness = pytest.mark.usefixtures("harness")
GPQA = {f"Incorrect Answer {i}": f"wrong {i}" for i in (1, 2, 3)} | {"Question": "Which?", "Correct Answer": "right"}


@needs_harness
def test_gpqa_s_options_are_shuffled_by_the_seed(write, judged):
    path = write(*[GPQA] * 16)
    benchmark = load_benchmark("gpqa_diamond", SamplingSettings(), data=path)
    letters = benchmark.task.columns["answer"]
    assert set(letters) == set("ABCD")
    assert list(load_benchmark("gpqa_diamond", SamplingSettings(), data=path).task.columns["answer"]) == list(letters)
    assert (
        list(load_benchmark("gpqa_main", SamplingSettings(dataset_seed=1), data=path).task.columns["answer"])
        != letters
    )
    for row, letter in enumerate(letters[:4]):
        assert f"({letter}) right" in benchmark.task.columns["prompt"][row]
        assert judged(benchmark, f"I say ({letter}).", row) == (True, True)


@needs_harness
def test_subjects_take_turns(write):
    def row(category, text):
        return {"question": text, "options": ["1", "2"], "answer": "A", "answer_index": 0, "category": category}

    rows = [row("biology", f"b{i}") for i in range(3)] + [row("math", "m0")]
    prompts = load_benchmark("mmlu_pro", SamplingSettings(), data=write(*rows), limit=2).task.columns["prompt"]
    assert ["b0" in prompts[0], "m0" in prompts[1]] == [True, True]
    assert "about math" in prompts[1]  # the library's description of the subject


def test_the_library_is_not_installed(write, monkeypatch):
    monkeypatch.setattr("mgrpo.evaluation.harness.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "mgrpo\[eval\]"'):
        load_benchmark("aime24", SamplingSettings(), data=write({"Problem": "1+1?", "Answer": 2}))


@needs_harness
def test_a_data_set_that_cannot_be_had():
    with pytest.raises(UserError, match="'openai/gsm8k' .*--data"):
        load_benchmark("gsm8k", SamplingSettings())
    with pytest.raises(UserError, match="gated: .*hf auth login"):
        load_benchmark("gpqa_diamond", SamplingSettings())
