"""Questions in the embedded model's tokens, one character each."""

from dataclasses import replace

import pytest

from mgrpo.errors import UserError
from mgrpo.evaluation.benchmark import Benchmark, answer_judge
from mgrpo.evaluation.prompts import digest_of_prompt, encode_questions, template_of
from mgrpo.evaluation.protocols import SamplingSettings
from mgrpo.evaluation.results import Source
from mgrpo.models.load import load_tokenizer
from mgrpo.tasks.task import Task

TASK = Task({"prompt": ["12+3=", " ", "47+8*3=", "1+1="], "answer": ["15", "1", "", "2"]}, extractor="number")


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("embedded")


def benchmark(task=TASK, harness=None):
    source = Source("lm-eval", "0.4.13", "a", None, None, None, "0" * 64)
    return Benchmark("mine", task, answer_judge(task), harness, source, None, "number, math")


def encode(tokenizer, context=None, **settings):
    return encode_questions(benchmark(), tokenizer, SamplingSettings(**{"max_tokens": 10, **settings}), context)


def test_questions_without_text_or_right_answer_are_no_rows(tokenizer):
    questions = encode(tokenizer)
    assert questions.rows == [0, 3]  # the second has no text, the third no right answer
    assert tokenizer.decode(questions.ids[0]).replace(" ", "") == "12+3="
    assert questions.gold[3] == "2" and questions.texts[0] == "12+3=" and not questions.is_chat


def test_prompt_and_completion_must_fit_into_the_context(tokenizer):
    longest = max(len(encode(tokenizer).ids[row]) for row in (0, 3))
    assert encode(tokenizer, context=longest + 10).rows == [0, 3]
    with pytest.raises(UserError, match="max_tokens is 10, .*mine.*set max_tokens to 9 or less"):
        encode(tokenizer, context=longest + 9)


def test_the_template_is_named():
    own = replace(TASK, prompt_template="Q: {prompt}")
    assert template_of(benchmark(own, harness=["a question"])) == "Q: {prompt}"
    assert template_of(benchmark(harness=["a question"])) == "lm-eval's own"
    assert template_of(benchmark()) == "{prompt}"


def test_prompts_are_told_apart_by_their_tokens():
    assert digest_of_prompt([1, 2]) == digest_of_prompt([1, 2]) != digest_of_prompt([12])
