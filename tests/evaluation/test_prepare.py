"""What is sampled in which batches, and where it is kept."""

from pathlib import Path
from types import SimpleNamespace

from mgrpo.evaluation.prepare import EvalSettings, Measurement, directory_name
from mgrpo.evaluation.protocols import SamplingSettings


def measurement(existing=(), k=2):
    # question 2 has no right answer, so it is no row; question 3 has the longest prompt
    questions = SimpleNamespace(rows=[0, 1, 3], ids=[[1], [1, 2], [], [1, 2, 3]])
    return Measurement(questions, SimpleNamespace(samples={place: f"sample {place}" for place in existing}), k)


def test_first_samples_come_first_and_long_prompts_before_short_ones():
    batches = [[(3, 0), (1, 0)], [(0, 0)], [(3, 1), (1, 1)], [(0, 1)]]
    assert list(measurement().missing(batch_size=2)) == batches
    assert measurement().longest_prompt == 3


def test_batches_do_not_depend_on_the_samples_that_exist():
    missing = measurement(existing=[(3, 0), (0, 0), (1, 1)]).missing(batch_size=2)
    assert list(missing) == [[(1, 0)], [(3, 1)], [(0, 1)]]


def test_only_as_many_samples_as_requested_are_taken():
    existing = [(row, number) for row in (0, 1, 3) for number in (0, 1)]
    found = measurement(existing, k=1)
    assert list(found.missing(batch_size=2)) == []
    assert found.samples() == [["sample (0, 0)"], ["sample (1, 0)"], ["sample (3, 0)"]]


def test_the_result_file_names_what_was_sampled_with():
    sampling = SamplingSettings(temperature=0.5, k=4, seed=3)
    used = EvalSettings("srt", "srt (changed)", sampling, "vllm", "bfloat16", 8, {"mgrpo": "1"}).used_protocol
    assert (used.name, used.temperature, used.seed) == ("srt (changed)", 0.5, 3)
    assert (used.engine, used.dtype, used.versions) == ("vllm", "bfloat16", {"mgrpo": "1"})


def test_directories_of_benchmarks():
    assert directory_name("math500") == "math500"
    assert directory_name("reasoning_gym:chain_sum") == "reasoning_gym-chain_sum"
    ways = {
        directory_name(name) for name in ("file:a/b.jsonl", "file:a-b.jsonl", "file:../b.jsonl", "file:" + "x" * 200)
    }
    assert len(ways) == 4 and all(Path(way).name == way and len(way) <= 70 for way in ways)
