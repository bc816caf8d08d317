import json
import shutil

import pytest
from transformers import PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from mgrpo.cli import main
from mgrpo.errors import UserError
from mgrpo.runs.files import read_rows
from mgrpo.training.collapse_callback import CollapseWatch

FAST = [
    *("--config", "embedded", "srt", "--learning_rate", "1e-3", "--warmup_steps", "8", "--probe_prompts", "16"),
    *("--num_generations", "8", "--per_device_train_batch_size", "32", "--dataset_size", "256"),
    *("--logging_steps", "1", "--eval_strategy", "no", "--save_strategy", "steps", "--save_steps", "2"),
]
"""At five times the recipe's learning rate the embedded model forgets its answers within some steps."""


def test_warns_and_goes_on(capsys, tmp_path):
    assert main(["train", *FAST, "--max_steps", "8", "--output_dir", str(tmp_path / "run")]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("collapse alarm")]
    events = read_rows(tmp_path / "run" / "alarms.jsonl")
    assert len(said) == len(events) >= 1 and events[0]["kind"] == "alarm"
    healthy = events[0]["healthy_step"] // 2 * 2
    where = f"last healthy checkpoint is {tmp_path}/run/checkpoint-{healthy}" if healthy else "no healthy checkpoint"
    assert events[0]["message"] in said[0] and where in said[0]
    assert [row["step"] for row in read_rows(tmp_path / "run" / "metrics.jsonl")] == list(range(1, 9))


def test_stops_with_a_checkpoint_and_a_code_of_its_own(capsys, tmp_path):
    arguments = ["train", *FAST, "--max_steps", "30", "--on_collapse", "stop", "--output_dir", str(tmp_path / "run")]
    assert main(arguments) == 4
    step = read_rows(tmp_path / "run" / "alarms.jsonl")[0]["step"]
    assert 1 < step < 30
    assert f"stopped: the collapse alarm went off at step {step}, with a checkpoint" in capsys.readouterr().err
    assert (tmp_path / "run" / f"checkpoint-{step}" / "model.safetensors").exists()
    # Killed while the models were written, it has stopped all the same; and a finished run says how it ended.
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    shutil.rmtree(tmp_path / "run" / "final")
    for _ in range(2):
        assert main(arguments) == 4
        assert f"the collapse alarm went off at step {step}" in capsys.readouterr().err
        assert (tmp_path / "run" / "final" / "model.safetensors").exists()
    again = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert again[:-1] == rows[:-1] and json.loads(again[-1])["train_loss"] == json.loads(rows[-1])["train_loss"]
    assert [event["step"] for event in read_rows(tmp_path / "run" / "alarms.jsonl")] == [step]


def test_rolls_back_and_goes_on_more_slowly(capsys, tmp_path):
    run = tmp_path / "run"
    settings = ["--on_collapse", "rollback", "--rollback_lr_scale", "0.01", "--max_steps", "10"]
    assert main(["train", *FAST, *settings, "--output_dir", str(run)]) == 0
    events = read_rows(run / "alarms.jsonl")
    assert [event["kind"] for event in events] == ["alarm", "rollback"]
    back_to = events[1]["healthy_step"]
    assert back_to <= events[0]["healthy_step"] < events[0]["step"]
    rows = read_rows(run / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 11))
    rolled_back = read_rows(run / "rolled-back" / "1" / "metrics.jsonl")
    assert [row["step"] for row in rolled_back] == list(range(back_to + 1, events[0]["step"] + 1))
    for before, after in zip(rolled_back, rows[back_to:], strict=False):
        assert after["learning_rate"] == pytest.approx(0.01 * before["learning_rate"])
    assert rows[-1]["learning_rate"] == pytest.approx(1e-5)
    assert "rolled back to checkpoint-" in capsys.readouterr().err
    # The recipe is still the one that was asked for, and a resumed run goes on as slowly.
    assert "learning_rate: 0.001" in (run / "config.yaml").read_text()
    more = ["--max_steps", "11", "--resume", "force"]
    assert main(["train", *FAST, *settings, *more, "--output_dir", str(run)]) == 0
    assert read_rows(run / "metrics.jsonl")[-1]["learning_rate"] == pytest.approx(1e-5)
    assert [event["kind"] for event in read_rows(run / "alarms.jsonl")] == ["alarm", "rollback"]


def test_the_last_rollback_is_followed_by_a_stop(tmp_path):
    settings = ["--on_collapse", "rollback", "--rollback_lr_scale", "1", "--max_rollbacks", "1", "--max_steps", "30"]
    assert main(["train", *FAST, *settings, "--output_dir", str(tmp_path / "run")]) == 4
    kinds = [event["kind"] for event in read_rows(tmp_path / "run" / "alarms.jsonl")]
    assert kinds == ["alarm", "rollback", "alarm"]


def test_works_in_trl_s_own_trainer(embedded, chain_data, tmp_path):
    """A reward for sevens: soon each completion has nothing else."""
    model, tokenizer = embedded()
    said = []
    watch = CollapseWatch("stop", tell=lambda event, text: said.append(text))
    trainer = GRPOTrainer(
        model,
        reward_funcs=lambda completions, **_: [float(text.count("7")) for text in completions],
        args=GRPOConfig(
            str(tmp_path / "run"),
            **{"per_device_train_batch_size": 32, "num_generations": 8, "max_completion_length": 14},
            **{"learning_rate": 3e-3, "max_steps": 60, "logging_steps": 1, "report_to": "none", "use_cpu": True},
            **{"bf16": False, "gradient_checkpointing": False, "disable_tqdm": True, "save_strategy": "no", "seed": 0},
        ),
        train_dataset=chain_data(),
        processing_class=tokenizer,
        callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    assert watch.stop_event.signals == ["reward_std"]
    assert trainer.state.global_step == watch.stop_event.step < 60
    assert "nearly all completions have the same reward" in said[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"on_collapse": "panic"}, "on_collapse is 'panic'; it must be one of warn, stop, rollback"),
        ({"on_collapse": "rollback", "save_strategy": "no"}, "save_strategy is no"),
        ({"on_collapse": "rollback", "save_strategy": "steps", "save_steps": 4, "max_steps": 4}, "save_steps 4:"),
        (
            {"on_collapse": "rollback", "save_strategy": "steps", "save_steps": 1, "save_total_limit": 2},
            "save_total_limit is 2",
        ),
        ({"rollback_lr_scale": 0.0}, "rollback_lr_scale is 0.0"),
        ({"rollback_momentum": 1.0}, "rollback_momentum is 1.0"),
        ({"max_rollbacks": -1}, "max_rollbacks is -1"),
        ({"probe_prompts": -1}, "probe_prompts is -1"),
    ],
)
def test_refuses(make_config, settings, message):
    with pytest.raises(UserError, match=message):
        make_config(**settings)
