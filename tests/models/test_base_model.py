"""An adapter's base: recorded with the run, found where the run is now, and compared by its weights."""

import json
import shutil

import pytest

from mgrpo.errors import UserError
from mgrpo.models.base_model import BLOCK_BYTES, NUM_BLOCKS, base_model_record, digest_of_weights, read_base_model
from mgrpo.models.source import absolute_name, find_model


def write_model(directory, weights=b"weights"):
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(weights)
    return directory


@pytest.fixture
def write_run(tmp_path):
    """Writes a run of an adapter over a base; of an earlier version, it has no record of it."""

    def write(base, *, is_recorded=True, stored=None):
        run = tmp_path / "run"
        for adapter in (run / "final", run / "final" / "momentum", run / "checkpoint-2"):
            adapter.mkdir(parents=True)
            config = {"base_model_name_or_path": str(stored or base)}
            (adapter / "adapter_config.json").write_text(json.dumps(config))
        if is_recorded:
            record = base_model_record(str(base), str(base), None, run)
            (run / "environment.json").write_text(json.dumps({"base_model": record}))
        return run

    return write


@pytest.mark.parametrize("place", [0, BLOCK_BYTES * 100, BLOCK_BYTES * 200 - 1])
def test_a_digest_tells_weights_apart_wherever_they_are(tmp_path, place):
    weights = bytearray(BLOCK_BYTES * 200)
    model, copy = (write_model(tmp_path / name, weights) for name in ("model", "copy"))
    assert digest_of_weights(model) == digest_of_weights(copy)
    # training changes weights everywhere; so much of them that a block must see it
    for number in range(place, min(place + 4 * BLOCK_BYTES, len(weights))):
        weights[number] = 1
    (copy / "model.safetensors").write_bytes(weights)
    assert digest_of_weights(model) != digest_of_weights(copy)


def test_a_small_file_is_read_as_a_whole(tmp_path):
    weights = bytearray(BLOCK_BYTES * NUM_BLOCKS)
    model = write_model(tmp_path / "model", weights)
    digests = {digest_of_weights(model)}
    for place in (1, BLOCK_BYTES, BLOCK_BYTES * 31 + 7, len(weights) - 1):
        changed = weights.copy()
        changed[place] = 1
        (model / "model.safetensors").write_bytes(changed)
        digests.add(digest_of_weights(model))
    assert len(digests) == 5


@pytest.mark.parametrize("adapter", ["final", "final/momentum", "checkpoint-2"])
@pytest.mark.parametrize("is_recorded", [True, False])
def test_a_base_inside_its_run_is_found_where_the_run_is(tmp_path, write_run, adapter, is_recorded):
    base = write_model(tmp_path / "run" / "initial")
    write_run(base, is_recorded=is_recorded, stored=None if is_recorded else "runs/mine/initial")
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    assert find_model(str(moved / adapter)).base == str(moved / "initial")


def test_the_copy_of_a_run_has_its_own_base(tmp_path, write_run):
    run = write_run(write_model(tmp_path / "run" / "initial"))
    copy = shutil.copytree(run, tmp_path / "copy")
    assert find_model(str(copy / "final")).base == str(copy / "initial")


def test_a_base_elsewhere_is_found_from_any_directory(tmp_path, write_run, monkeypatch):
    base = write_model(tmp_path / "models" / "base")
    moved = write_run(base).rename(tmp_path / "moved")
    monkeypatch.chdir(moved / "final")
    assert find_model("momentum").base == find_model("../checkpoint-2").base == str(base)


def test_a_missing_base_is_named_and_can_be_given(tmp_path, write_run):
    base = write_model(tmp_path / "base")
    adapter = str(write_run(base) / "final")
    moved = base.rename(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=rf"was trained on {base}, which is not there; .*--base_model"):
        find_model(adapter)
    assert find_model(adapter, str(moved)).base == str(moved)
    with pytest.raises(UserError, match="the model directory '/no/such/base' does not exist"):
        find_model(adapter, "/no/such/base")


def test_another_base_is_refused(tmp_path, write_run):
    base, other = write_model(tmp_path / "base"), write_model(tmp_path / "other", b"WEIGHTS")
    adapter = str(write_run(base) / "final")
    with pytest.raises(UserError, match=rf"{other} is not the base model .* its weights differ from those recorded"):
        find_model(adapter, str(other))
    (base / "model.safetensors").write_bytes(b"weightS")
    with pytest.raises(UserError, match=f"{base} is not the base model"):
        find_model(adapter)


def test_an_embedded_base_is_found_by_its_name(tmp_path, write_run):
    """On another machine the package is elsewhere."""
    run = write_run("embedded", is_recorded=False, stored="/another/machine/mgrpo/embedded/checkpoint")
    record = base_model_record("embedded", find_model("embedded").location, None, run)
    (run / "environment.json").write_text(json.dumps({"base_model": record}))
    assert find_model(str(run / "final")).base == find_model("embedded").location


def test_a_base_on_the_hub_keeps_its_commit(write_run):
    run = write_run("owner/model", is_recorded=False)
    record = base_model_record("owner/model", "owner/model", "abc", run)
    assert (record["digest"], record["path"]) == (None, None)
    (run / "environment.json").write_text(json.dumps({"base_model": record}))
    source = find_model(str(run / "final"))
    assert (source.base, source.base_commit) == ("owner/model", "abc")


@pytest.mark.parametrize("text", ["", "[]", '{"base_model": 1}', '{"base_model": null}', "{"])
def test_what_is_no_record_is_none(tmp_path, text):
    (tmp_path / "environment.json").write_text(text)
    assert read_base_model(tmp_path) == read_base_model(tmp_path / "nowhere") == {}


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_an_adapter_that_names_no_base(tmp_path, text):
    (tmp_path / "adapter_config.json").write_text(text)
    with pytest.raises(UserError, match="adapter_config.json does not name the adapter's base model"):
        find_model(str(tmp_path))


def test_names_that_are_the_same_in_every_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    write_model(tmp_path / "owner" / "here")
    (tmp_path / "embedded").mkdir()
    for name in ("embedded", "embedded:chains-large", "smollm2", "owner/model", "model"):
        assert absolute_name(name) == name
    assert absolute_name("owner/here") == str(tmp_path / "owner" / "here")
    assert absolute_name("./model") == str(tmp_path / "model")
    assert absolute_name("~/models/a") == "/home/me/models/a"
