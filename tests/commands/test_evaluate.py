"""`mgrpo evaluate` on what a run leaves: the policy and the momentum model, at its end and at its checkpoints."""

import json

import pytest
import torch

from mgrpo.cli import main
from mgrpo.commands.evaluate import _find_places, _load_beside, _places_in_run, _subject
from mgrpo.evaluation.prepare import EvalSettings
from mgrpo.evaluation.protocols import Settings
from mgrpo.evaluation.results import read_results
from mgrpo.models.load import load_model

SMALL = ["--max_steps", "2", "--logging_steps", "1", "--eval_strategy", "no", "--save_steps", "1", "--quiet"]
SMALL += ["--probe_prompts", "4"]
ASKED = ["--benchmarks", "embedded:chains", "--limit", "6", "--k", "2", "--max_tokens", "14"]
LORA = ["--use_peft", "true", "--lora_r", "4", "--lora_target_modules", "q_proj", "v_proj", "--share_prompts", "false"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run that trained all weights, and one that trained an adapter."""
    directory = tmp_path_factory.mktemp("runs")
    for name, more in (("full", []), ("lora", LORA)):
        assert main(["train", "--config", "embedded", *SMALL, *more, "--output_dir", str(directory / name)]) == 0
    return {name: directory / name for name in ("full", "lora")}


def weights(model):
    return {name: weight.detach() for name, weight in model.named_parameters()}


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_the_momentum_model_of_a_checkpoint_is_the_one_that_was_saved_at_the_end(runs, kind):
    """The last checkpoint's momentum weights are those of `final/momentum`, and not the policy's."""
    loaded, _ = _load_beside(str(runs[kind] / "checkpoint-2"), dtype="float32")
    expected, _ = load_model(str(runs[kind] / "final" / "momentum"))
    policy, _ = load_model(str(runs[kind] / "final"))
    assert weights(loaded).keys() == weights(expected).keys()
    for name, weight in weights(loaded).items():
        torch.testing.assert_close(weight, weights(expected)[name], atol=1e-7, rtol=1e-6)
    differing = [name for name, weight in weights(policy).items() if not torch.equal(weight, weights(loaded)[name])]
    assert differing


def test_both_models_of_a_run_side_by_side(runs, capsys):
    export = runs["full"] / "table.md"
    assert main(["evaluate", str(runs["full"]), *ASKED, "--checkpoints", "all", "--export", str(export)]) == 0
    output = capsys.readouterr()
    labels = ["checkpoint-1", "checkpoint-1-momentum", "checkpoint-2", "checkpoint-2-momentum"]
    labels += ["final", "final-momentum"]
    evaluation = runs["full"] / "evaluation"
    assert sorted(path.name for path in evaluation.iterdir()) == labels
    found = {label: read_results(evaluation / label) for label in labels}
    assert [found[label].model.weights for label in labels] == ["policy", "momentum"] * 3
    assert [found[label].model.step for label in labels] == [1, 1, 2, 2, 2, 2]
    value = {label: found[label].benchmarks["embedded:chains"].headline.value for label in labels}
    assert value["checkpoint-2"] == value["final"]  # the same weights by the same seeds
    assert all(label in output.out for label in labels) and "final-momentum" in export.read_text()
    assert output.err == ""  # no terminal, no bar


def test_a_second_benchmark_joins_the_first_and_another_protocol_does_not(tmp_path, capsys):
    (tmp_path / "mine.jsonl").write_text('{"prompt": "12+3=", "answer": "15"}\n')
    mine, output = f"file:{tmp_path / 'mine.jsonl'}", tmp_path / "out"
    arguments = ["evaluate", "embedded", "--limit", "2", "--max_tokens", "14", "--output_dir", str(output)]
    assert main([*arguments, "--benchmarks", "embedded:chains"]) == 0
    assert main([*arguments, "--benchmarks", mine]) == 0
    assert list(read_results(output).benchmarks) == ["embedded:chains", mine]
    assert main([*arguments, "--benchmarks", mine, "--temperature", "0.3"]) == 2
    assert "temperature was 0.8 and is 0.3; give another output_dir" in capsys.readouterr().err


def test_which_checkpoints(runs):
    def labels(which):
        return [label for label, *_ in _places_in_run(runs["full"], which)]

    assert labels("final") == ["final", "final-momentum"]
    assert labels("last") == labels("2") == ["checkpoint-2", "checkpoint-2-momentum"]
    assert labels("initial,1") == ["initial", "checkpoint-1", "checkpoint-1-momentum"]


@pytest.mark.parametrize(
    ("place", "label", "weights"),
    [
        ("final", "final", "policy"),
        ("final/momentum", "final-momentum", "momentum"),
        ("checkpoint-1", "checkpoint-1", "policy"),
    ],
)
def test_a_model_in_a_run_is_known_for_what_it_is(runs, place, label, weights):
    run, places = _find_places(str(runs["full"] / place), "final")
    assert run == runs["full"]
    assert [(its_label, its_weights) for its_label, _, its_weights, _ in places] == [(label, weights)]


def test_vllm_measures_one_model_at_a_time(runs, capsys, monkeypatch):
    monkeypatch.setattr("mgrpo.commands.evaluate.check_engine", lambda name: None)
    assert main(["evaluate", str(runs["full"]), *ASKED, "--engine", "vllm"]) == 2
    assert "starts once in a process" in capsys.readouterr().err


def test_weights_are_told_apart(runs):
    how = EvalSettings("greedy", "greedy", Settings(), "transformers", "auto", 8)
    options = {"revision": None, "trust_remote_code": False}
    subjects = [_subject(place, how, options) for place in _places_in_run(runs["full"], "1,final")]
    identities = {json.dumps(subject.identity["files"]) for subject in subjects}
    assert len(identities) == 3  # both models of a checkpoint lie in one directory


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["embedded", "--benchmarks", "math50"], "no benchmark 'math50' (did you mean 'math500'?)"),
        (["embedded", *ASKED, "--protocol", "grpo"], "no protocol 'grpo' (did you mean 'm-grpo'?)"),
        (["embedded", *ASKED, "--engine", "tgi"], "no engine 'tgi'"),
        (["embedded", *ASKED, "--k", "four"], "--k is 'four'; give a whole number"),
        (["embedded", *ASKED, "--max_tokens", "4000"], "max_tokens is 4000, and with the longest prompt"),
        (["embedded", *ASKED, "--checkpoints", "all"], "embedded is no run's directory"),
        (["embedded", *ASKED, "--export", "table.pdf"], "table.pdf ends with neither .md nor .tex"),
        (["nowhere/here/model", *ASKED], "does not exist"),
        (["embedded", "--benchmarks", "math500", "--data", "nowhere"], "data is nowhere, which does not exist"),
        (["embedded", *ASKED, "--batch_size", "0"], "batch_size is 0"),
        (["embedded", *ASKED, "--dtype", "int8"], "dtype='int8'"),
    ],
)
def test_mistakes_are_told_in_a_sentence_before_a_model_is_loaded(capsys, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mgrpo.commands.evaluate.load_model", None)
    assert main(["evaluate", *arguments]) == 2
    output = capsys.readouterr()
    assert message in output.err and len(output.err.splitlines()) == 1 and output.out == ""
    assert not any(tmp_path.iterdir())


def test_a_run_without_the_checkpoint(runs, capsys):
    assert main(["evaluate", str(runs["full"]), *ASKED, "--checkpoints", "7"]) == 2
    assert "has no checkpoint '7' (it has 1, 2); write some of these" in capsys.readouterr().err
