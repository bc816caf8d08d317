import pytest

from mgrpo.errors import UserError
from mgrpo.evaluation.protocols import PROTOCOLS, SamplingSettings, apply_protocol, num_samples


def test_the_paper_s_protocol():
    _, settings = apply_protocol("m-grpo", {})
    assert (settings.temperature, settings.max_tokens) == (0.8, 3072)
    benchmarks = ("math500", "aime24", "aime25", "gpqa_diamond", "mmlu_pro")
    assert [num_samples("m-grpo", settings, benchmark) for benchmark in benchmarks] == [4, 8, 8, 8, 1]


@pytest.mark.parametrize(("name", "temperature", "k"), [("greedy", 0.0, 1), ("srt", 1.0, 32), ("ttrl", 0.6, 16)])
def test_the_others(name, temperature, k):
    _, settings = apply_protocol(name, {})
    assert (settings.temperature, num_samples(name, settings, "math500")) == (temperature, k)


def test_what_is_given_wins_and_the_title_says_so():
    assert apply_protocol("m-grpo", {"temperature": 0.8, "seed": 3})[0] == "m-grpo"  # another seed only
    title, settings = apply_protocol("m-grpo", {"temperature": 0.5, "k": 2})
    assert title == "m-grpo (changed)"
    assert (settings.temperature, num_samples("m-grpo", settings, "math500")) == (0.5, 2)
    assert apply_protocol("greedy", {})[1] == PROTOCOLS["greedy"].settings


def test_greedy_samples_are_one():
    assert num_samples("srt", apply_protocol("srt", {"temperature": 0.0})[1], "math500") == 1
    with pytest.raises(UserError, match="k is 4 .*temperature"):
        apply_protocol("greedy", {"k": 4})


@pytest.mark.parametrize(
    ("field", "value"), [("temperature", -1.0), ("top_p", 0.0), ("top_p", 1.5), ("max_tokens", 0), ("k", 0)]
)
def test_values_that_cannot_be(field, value):
    with pytest.raises(UserError, match=f"{field} is {value}"):
        SamplingSettings(**{field: value})


def test_no_such_protocol():
    with pytest.raises(UserError, match=r"'mgrpo' .*'m-grpo'"):
        apply_protocol("mgrpo", {})
