"""Verdicts on answers, what the user's settings change, and questions in the embedded model's tokens."""

from dataclasses import replace

import pytest

from mgrpo.errors import UserError
from mgrpo.evaluation.benchmark import (
    Benchmark,
    Verdict,
    answer_judge,
    as_asked,
    digest_of_prompt,
    digest_of_questions,
    encode_questions,
    installed_version,
    template_of,
)
from mgrpo.evaluation.protocols import SamplingSettings
from mgrpo.evaluation.results import Source
from mgrpo.models.load import load_tokenizer
from mgrpo.tasks.task import Task

TASK = Task({"prompt": ["1+1=", "2+2="], "answer": ["2", "4"]}, extractor="number", equivalence="number")
ASKED = Task({"prompt": ["12+3=", " ", "47+8*3=", "1+1="], "answer": ["15", "1", "", "2"]}, extractor="number")


def test_answers_are_read_and_compared_with_gold():
    judge = answer_judge(TASK)
    assert judge(["it is 2.0", "5", "nothing"], ["2", 4, "4"]) == [
        Verdict("2.0", True),
        Verdict("5", False),
        Verdict(None, False),
    ]


def scored_by(score):
    return answer_judge(Task(TASK.columns, extractor="number", score=score))


def test_the_task_s_own_scorer_decides_and_never_sees_a_missing_answer():
    seen = []

    def score(answers, gold):
        seen.extend(answers)
        return [int(answers[0]) % gold == 0]

    verdicts = scored_by(score)(["6", "nothing", "7"], [3, 3, 3])
    assert [verdict.is_right for verdict in verdicts] == [True, False, False]
    assert seen == ["6", "7"]


def test_a_scorer_gives_one_verdict_for_each_answer():
    with pytest.raises(UserError, match="2 verdicts"):
        scored_by(lambda answers, gold: [True, True])(["6"], [3])


def test_an_unknown_extractor_is_refused_before_anything_is_sampled():
    with pytest.raises(UserError, match="'numbr'"):
        answer_judge(Task(TASK.columns, extractor="numbr"))


def test_the_user_s_settings_override_the_benchmark_s_own():
    asked = as_asked(TASK, SamplingSettings(prompt_template="Q: {prompt}", conversational=True))
    assert (asked.prompt_template, asked.conversational, asked.extractor) == ("Q: {prompt}", True, "number")


def test_the_digest_is_of_the_questions_alone():
    other_reading = Task(TASK.columns, extractor="boxed")
    other_answer = Task({**TASK.columns, "answer": ["2", "5"]})
    assert digest_of_questions(TASK) == digest_of_questions(other_reading) != digest_of_questions(other_answer)


def test_versions():
    assert installed_version("torch") and installed_version("no-such-package") is None


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("embedded")


def benchmark(task=ASKED, harness=None, **settings):
    source = Source("lm-eval", "0.4.13", "a", None, None, None, "0" * 64)
    asked = SamplingSettings(**{"max_tokens": 10, **settings})
    return Benchmark("mine", task, answer_judge(task), harness, source, None, "number, math", asked)


def encode(tokenizer, context=None, **settings):
    return encode_questions(benchmark(**settings), tokenizer, context)


def test_questions_without_text_or_right_answer_are_no_rows(tokenizer):
    questions = encode(tokenizer)
    assert questions.rows == [0, 3]  # the second has no text, the third no right answer
    assert tokenizer.decode(questions.ids[0]).replace(" ", "") == "12+3="
    assert questions.gold[3] == "2" and questions.texts[0] == "12+3=" and not questions.is_chat


@pytest.mark.parametrize(("of_task", "is_chat"), [(None, True), (True, True), (False, False)])
def test_the_chat_template_is_used_unless_the_task_rules_it_out(tokenizer, monkeypatch, of_task, is_chat):
    monkeypatch.setattr(tokenizer, "chat_template", "{{ messages[0]['content'] }}")
    task = replace(ASKED, conversational=of_task)
    assert encode_questions(benchmark(task), tokenizer, None).is_chat == is_chat


def test_prompt_and_completion_must_fit_into_the_context(tokenizer):
    longest = max(len(encode(tokenizer).ids[row]) for row in (0, 3))
    assert encode(tokenizer, context=longest + 10).rows == [0, 3]
    with pytest.raises(UserError, match="max_tokens is 10, .*mine.*set max_tokens to 9 or less"):
        encode(tokenizer, context=longest + 9)


def test_the_template_is_named():
    own = replace(ASKED, prompt_template="Q: {prompt}")
    assert template_of(benchmark(own, harness=["a question"])) == "Q: {prompt}"
    assert template_of(benchmark(harness=["a question"])) == "lm-eval's own"
    assert template_of(benchmark()) == "{prompt}"


def test_prompts_are_told_apart_by_their_tokens():
    assert digest_of_prompt([1, 2]) == digest_of_prompt([1, 2]) != digest_of_prompt([12])
