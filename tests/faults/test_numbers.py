"""Numbers that go wrong: each is forced on the embedded model by real means, and the test's name says what happens."""

import json
import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from safetensors.torch import save_file
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState

from mgrpo.cli import main
from mgrpo.errors import UserError
from mgrpo.models.load import load_model
from mgrpo.runs import metrics as names
from mgrpo.runs.files import read_rows
from mgrpo.training import callbacks
from mgrpo.training.collapse_callback import NumberWatch
from mgrpo.training.sampling.entropy import entropy_from_top_log_probs
from mgrpo.training.sampling.momentum_model import FILE_NAME

SMALL = {"num_generations": 4, "per_device_train_batch_size": 8, "probe_prompts": 0}
"""2 prompts x (4 + 2) a step."""


def edited(embedded, edit):
    """What `make_trainer` is given for the embedded model with other weights."""
    model, tokenizer = embedded()
    with torch.no_grad():
        edit(model)
    return {"model": model, "processing_class": tokenizer}


def with_end_bias(bias):
    """Gives the head a bias towards the end-of-text token."""

    def edit(model):
        head = model.lm_head
        biased = nn.Linear(head.in_features, head.out_features)
        biased.weight.copy_(head.weight)
        biased.bias.zero_()
        biased.bias[model.config.eos_token_id] = bias
        model.lm_head = biased

    return edit


def broken(value):
    def edit(model):
        model.model.layers[1].mlp.up_proj.weight[3, 5] = value

    return edit


def rows_of(trainer):
    return read_rows(Path(trainer.args.output_dir) / "metrics.jsonl")


def completions_of(trainer, step=1):
    return pq.read_table(Path(trainer.args.output_dir) / "completions" / f"step-{step:06d}.parquet").to_pylist()


def is_finite(row):
    return all(math.isfinite(value) for value in row.values() if isinstance(value, float))


def momentum_weights(trainer):
    return {name: weight.clone() for name, weight in trainer.momentum_model._weights.items()}


class KeepWeights(TrainerCallback):
    """Copies the policy and the momentum model after each step."""

    def __init__(self, trainer):
        self.trainer, self.policy, self.momentum = trainer, [], []

    def on_step_end(self, *_, **__):
        self.policy.append({name: p.detach().clone() for name, p in self.trainer.model.named_parameters()})
        self.momentum.append(momentum_weights(self.trainer))


def same(left, right):
    return all(torch.equal(left[name], right[name]) for name in left)


# Weights.


@pytest.fixture
def save_edited(tmp_path, embedded):
    """Saves the embedded model with other weights as a directory."""

    def save(edit):
        given = edited(embedded, edit)
        for part in given.values():
            part.save_pretrained(tmp_path / "model")
        return str(tmp_path / "model")

    return save


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_model_with_a_broken_weight_is_not_loaded(save_edited, value):
    directory = save_edited(broken(value))
    with pytest.raises(UserError, match=r"weights of the model .*/model are not finite \(model.layers.1.mlp.up_proj"):
        load_model(directory)


def test_training_does_not_begin_on_a_broken_weight(make_trainer, embedded):
    trainer = make_trainer(edited(embedded, broken(math.nan)), **SMALL)
    with pytest.raises(
        UserError, match="weights of the model are not finite .model.layers.1.mlp.up_proj.weight holds"
    ):
        trainer.train()
    assert trainer.momentum_model is None
    assert not (Path(trainer.args.output_dir) / "metrics.jsonl").exists()


def test_a_step_that_breaks_the_weights_ends_the_run_and_no_checkpoint_and_no_momentum_model_has_them(make_trainer):
    settings = {"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 2, "max_grad_norm": 0.0}
    # the first step's learning rate is 0, the second's half of 1e39, which float32 does not hold
    trainer = make_trainer(max_steps=3, learning_rate=1e39, save_strategy="steps", save_steps=1, **settings, **SMALL)
    directory = Path(trainer.args.output_dir)
    with pytest.raises(
        UserError,
        match=r"step 2 made weights that are not finite \(model\.\S+ holds nan or infinity\), of which nothing is "
        r"kept; resume from \S+/checkpoint-1 with a learning_rate below 1e\+39",
    ):
        trainer.train()
    assert all(weight.isfinite().all() for weight in trainer.momentum_model._weights.values())
    assert [path.name for path in directory.glob("checkpoint-*")] == ["checkpoint-1"]
    assert [row["step"] for row in rows_of(trainer)] == [1]


def test_momentum_weights_of_a_checkpoint_that_are_not_finite_are_refused(make_trainer, tmp_path):
    trainer = make_trainer(max_steps=1, **SMALL)
    trainer.train()
    weights = {name: weight.clone() for name, weight in momentum_weights(trainer).items()}
    weights["lm_head.weight"][2, 3] = math.nan
    save_file(weights, tmp_path / FILE_NAME)
    with pytest.raises(UserError, match=r"momentum.safetensors holds weights that are not finite \(lm_head.weight\)"):
        trainer.momentum_model.load(tmp_path)


# Loss and gradients.


def test_an_infinite_loss_skips_its_step_and_an_infinite_metric_is_null_counted_and_told_once(make_trainer, capsys):
    # Each batch is learnt from twice. A learning rate of 10 takes the policy so far from what it had sampled that the
    # second time exp(reference - policy), in the KL, is beyond float32.
    trainer = make_trainer(max_steps=4, learning_rate=10.0, beta=1.0, num_iterations=2, max_grad_norm=0.0, **SMALL)
    trainer.add_callback(keep := KeepWeights(trainer))
    trainer.train()
    rows = rows_of(trainer)
    assert rows[0][names.SKIPPED_STEPS] == 0 and is_finite(rows[0]) and names.NONFINITE_METRICS not in rows[0]
    assert rows[1][names.SKIPPED_STEPS] == 1
    assert rows[1][names.KL] is None and rows[1][names.NONFINITE_METRICS] >= 1
    assert same(keep.policy[0], keep.policy[1]) and same(keep.momentum[0], keep.momentum[1])
    told = capsys.readouterr().err
    assert "step 2  a loss or gradient was not finite: 1 steps skipped so far" in told
    assert told.count("kl inf") == 1 and "null in metrics.jsonl" in told


@pytest.mark.parametrize("backoff", [2.0**-20, 0.999])
def test_under_a_loss_scaler_steps_that_overflow_are_counted_and_too_many_in_a_row_stop_the_run(
    make_trainer, monkeypatch, backoff
):
    # fp16 has one; torch has it for a CPU too. With a scale of 2^80 gradients overflow until it has come down.
    monkeypatch.setattr(callbacks, "MAX_SKIPPED_BY_SCALER", 3)
    trainer = make_trainer(max_steps=3, max_grad_norm=0.0, **SMALL)
    trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**80, backoff_factor=backoff)
    trainer.add_callback(keep := KeepWeights(trainer))
    trainer.train()
    skipped = [row[names.SKIPPED_STEPS] for row in rows_of(trainer)]
    assert same(keep.policy[0], keep.policy[int(skipped[-1]) - 1])
    assert same(keep.momentum[0], keep.momentum[int(skipped[-1]) - 1])
    if backoff == 0.999:
        assert skipped == [1, 2, 3]
        assert "the gradients of 3 steps in a row, up to step 3, were not finite" in trainer.gradient_guard.stop_reason
    else:
        assert skipped == [1, 1, 1]
        assert not same(keep.policy[0], keep.policy[-1]) and trainer.gradient_guard.stop_reason is None


# Sampling.


@pytest.mark.parametrize("source", ["exact", "sampled"])
def test_logits_that_overflow_while_sampling_end_the_run_with_a_sentence(make_trainer, embedded, source):
    given = edited(embedded, lambda model: model.lm_head.weight.mul_(1e38))
    with pytest.raises(UserError, match=r"logits are not finite \(token 1 of \d of 8 completions\)"):
        make_trainer(given, entropy_source=source, **SMALL).train()


def test_a_float16_model_whose_logits_overflow_says_so_on_the_command_line(save_edited, tmp_path, capsys):
    directory = save_edited(lambda model: model.lm_head.weight.mul_(1e4))
    code = main(
        ["train", "--config", "embedded", "--model_name_or_path", directory, "--dtype", "float16", "--quiet"]
        + ["--output_dir", str(tmp_path / "run"), "--max_steps", "1", "--eval_strategy", "no", "--dataset_size", "8"]
        + ["--num_generations", "4", "--per_device_train_batch_size", "8"]
    )
    assert code == 2
    told = capsys.readouterr().err
    line = told.splitlines()[-1]
    assert "Traceback" not in told
    assert line.startswith("mgrpo: the model's logits are not finite (token 1 of ")
    assert line.endswith(
        "set dtype to float32 or bfloat16, or resume from an earlier checkpoint with a lower learning_rate."
    )


def test_self_certainty_of_a_model_that_rules_tokens_out_is_refused(make_trainer, embedded):
    def edit(model):
        with_end_bias(0.0)(model)
        model.lm_head.bias[model.config.pad_token_id] = -3e38  # -inf, once divided by the temperature

    given = edited(embedded, edit)
    settings = {"reward": "self_certainty", "num_momentum_generations": 0, "beta": 0.0, "temperature": 0.5}
    with pytest.raises(
        UserError, match="reward is self_certainty, which is infinite for a model that rules tokens out"
    ):
        make_trainer(given, **settings, **SMALL).train()


def test_an_infinite_reward_is_refused_by_name(make_trainer):
    def length(completions, **_):
        return [math.inf if i == 3 else 0.0 for i in range(len(completions))]

    with pytest.raises(UserError, match="the reward length is infinite for 1 of 8 completions"):
        make_trainer({"reward_funcs": length}, **SMALL).train()


# Completions.


def test_an_end_of_text_as_first_token_is_an_empty_completion_with_its_own_entropy_and_without_a_vote(
    make_trainer, embedded
):
    given = edited(embedded, with_end_bias(14.0))  # a third of the completions are empty
    trainer = make_trainer(given, iqr_multiplier=0.75, max_steps=1, log_completions=True, mask_answer_span=True)
    trainer.train()
    rows = completions_of(trainer)
    empty = [row for row in rows if row["completion"] == ""]
    assert 0 < len(empty) < len(rows)
    for row in empty:
        assert row["num_tokens"] == 1 and row["answer"] is None and row["answer_id"] == -1 and not row["is_match"]
        assert 0 < row["entropy"] < math.log(17)
    assert all(math.isfinite(row["entropy"]) for row in rows)
    assert is_finite(rows_of(trainer)[0]) and names.NONFINITE_METRICS not in rows_of(trainer)[0]


def test_a_completion_without_a_token_has_entropy_0():
    # vLLM may return one; two candidates of 1/2 each are log 2
    half = math.log(0.5)
    entropy = entropy_from_top_log_probs([[], [[half, half]]], [[], [half]])
    torch.testing.assert_close(entropy, torch.tensor([0.0, math.log(2)]))


def test_nobody_answers_for_60_steps_so_every_completion_is_empty_nothing_is_learnt_and_it_is_told_once(
    make_trainer, embedded, capsys, weights_of
):
    given = edited(embedded, with_end_bias(1e4))
    settings = {
        "num_generations": 2,
        "num_momentum_generations": 1,
        "per_device_train_batch_size": 2,
        "steps_per_generation": 10,  # sooner
        "probe_prompts": 0,
    }
    trainer = make_trainer(given, max_steps=60, logging_steps=10, iqr_multiplier=0.75, **settings)
    before = weights_of(trainer)
    trainer.train()
    rows = rows_of(trainer)
    assert [row["step"] for row in rows] == list(range(10, 61, 10))
    for row in rows:
        assert row[names.NONE_RATE] == row[names.UNLABELLED_RATE] == row[names.LENGTH] == 1
        assert row[names.ENTROPY] == row["loss"] == row[names.GRAD_NORM] == row[names.SKIPPED_STEPS] == 0
        assert row["reward"] is None  # there is none
        assert names.NONFINITE_METRICS not in row
    assert same(before, weights_of(trainer)) and same(before, momentum_weights(trainer))
    told = capsys.readouterr().err
    assert told.count("step 50  nobody answers: no completion of the last 5 logged steps had an answer") == 1
    assert told.count("nobody answers") == 1


def test_every_completion_identical_has_no_advantage_and_no_gradient(make_trainer, embedded):
    given = edited(embedded, lambda model: model.lm_head.weight.mul_(1e4))  # as good as greedy
    trainer = make_trainer(given, max_steps=2, iqr_multiplier=0.75, log_completions=True, beta=0.0, **SMALL)
    trainer.train()
    for row in rows_of(trainer):
        assert row[names.AGREEMENT] == 1 and row[names.REWARD_STD] == row[names.GRAD_NORM] == row["loss"] == 0
        assert row[names.ENTROPY] == row[names.DROPPED_RATE] == 0
        assert is_finite(row) and names.NONFINITE_METRICS not in row
    rows = completions_of(trainer)
    for group in (0, 1):
        assert len({row["completion"] for row in rows if row["group"] == group}) == 1
    assert {row["advantage"] for row in rows} == {0.0, None}


def test_more_completions_than_there_are_answers_vote_as_any(make_trainer):
    def parity(text):
        return ("odd" if int(text[-1]) % 2 else "even") if text[-1:].isdigit() else None

    settings = {"num_generations": 24, "num_momentum_generations": 8, "per_device_train_batch_size": 24}
    trainer = make_trainer({"answer_fn": parity}, max_steps=1, log_completions=True, probe_prompts=0, **settings)
    trainer.train()
    rows = completions_of(trainer)
    votes = [row["answer"] for row in rows if row["answer"]]
    assert len(rows) == 32 and {row["answer_id"] for row in rows} <= {-1, 0, 1} and set(votes) <= {"odd", "even"}
    (label,) = {row["pseudo_label"] for row in rows}
    assert votes.count(label) >= len(votes) / 2
    assert is_finite(rows_of(trainer)[0])


# Prompts.


def test_one_prompt_alone_is_trained_on_when_a_batch_is_one_prompt(make_trainer, chain_data):
    settings = {"num_generations": 4, "per_device_train_batch_size": 4, "probe_prompts": 8}
    trainer = make_trainer({"train_dataset": chain_data(1)}, max_steps=2, **settings)
    trainer.train()
    assert [row["step"] for row in rows_of(trainer)] == [1, 2]
    assert all(is_finite(row) and row[names.DISTINCT] == 1 for row in rows_of(trainer))


def test_one_prompt_is_refused_when_a_batch_needs_more(make_trainer, chain_data):
    # TRL would end at step 0, and say that all went well
    with pytest.raises(
        UserError, match=r"there are 1 prompts to train on, but a batch needs 4 different ones \(24 com"
    ):
        make_trainer({"train_dataset": chain_data(1)})


def test_too_few_prompts_are_refused_before_a_model_is_loaded(tmp_path, capsys):
    code = main(["train", "--config", "embedded", "--output_dir", str(tmp_path / "run"), "--dataset_size", "7"])
    assert code == 2
    assert "there are 7 prompts to train on, but a batch needs 8 different ones" in capsys.readouterr().err


@pytest.mark.parametrize("share_prompts", [False, True])
def test_prompts_of_one_token_are_trained_on(make_trainer, share_prompts):
    data = Dataset.from_list([{"prompt": digit} for digit in "12345678"])
    trainer = make_trainer({"train_dataset": data}, max_steps=1, share_prompts=share_prompts, **SMALL)
    trainer.train()
    (row,) = rows_of(trainer)
    assert is_finite(row) and row[names.ENTROPY] > 0 and row[names.SKIPPED_STEPS] == 0


def test_prompts_up_to_the_models_context_are_trained_on_and_longer_ones_dropped(tmp_path, capsys):
    # the context has 64 tokens, a completion 14
    prompts = ["1+" * 24 + "1=", "2+" * 24 + "2=", "3+" * 24 + "13="]  # 50, 50 and 51 tokens
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))

    def train(name, *more):
        return main(
            ["train", "--config", "embedded", "--task", f"file:{tmp_path / 'prompts.jsonl'}", "--quiet"]
            + ["--answer_extractor", "mgrpo.embedded.task:extract_answer", "--eval_strategy", "no"]
            + ["--output_dir", str(tmp_path / name), "--max_steps", "1", "--logging_steps", "1"]
            + ["--num_generations", "4", "--per_device_train_batch_size", "8", "--probe_prompts", "0", *more]
        )

    assert train("drop") == 0
    assert "dropped 1 too long of 3 prompts" in capsys.readouterr().err
    (row,) = read_rows(tmp_path / "drop" / "metrics.jsonl")
    assert is_finite(row) and names.NONFINITE_METRICS not in row
    assert train("refuse", "--on_bad_prompt", "refuse") == 2
    told = capsys.readouterr().err
    assert "has 51 tokens and what max_completion_length leaves of the model's context is 50" in told
    assert train("too-long", "--max_completion_length", "64") == 2
    told = capsys.readouterr().err
    assert "max_completion_length is 64, but the model's context has 64 tokens, prompt included" in told


# What is told.


def test_skipped_steps_are_told_when_they_become_more_and_a_broken_metric_once(make_config):
    told = []
    watch = NumberWatch(told.append)
    for step, row in enumerate(
        [
            {names.SKIPPED_STEPS: 1.0, names.GRAD_NORM: math.nan},
            {"eval_loss": math.inf},  # an evaluation's row has no count
            {names.SKIPPED_STEPS: 1.0, names.GRAD_NORM: 0.5},
            {names.SKIPPED_STEPS: 3.0, names.KL: -math.inf},
            {names.SKIPPED_STEPS: 3.0, names.KL: -math.inf},
        ]
    ):
        watch.on_log(make_config(), TrainerState(global_step=step), TrainerControl(), logs=row)
    assert told == [
        "step 0  a loss or gradient was not finite: 1 steps skipped so far",
        "step 1  not finite, and null in metrics.jsonl: eval_loss inf; each is said once",
        "step 3  a loss or gradient was not finite: 3 steps skipped so far",
        "step 3  not finite, and null in metrics.jsonl: kl -inf; each is said once",
    ]
