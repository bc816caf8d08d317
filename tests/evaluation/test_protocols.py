import pytest

from mgrpo.errors import UserError
from mgrpo.evaluation.protocols import PROTOCOLS, SamplingSettings, apply_protocol, num_samples


def applied(protocol, overrides):
    return apply_protocol(protocol, overrides, engine="vllm", dtype="bfloat16", versions={"mgrpo": "1"})


def test_the_paper_s_protocol():
    settings, _ = applied("m-grpo", {})
    assert (settings.temperature, settings.max_tokens) == (0.8, 3072)
    benchmarks = ("math500", "aime24", "aime25", "gpqa_diamond", "mmlu_pro")
    assert [num_samples("m-grpo", settings, benchmark) for benchmark in benchmarks] == [4, 8, 8, 8, 1]


@pytest.mark.parametrize(("name", "temperature", "k"), [("greedy", 0.0, 1), ("srt", 1.0, 32), ("ttrl", 0.6, 16)])
def test_the_others(name, temperature, k):
    settings, _ = applied(name, {})
    assert (settings.temperature, num_samples(name, settings, "math500")) == (temperature, k)


def test_what_is_given_wins_and_the_title_says_so():
    assert applied("m-grpo", {"temperature": 0.8, "seed": 3})[1].name == "m-grpo"  # another seed only
    settings, used = applied("m-grpo", {"temperature": 0.5, "k": 2, "seed": 3})
    assert (used.name, used.temperature, used.top_p, used.max_tokens, used.seed) == (
        "m-grpo (changed)",
        0.5,
        1,
        3072,
        3,
    )
    assert (used.engine, used.dtype, used.versions) == ("vllm", "bfloat16", {"mgrpo": "1"})
    assert (settings.temperature, num_samples("m-grpo", settings, "math500")) == (0.5, 2)
    assert applied("greedy", {})[0] == PROTOCOLS["greedy"].settings


def test_greedy_samples_are_one():
    assert num_samples("srt", applied("srt", {"temperature": 0.0})[0], "math500") == 1
    with pytest.raises(UserError, match="k is 4 .*temperature"):
        applied("greedy", {"k": 4})


@pytest.mark.parametrize(
    ("field", "value"), [("temperature", -1.0), ("top_p", 0.0), ("top_p", 1.5), ("max_tokens", 0), ("k", 0)]
)
def test_values_that_cannot_be(field, value):
    with pytest.raises(UserError, match=f"{field} is {value}"):
        SamplingSettings(**{field: value})


def test_no_such_protocol():
    with pytest.raises(UserError, match=r"'mgrpo' .*'m-grpo'"):
        applied("mgrpo", {})
