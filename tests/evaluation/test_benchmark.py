"""Verdicts on answers, and what of a benchmark the user's settings change."""

import pytest

from mgrpo.errors import UserError
from mgrpo.evaluation.benchmark import Verdict, answer_judge, as_asked, digest_of_questions, installed_version
from mgrpo.evaluation.protocols import SamplingSettings
from mgrpo.tasks.task import Task

TASK = Task({"prompt": ["1+1=", "2+2="], "answer": ["2", "4"]}, extractor="number", equivalence="number")


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
