import json
import os
import subprocess
import sys

import pytest

from mgrpo import __version__
from mgrpo.cli import _parser, main
from mgrpo.commands import build_trainer
from mgrpo.commands import train as run

RECIPE = """\
output_dir: out
model_name_or_path: embedded
task: file:data.jsonl
answer_extractor: mgrpo.embedded.task:extract_answer
answer_equivalence: text
num_generations: 4
num_momentum_generations: 2
per_device_train_batch_size: 8
gradient_accumulation_steps: 1
max_completion_length: 14
iqr_multiplier: none
max_steps: 1
use_cpu: true
bf16: false
gradient_checkpointing: false
report_to: none
"""
QUESTION = "3+4="


class Loaded(Exception):
    """What a test's run ends with when it gets as far as to load something it should not."""


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """An empty working directory with a recipe and its data; no model can be loaded."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(RECIPE)
    rows = [{"prompt": QUESTION, "answer": "7"}, {"prompt": f"{QUESTION} Why?", "answer": "7"}]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setattr(build_trainer, "load_model", load_nothing)
    return tmp_path


def load_nothing(*args, **kwargs):
    raise Loaded


@pytest.fixture
def refused(capsys, workplace):
    """Runs `mgrpo train --config mine.yaml` with arguments; returns the sentence that it was refused with."""

    def train(*arguments, config="mine.yaml"):
        assert main(["train", "--config", config, *arguments]) == 2
        output = capsys.readouterr()
        assert output.out == ""
        lines = output.err.splitlines()
        assert len(lines) == 1 and lines[0].startswith("mgrpo: ") and lines[0][-1] in ".?"
        return lines[0].replace(f"{workplace}/", "")

    return train


def test_the_recipe_of_these_tests_gets_as_far_as_the_model():
    with pytest.raises(Loaded):
        main(["train", "--config", "mine.yaml"])


# The recipe.


def test_missing_recipe(refused):
    assert "there is no recipe embeded; did you mean embedded?" in refused(config="embeded")
    assert "there is no recipe min.yaml; did you mean mine.yaml?" in refused(config="min.yaml")
    assert "built-in recipes: embedded" in refused(config="qqqq")


def test_a_mistyped_path_is_no_built_in_recipe(refused):
    assert "there is no recipe elsewhere/embedded.yaml" in refused(config="elsewhere/embedded.yaml")


def test_directory_as_recipe(refused, workplace):
    (workplace / "adir").mkdir()
    assert "adir is a directory; name the recipe file in it" in refused(config="adir")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1,\nb: }", "broken.yaml cannot be read: it is no valid YAML: "),
        (b"- a\n- b\n", "broken.yaml must be a flat mapping of fields, one `field: value` a line"),
        (b"", "must be a flat mapping"),
        (b"a: \xff", "broken.yaml cannot be read: byte 3 is not UTF-8"),
        (b"env: OMP_NUM_THREADS\n", "broken.yaml sets env to 'OMP_NUM_THREADS', but it must be a mapping"),
        (b"env: [1]\n", "sets env to [1], but it must be a mapping"),
        (b"training:\n  seed: 1\n", "broken.yaml sets training, but there is no such field"),
        (b"seed: 1\n", "broken.yaml does not set output_dir; add it there, or pass --output_dir VALUE"),
    ],
)
def test_broken_recipe(refused, workplace, content, message):
    (workplace / "broken.yaml").write_bytes(content)
    assert message in refused(config="broken.yaml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "--learning_rat 1",
            "the command line sets learning_rat, but there is no such field; did you mean learning_rate",
        ),
        ("--learning_rate abc", "the command line sets learning_rate to 'abc', but it must be a number"),
        ("--num_generations 1.5", "the command line sets num_generations to '1.5', but it must be a whole number"),
        ("--num_generations 1", "num_generations to '1'; it must be a whole number, 2 or more"),
        ("--num_generations", "--num_generations without a value"),
        ("--momentum 1.0", "momentum is 1.0, so the momentum model would never follow"),
        ("--momentum 1.5", "the command line sets momentum to '1.5'; it must be a number, from 0 to 1"),
        ("--momentum none", "sets momentum to none, but it must be a number"),
        ("--per_device_train_batch_size 6", "6 x 1 = 6 completions a process, which splits a group of"),
        ("--seed 1 2", "sets seed to ['1', '2'], but it must be a whole number"),
        ("--loss_type grpo", "the command line sets loss_type to 'grpo'; it must be one of dapo, bnpo, cispo, vespo"),
        ("--use_vllm --iqr_multiplier 0.75", "entropy_source is 'exact', but vLLM returns no full logits"),
        ("--answer_extractor boxd", "answer_extractor is 'boxd'; set it to one of boxed, number"),
        ("--answer_extractor nowhere:f", "answer_extractor is 'nowhere:f', which cannot be imported"),
        ("--answer_equivalence maths", "answer_equivalence is 'maths'; set it to one of math, text"),
        ("--reward_funcs nowhere:f", "reward_funcs is 'nowhere:f', which cannot be imported"),
        ("--model_name_or_path ./nowhere", "the model directory 'nowhere' does not exist"),
        ("--task file:nowhere.jsonl", "the file nowhere.jsonl does not exist; correct the path"),
        ("--task file:dat.jsonl", "did you mean 'data.jsonl'?"),
        ("--task file", "task is 'file' alone, which does not say what to read; write file:PATH"),
        ("--task data.jsonl", "task is 'data.jsonl', which does not say what it is; write file:data.jsonl"),
        ("--task gsm8", "there is no task 'gsm8' (did you mean 'gsm8k'?)"),
        ("--task embedded:chain", "the embedded model has no task 'chain'; write embedded:chains"),
        ("--task nowhere:f", "task is 'nowhere:f', which cannot be imported"),
        ("--task os:listdir", "task is 'os:listdir', whose function does not take split"),
        ("--eval_strategy steps --eval_task gsm8", "there is no task 'gsm8' (did you mean 'gsm8k'?)"),
        (
            '--task_options {"level":1}',
            "task_options sets level, which file:data.jsonl does not have; it has no options",
        ),
        (
            "--prompt_column question",
            "data.jsonl has no column 'question'; set prompt_column to one of prompt, answer",
        ),
        ("--answer_column gold", "data.jsonl has no column 'gold'; set answer_column to one of answer, or leave"),
        ("--prompt_template Solve.", "put {prompt} where the prompt belongs"),
        ("--system_prompt Think.", "set conversational: true, or system_prompt to '' for none"),
        ("--output_dir data.jsonl", "output_dir data.jsonl is a file"),
        ("--output_dir data.jsonl/out", "output_dir data.jsonl/out is a file, or in one"),
        ("--resume_from_checkpoint last", "the command line sets resume_from_checkpoint to 'last'"),
        ("--resume", "--resume without a value"),
        (
            "--resume nowhere",
            "resume is nowhere, which is no directory; name a checkpoint's, or set it to auto or force",
        ),
        ("--resume .", "which is no complete checkpoint: manifest.json is missing"),
        ("--on_save_error panic", "the command line sets on_save_error to 'panic'"),
        ("--rescue_dir elsewhere", "rescue_dir is elsewhere, but on_save_error is continue"),
        ("--save_only_model", "save_only_model is on"),
        ("--ignore_data_skip", "ignore_data_skip is on"),
        ("--sync_ref_model", "sync_ref_model is on"),
        ("stray", "there is no recipe stray; built-in recipes: "),
    ],
)
def test_mistakes_are_reported_before_a_model_is_loaded(refused, arguments, message):
    assert message in refused(*arguments.split())


def test_empty_data(refused, workplace):
    (workplace / "empty.jsonl").write_text("")
    assert "empty.jsonl holds no rows" in refused("--task", "file:empty.jsonl")


def test_math_verify_is_missing(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "math_verify", None)
    assert "needs math-verify: pip install 'mgrpo[math]'" in refused("--answer_equivalence", "math")


@pytest.mark.parametrize("file", ["config.yaml", "metrics.jsonl", "checkpoint-2"])
def test_a_run_of_an_unknown_recipe_is_in_the_way(refused, workplace, file):
    (workplace / "out").mkdir()
    (workplace / "out" / file).mkdir() if file == "checkpoint-2" else (workplace / "out" / file).write_text("")
    assert "so it is not known what out was run with; leave that run out, or give another --output_dir" in refused()


def test_a_run_of_another_recipe_is_in_the_way(refused, workplace):
    (workplace / "out").mkdir()
    recipe = RECIPE.replace("max_steps: 1", "max_steps: 2") + "learning_rate: 1e-6\nhub_token: abc\n"
    (workplace / "out" / "config.yaml").write_text(recipe)
    message = refused("--hub_token", "def")
    assert "out holds a run with another recipe (max_steps: 2, now 1; " in message
    assert "hub_token: '(left out)', now '(left out)'" in message and "abc" not in message
    assert "learning_rate" not in message  # 1e-6 is the default
    assert message.endswith("give another --output_dir, or --resume force to continue it with this recipe.")


# What needs the tokenizer.


@pytest.fixture
def with_model(monkeypatch):
    """The model is loaded; the trainer is what is not reached."""
    from mgrpo.models import load as models

    monkeypatch.setattr(build_trainer, "load_model", models.load_model)
    monkeypatch.setattr(build_trainer, "MGRPOTrainer", load_nothing)


def write_prompts(directory, *prompts):
    (directory / "data.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))


def test_bad_prompts_are_dropped_and_counted(with_model, workplace, capsys):
    write_prompts(workplace, QUESTION, "", QUESTION * 10, None)
    with pytest.raises(Loaded):
        main(["train", "--config", "mine.yaml", "--max_prompt_length", "8"])
    assert "dropped 2 empty and 1 too long of 4 prompts" in capsys.readouterr().err


def test_bad_prompts_are_refused(with_model, workplace, refused):
    write_prompts(workplace, QUESTION, "")
    assert "the prompt in row 1 (counted from 0) is empty" in refused("--on_bad_prompt", "refuse")
    write_prompts(workplace, QUESTION, QUESTION * 10)
    message = refused("--on_bad_prompt", "refuse", "--max_prompt_length", "8")
    assert "the prompt in row 1" in message and "max_prompt_length is 8" in message


def test_no_prompt_is_left(with_model, workplace, refused):
    write_prompts(workplace, "", " ")
    assert "no prompt of 2 is left" in refused()


def test_unknown_padding_token(with_model, refused):
    assert "pad_token='<x>' is not in the vocabulary of embedded" in refused("--pad_token", "<x>")


def test_no_chat_template(with_model, refused):
    assert "has no chat template; set conversational: false" in refused("--conversational", "true")


# The other commands, and the command line itself.


def test_plot(capsys, workplace):
    assert main(["plot", "nowhere"]) == 2
    assert "nowhere holds no run: there is no metrics.jsonl in it" in capsys.readouterr().err
    pytest.importorskip("matplotlib")
    (workplace / "metrics.jsonl").write_text('{"step": 1, "kl": 0.5}\n')
    assert main(["plot", ".", "-o", "kl.png"]) == 0
    assert capsys.readouterr().out == f"{workplace}/kl.png\n"
    assert (workplace / "kl.png").stat().st_size > 0


@pytest.mark.parametrize("arguments", [["plot", "."], ["demo", "--output_dir", "demo"]])
def test_matplotlib_is_missing(arguments, capsys, monkeypatch, workplace):
    (workplace / "metrics.jsonl").write_text('{"step": 1, "kl": 0.5}\n')
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(arguments) == 2
    assert "matplotlib, which is not installed: pip install 'mgrpo[report]'" in capsys.readouterr().err


def test_study(capsys, monkeypatch, workplace):
    assert main(["study", "mine.yaml"]) == 2
    assert "mine.yaml sets output_dir, but a study consists of base, fields, seeds" in capsys.readouterr().err
    assert main(["study", "nowhere.yaml"]) == 2
    assert "there is no study nowhere.yaml; name a YAML file" in capsys.readouterr().err
    (workplace / "study.yaml").write_text("{base: mine.yaml, seeds: [0], variants: {a: }}")
    assert main(["study", "study.yaml", "--tables_only"]) == 2
    assert "runs/study holds no finished run of study.yaml; run the study first" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["study", "study.yaml"]) == 2
    assert "pip install 'mgrpo[report]'" in capsys.readouterr().err


def test_compare(capsys, workplace):
    assert main(["compare", "nowhere"]) == 2
    assert "nowhere holds no run: there is no metrics.jsonl in it" in capsys.readouterr().err
    (workplace / "metrics.jsonl").write_text('{"step": 1, "eval_gold/accuracy": 0.5, "kl": 0.5}\n')
    (workplace / "config.yaml").write_text(RECIPE)
    pytest.importorskip("matplotlib")
    assert main(["compare", ".", "-o", "compared"]) == 0
    assert f"runs: 1; tables and curves: {workplace / 'compared'}" in capsys.readouterr().out
    assert (workplace / "compared" / "summary.md").exists()


def test_exit_codes(monkeypatch, capsys):
    arguments = ["train", "--config", "mine.yaml"]
    monkeypatch.setattr(run, "train", lambda recipe, **_: run.Outcome(5))
    assert main(arguments) == 0
    monkeypatch.setattr(run, "train", lambda recipe, **_: run.Outcome(5, "the gradients were not finite", 3))
    assert main(arguments) == 3
    assert capsys.readouterr().err == "mgrpo: stopped: the gradients were not finite\n"

    def interrupt(recipe, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "train", interrupt)
    assert main(arguments) == 130
    assert capsys.readouterr().err.startswith("mgrpo: interrupted;")


def test_the_recipe_s_environment(monkeypatch, workplace):
    recipes = []
    monkeypatch.setattr(run, "train", lambda recipe, **_: recipes.append(recipe) or run.Outcome())
    monkeypatch.setenv("MGRPO_TEST_SET", "by the shell")
    monkeypatch.setenv("MGRPO_TEST_UNSET", "")  # so that it is removed after the test
    del os.environ["MGRPO_TEST_UNSET"]
    (workplace / "env.yaml").write_text(RECIPE + "env: {MGRPO_TEST_SET: 1, MGRPO_TEST_UNSET: false}\n")
    main(["train", "--config", "env.yaml"])
    assert os.environ["MGRPO_TEST_SET"] == "by the shell"
    assert os.environ["MGRPO_TEST_UNSET"] == "false"
    assert recipes[0].env == {"MGRPO_TEST_SET": "1", "MGRPO_TEST_UNSET": "false"}


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"mgrpo {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["trian"], "invalid choice: 'trian'"),
        (["train"], "required: --config"),
        (["train", "--conf", "embedded"], "required: --config"),
        (["plot", ".", "--nonsense"], "unrecognized arguments: --nonsense"),
        (["tasks", "--nonsense"], "unrecognized arguments: --nonsense"),
        (["tasks", "shwo"], "invalid choice: 'shwo'"),
        (["demo", "--seed", "x"], "argument --seed: invalid int value: 'x'"),
        (["study"], "required: STUDY.yaml"),
        (["study", "a.yaml", "--momentum", "0.9"], "unrecognized arguments: --momentum"),
        (["compare"], "required: RUN_DIR"),
        (["plan", "--gpus", "two"], "argument --gpus: invalid int value: 'two'"),
        (["plan", "--gpus", "2", "--sharding", "fsdp"], "invalid choice: 'fsdp'"),
    ],
)
def test_wrong_command_lines(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["train", "--help"],
        ["train", "--config", "nowhere"],
        ["tasks"],
        ["study", "--help"],
        ["plan", "--help"],
    ],
)
def test_nothing_heavy_is_imported_before_it_is_needed(arguments):
    heavy = "{'torch', 'transformers', 'trl', 'datasets', 'matplotlib', 'rich'}"
    code = (
        "import sys\nfrom mgrpo.cli import main\n"
        f"try: main({arguments})\nexcept SystemExit: pass\n"
        f"sys.exit(', '.join({heavy} & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("streams", [">&- 2>&-", ">/dev/full", "| true"])
def test_output_that_cannot_be_written_decides_nothing(streams):
    command = f'"$0" -m mgrpo recipes show embedded {streams}; exit ${{PIPESTATUS[0]}}'
    ended = subprocess.run(["bash", "-c", command, sys.executable], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    ("command", "read"),
    [
        (["report", "run", "-o=~/r.html"], lambda a: a.output),
        (["plot", "~/run", "--output", "~/c.png"], lambda a: a.output),
        (["watch", "~/r.html"], lambda a: a.run_directories[0]),
        (["compare", "a", "-o=~/t"], lambda a: a.output_dir),
        (["evaluate", "m", "--benchmarks", "b", "--output_dir=~/x"], lambda a: a.output_dir),
        (["evaluate", "m", "--benchmarks", "b", "--data=~/x"], lambda a: a.data),
        (["evaluate", "m", "--benchmarks", "b", "--export=~/x.md"], lambda a: a.export),
        (["export", "run", "~/out"], lambda a: a.output),
        (["study", "s.yaml", "--output_dir=~/x"], lambda a: a.output_dir),
        (["demo", "--output_dir=~/x"], lambda a: a.output_dir),
        (["recipes", "copy", "embedded", "~/mine.yaml"], lambda a: a.path),
    ],
)
def test_paths_of_all_commands_may_begin_with_a_tilde(monkeypatch, command, read):
    monkeypatch.setenv("HOME", "/home/me")
    assert str(read(_parser().parse_args(command))).startswith("/home/me/")


def test_a_home_that_does_not_exist(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["report", "run", "-o=~nobody-here/r.html"])
    assert exit_.value.code == 2 and "~nobody-here/r.html names no home directory" in capsys.readouterr().err
