"""`mgrpo evaluate` on what a run leaves: the policy and the momentum model, at its end and at its checkpoints."""

import json
import shutil

import pytest
import torch
import yaml

from mgrpo.cli import main
from mgrpo.commands.evaluate import _evaluated_model
from mgrpo.commands.run_models import _select_models, find_models, load_run_model
from mgrpo.evaluation.protocols import apply_protocol
from mgrpo.evaluation.results import read_results
from mgrpo.evaluation.runner import EvalSettings
from mgrpo.models.load import load_model

ASKED = ["--benchmarks", "embedded:chains", "--limit", "6", "--k", "2", "--max_tokens", "14"]


def weights(model):
    return {name: weight.detach() for name, weight in model.named_parameters()}


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_the_momentum_model_of_a_checkpoint_is_the_one_that_was_saved_at_the_end(runs, kind):
    """The last checkpoint's momentum weights are those of `final/momentum`, and not the policy's."""
    loaded, _ = load_run_model(_select_models(runs[kind], "2")["checkpoint-2-momentum"], dtype="float32")
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
    assert "temperature was 0.8 and is 0.3" in (error := capsys.readouterr().err) and "output_dir" in error


@pytest.fixture
def trained_on_a_file(runs, tmp_path):
    """The run as if it had been trained on a file with a prompt template and an extractor of its own."""
    run = tmp_path / "run"
    shutil.copytree(runs["full"], run, ignore=shutil.ignore_patterns("evaluation"))
    recipe = yaml.safe_load((run / "config.yaml").read_text())
    recipe |= {"task": "file:train.jsonl", "eval_task": None, "prompt_template": "1+{prompt}"}
    recipe |= {"answer_extractor": "mgrpo.embedded.task:extract_answer", "answer_equivalence": "text"}
    (run / "config.yaml").write_text(yaml.safe_dump(recipe))
    (tmp_path / "mine.jsonl").write_text('{"prompt": "12+3=", "answer": "16"}\n{"prompt": "2+2=", "answer": "5"}\n')
    return run, ["evaluate", str(run), "--max_tokens", "14", "--k", "2", "--benchmarks"]


def test_a_task_of_the_run_s_kind_is_asked_as_in_training(trained_on_a_file, tmp_path, capsys):
    run, evaluate = trained_on_a_file
    mine = f"file:{tmp_path / 'mine.jsonl'}"
    assert main([*evaluate, mine, "embedded:chains", "--limit", "4"]) == 0
    error = capsys.readouterr().err
    assert error == f"{mine} is asked as in training: prompt_template, answer_extractor, answer_equivalence of {run}\n"
    found = read_results(run / "evaluation" / "final").benchmarks
    assert (found[mine].template, found[mine].equivalence) == ("1+{prompt}", "text")
    assert found[mine].metrics["no_answer_rate"].value == 0
    assert found["embedded:chains"].template == "{prompt}"  # of another kind: as it is asked anywhere
    assert main([*evaluate, mine, "--prompt_template", "0+{prompt}", "--output_dir", str(tmp_path / "other")]) == 0
    assert read_results(tmp_path / "other" / "final").benchmarks[mine].template == "0+{prompt}"


def test_completions_without_an_answer_are_reported(trained_on_a_file, tmp_path, capsys):
    _, evaluate = trained_on_a_file
    assert main([*evaluate, f"file:{tmp_path / 'mine.jsonl'}", "--answer_extractor", "boxed"]) == 0
    assert (
        "mine.jsonl: 100% of the completions have no answer that the extractor boxed finds" in capsys.readouterr().err
    )


def test_tables_have_what_this_call_measured_and_nothing_older(runs, tmp_path, capsys):
    (tmp_path / "mine.jsonl").write_text('{"prompt": "12+3=", "answer": "15"}\n')
    evaluate = ["evaluate", str(runs["full"]), "--max_tokens", "14", "--k", "1", "--output_dir", str(tmp_path / "out")]
    assert main([*evaluate, "--benchmarks", "embedded:chains", "--limit", "3", "--checkpoints", "1"]) == 0
    assert main([*evaluate, "--benchmarks", "embedded:chains", f"file:{tmp_path / 'mine.jsonl'}", "--limit", "2"]) == 0
    capsys.readouterr()
    assert main([*evaluate, "--benchmarks", "embedded:chains", "--limit", "4"]) == 0
    said = capsys.readouterr().out
    assert "mean of" not in said and "mine" not in said and "checkpoint-1" not in said
    assert "Only the first questions: 4 of embedded:chains." in said and "Not measured alike" not in said


def test_which_checkpoints(runs):
    def labels(which):
        return list(_select_models(runs["full"], which))

    assert labels("final") == ["final", "final-momentum"]
    assert labels("last") == labels("2") == ["checkpoint-2", "checkpoint-2-momentum"]
    assert labels("initial,1") == ["initial", "checkpoint-1", "checkpoint-1-momentum"]


@pytest.mark.parametrize(
    ("location", "label", "weights"),
    [
        ("final", "final", "policy"),
        ("final/momentum", "final-momentum", "momentum"),
        ("checkpoint-1", "checkpoint-1", "policy"),
    ],
)
def test_a_model_in_a_run_is_known_for_what_it_is(runs, location, label, weights):
    run, models = find_models(str(runs["full"] / location), "final")
    assert (run, {name: model.weights for name, model in models.items()}) == (runs["full"], {label: weights})


def test_vllm_measures_one_model_at_a_time(runs, capsys, monkeypatch):
    monkeypatch.setattr("mgrpo.commands.evaluate.check_engine", lambda name: None)
    assert main(["evaluate", str(runs["full"]), *ASKED, "--engine", "vllm"]) == 2
    error = capsys.readouterr().err
    assert "engine is vllm" in error and "one at a time" in error


def test_weights_are_told_apart(runs):
    sampling, used = apply_protocol("greedy", {}, engine="transformers", dtype="auto", versions={})
    eval_settings = EvalSettings("greedy", sampling, used, 8)
    options = {"revision": None, "trust_remote_code": False, "base_model": None}
    found = _select_models(runs["full"], "1,final").items()
    models = [_evaluated_model(label, model, eval_settings, options) for label, model in found]
    identities = {json.dumps(model.identity["files"]) for model in models}
    assert len(identities) == 3  # both models of a checkpoint lie in one directory


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["embedded", "--benchmarks", "math50"], ["'math50'", "did you mean 'math500'?"]),
        (["embedded", *ASKED, "--protocol", "grpo"], ["'grpo'", "did you mean 'm-grpo'?"]),
        (["embedded", *ASKED, "--engine", "tgi"], ["engine 'tgi'", "transformers, vllm"]),
        (["embedded", *ASKED, "--k", "four"], ["the command line sets k to 'four'", "a whole number"]),
        (["embedded", *ASKED, "--max_tokens", "4000"], ["max_tokens is 4000", "set max_tokens to"]),
        (["embedded", *ASKED, "--checkpoints", "all"], ["checkpoints is all", "leave it out"]),
        (["embedded", *ASKED, "--export", "table.pdf"], ["table.pdf", ".md", ".tex"]),
        (["nowhere/here/model", *ASKED], ["nowhere/here/model", "does not exist"]),
        (["embedded", "--benchmarks", "math500", "--data", "nowhere"], ["data is ", "nowhere, which does not exist"]),
        (["embedded", *ASKED, "--batch_size", "0"], ["batch_size is 0", "1 or more"]),
        (["embedded", *ASKED, "--dtype", "int8"], ["dtype='int8'", "bfloat16"]),
    ],
)
def test_mistakes_are_told_in_a_sentence_before_a_model_is_loaded(capsys, monkeypatch, tmp_path, arguments, parts):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mgrpo.commands.run_models.load_model", None)
    assert main(["evaluate", *arguments]) == 2
    output = capsys.readouterr()
    assert all(part in output.err for part in parts)
    assert len(output.err.splitlines()) == 1 and output.out == ""
    assert not any(tmp_path.iterdir())


def test_a_run_without_the_checkpoint(runs, capsys):
    assert main(["evaluate", str(runs["full"]), *ASKED, "--checkpoints", "7"]) == 2
    error = capsys.readouterr().err
    assert "checkpoint '7'" in error and "it has 1, 2" in error and "last, all" in error


def test_an_evaluation_moves_with_its_run(runs, tmp_path, monkeypatch, capsys):
    """Its samples are found and not sampled again."""
    run = shutil.copytree(runs["lora"], tmp_path / "run")
    assert main(["evaluate", str(run), *ASKED]) == 0
    moved = run.rename(tmp_path / "moved")
    monkeypatch.chdir(moved)
    monkeypatch.setattr("mgrpo.commands.evaluate.load_run_model", None)
    assert main(["evaluate", ".", *ASKED]) == 0
    assert sorted(path.name for path in (moved / "evaluation").iterdir()) == ["final", "final-momentum"]
    assert main(["evaluate", "final/momentum", *ASKED]) == 0
