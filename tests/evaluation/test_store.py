import json

import pytest

from mgrpo.errors import UserError
from mgrpo.evaluation.store import Sample, SampleStore

SETTINGS = {"model": {"name": "a"}, "temperature": 0.8, "chat": None}


def sample(question, number=0, completion="x"):
    return Sample(question, number, "p", completion, 1, True, "1", True, None)


def test_samples_are_there_again(tmp_path):
    SampleStore(tmp_path / "b", SETTINGS).append([sample(0), sample(1, completion="é\n\ud800")])
    store = SampleStore(tmp_path / "b", SETTINGS)
    assert store.samples == {(0, 0): sample(0), (1, 0): sample(1, completion="é\n\ud800")}
    store.append([sample(0, 1)])
    assert list(SampleStore(tmp_path / "b", SETTINGS).samples) == [(0, 0), (1, 0), (0, 1)]


def test_nothing_is_written_before_a_sample(tmp_path):
    SampleStore(tmp_path / "b", SETTINGS)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("num_lost", [1, 30])
def test_a_line_that_was_cut_off_is_sampled_again(tmp_path, num_lost):
    SampleStore(tmp_path, SETTINGS).append([sample(0), sample(1)])
    path = tmp_path / "samples.jsonl"
    path.write_bytes(path.read_bytes()[:-num_lost])
    store = SampleStore(tmp_path, SETTINGS)
    assert list(store.samples) == [(0, 0)]
    store.append([sample(1), sample(2)])
    assert list(SampleStore(tmp_path, SETTINGS).samples) == [(0, 0), (1, 0), (2, 0)]
    assert all(json.loads(line) for line in path.read_text().splitlines())


@pytest.mark.parametrize(
    "changed", [{"temperature": 1.0}, {"model": {"name": "b"}}, {"chat": "c"}, {"new": 1}], ids=lambda c: next(iter(c))
)
def test_other_settings_are_not_mixed_with(tmp_path, changed):
    SampleStore(tmp_path, SETTINGS).append([sample(0)])
    with pytest.raises(UserError, match=f"{next(iter(changed))} was .* and is .*output_dir"):
        SampleStore(tmp_path, {**SETTINGS, **changed})


def test_settings_that_cannot_be_read(tmp_path):
    SampleStore(tmp_path, SETTINGS).append([sample(0)])
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(UserError, match="settings.json .*output_dir"):
        SampleStore(tmp_path, SETTINGS)
