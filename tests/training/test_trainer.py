"""A training run as its user sees it: files, metrics, checkpoints, resuming, adapters, broken gradients."""

import json
import math
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, TrainerCallback

from mgrpo.algorithm import group_advantage, iqr_fence
from mgrpo.errors import UserError
from mgrpo.runs import metrics as names
from mgrpo.runs.files import read_rows
from mgrpo.training.sampling.sampler import Sampler

LORA = {"r": 4, "target_modules": "all-linear"}


def rows_of(trainer):
    return read_rows(Path(trainer.args.output_dir) / "metrics.jsonl")


def test_every_metric_is_logged_and_makes_sense(make_trainer, chain_data):
    trainer = make_trainer(
        {"eval_dataset": chain_data(24, split="test")},
        iqr_multiplier=0.75,
        beta=0.005,
        eval_strategy="steps",
        eval_steps=3,
        num_generations_eval=1,
        per_device_eval_batch_size=24,
    )
    trainer.train()
    rows = rows_of(trainer)
    assert [row["step"] for row in rows] == [1, 2, 3]
    expected = [
        names.AGREEMENT, names.TIE_RATE, names.UNLABELLED_RATE, names.MOMENTUM_AGREEMENT, names.DROPPED_RATE,
        names.ENTROPY, names.NONE_RATE, names.FAILED_RATE, names.TIMEOUT_RATE, names.DISTINCT, names.TOP_SHARE,
        names.LENGTH, names.DISTANCE, names.SKIPPED_STEPS, names.ROWS_SKIPPED, names.GRAD_NORM, names.KL,
        names.GOLD_ACCURACY, names.GOLD_LABEL_ACCURACY, names.TIME_POLICY, names.TIME_MOMENTUM, names.TIME_LABEL,
        names.TIME_STEP,
    ]  # fmt: skip
    for row in rows:
        for name in expected:
            assert math.isfinite(row[name]), name
        assert 1 <= row[names.DISTINCT] <= 4
        assert 1 / 4 <= row[names.TOP_SHARE] <= 1
        assert row[names.FAILED_RATE] == row[names.TIMEOUT_RATE] == 0
        assert 3 <= row[names.LENGTH] <= 14
        assert 0 < row[names.AGREEMENT] <= 1
    assert rows[0][names.DISTANCE] > 0
    assert rows[2][names.DISTANCE] > rows[0][names.DISTANCE]
    assert 0 < rows[2]["eval_" + names.GOLD_ACCURACY] < 1
    assert names.EVAL_PREFIX + names.KL not in rows[2]  # an evaluation computes no log-probabilities


def test_evaluating_does_not_change_training(make_trainer, chain_data, weights_of):
    def run(**settings):
        trainer = make_trainer({"eval_dataset": chain_data(6, split="test")}, **settings)
        trainer.train()
        return weights_of(trainer)

    without = run()
    with_eval = run(eval_strategy="steps", eval_steps=1, num_generations_eval=2, per_device_eval_batch_size=12)
    assert all(torch.equal(without[name], with_eval[name]) for name in without)


def test_each_of_several_evaluation_sets_is_logged_under_its_name(make_trainer, chain_data):
    sets = {"easy": chain_data(6, split="test"), "hard": chain_data(6, seed=1, split="test")}
    settings = {"eval_strategy": "steps", "eval_steps": 1, "num_generations_eval": 1, "per_device_eval_batch_size": 6}
    trainer = make_trainer({"eval_dataset": sets}, max_steps=1, **settings)
    trainer.train()
    row = rows_of(trainer)[-1]
    found = {name.removeprefix("eval_easy_") for name in row if name.startswith("eval_easy_")}
    assert {"loss", "reward", "gold/accuracy", "vote/agreement"} <= found
    assert found == {name.removeprefix("eval_hard_") for name in row if name.startswith("eval_hard_")}
    assert not [name for name in row if name.startswith("eval_") and not name.startswith(("eval_easy_", "eval_hard_"))]


def test_completions_are_kept_as_tables(make_trainer):
    trainer = make_trainer(iqr_multiplier=0.0, log_completions=True, max_steps=1)
    trainer.train()
    (path,) = (Path(trainer.args.output_dir) / "completions").glob("*.parquet")
    assert path.name == "step-000001.parquet"
    rows = pq.read_table(path).to_pylist()
    assert len(rows) == 4 * 8
    for start in range(0, 32, 8):
        group = rows[start : start + 8]
        assert [row["model"] for row in group] == ["policy"] * 6 + ["momentum"] * 2
        assert len({row["prompt"] for row in group}) == 1
        assert len({row["pseudo_label"] for row in group}) == 1
        for row in group:
            assert row["reward"] == (row["answer"] is not None and row["answer"] == row["pseudo_label"])
            assert (row["advantage"] is None) == (row["model"] == "momentum")
            if row["model"] == "policy" and not row["kept"]:
                assert row["advantage"] == 0
        entropy = torch.tensor([[row["entropy"] for row in group]], dtype=torch.float32)
        fence = iqr_fence(entropy, 0.0)
        assert {row["fence"] for row in group} == {fence.item()}
        assert (entropy >= fence)[0].tolist() == [row["kept"] for row in group]
        assert {row["group"] for row in group} == {start // 8}
        for row in group:
            same_id = {other["answer"] for other in group if other["answer_id"] == row["answer_id"]}
            assert same_id == {row["answer"]}
            assert row["is_match"] == (row["answer"] is not None and row["answer"] == row["pseudo_label"])
            assert row["is_right"] == (row["answer"] == row["right_answer"])
            assert 1 <= row["num_tokens"] <= 14


@pytest.mark.parametrize(
    ("accumulation", "with_lora", "precision"),
    [
        (1, False, "float32"),
        (2, True, "float32"),
        (2, False, "bfloat16"),
        pytest.param(1, True, "bfloat16", marks=pytest.mark.slow),
    ],
)
def test_resumes_to_the_same_bits(make_trainer, weights_of, tmp_path, with_lora, accumulation, precision):
    peft = {"peft_config": LoraConfig(**LORA)} if with_lora else {}
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "iqr_multiplier": 0.75}
    settings |= {"cpu_precision": precision, "share_prompts": "auto" if precision == "bfloat16" else False}
    if accumulation == 2:
        settings |= {"per_device_train_batch_size": 12, "gradient_accumulation_steps": 2}

    whole = make_trainer(peft, output_dir=str(tmp_path / "whole"), **settings)
    whole.train()
    again = make_trainer(peft, output_dir=str(tmp_path / "again"), **settings)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2"))

    for left, right in (
        (weights_of(whole), weights_of(again)),
        (whole.momentum_model._weights, again.momentum_model._weights),
    ):
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left)
    assert [row["step"] for row in rows_of(whole)] == [1, 2, 3, 4]
    assert [row["step"] for row in rows_of(again)] == [3, 4]


def test_both_models_are_saved_as_plain_ones(make_trainer, tmp_path, weights_of):
    trainer = make_trainer()
    trainer.train()
    trainer.save_model(str(tmp_path / "final"))
    trainer.save_momentum_model(tmp_path / "final" / "momentum")
    policy = dict(AutoModelForCausalLM.from_pretrained(tmp_path / "final").named_parameters())
    momentum = dict(AutoModelForCausalLM.from_pretrained(tmp_path / "final" / "momentum").named_parameters())
    trained = weights_of(trainer)
    for name, weight in trained.items():
        assert torch.equal(policy[name], weight)
        assert torch.equal(momentum[name], trainer.momentum_model._weights[name])
    assert any(not torch.equal(policy[name], momentum[name]) for name in trained)


def test_lora_trains_the_adapter_and_saves_two(make_trainer, tmp_path, embedded):
    from peft import PeftModel

    trainer = make_trainer({"peft_config": LoraConfig(**LORA)}, iqr_multiplier=0.75)
    trainer.train()
    assert all("lora" in name for name in trainer.momentum_model._weights)
    trainer.save_model(str(tmp_path / "final"))
    trainer.save_momentum_model(tmp_path / "final" / "momentum")

    def adapter(directory):
        model = PeftModel.from_pretrained(embedded()[0], directory)
        return {name: p for name, p in model.named_parameters() if "lora" in name}

    policy, momentum = adapter(tmp_path / "final"), adapter(tmp_path / "final" / "momentum")
    assert any(p.abs().sum() > 0 for name, p in policy.items() if "lora_B" in name)
    assert all(torch.equal(momentum[name], trainer.momentum_model._weights[name]) for name in momentum)
    assert any(not torch.equal(policy[name], momentum[name]) for name in policy)


class BreakGradients(TrainerCallback):
    """Makes a gradient infinite in the given steps, counted from 0."""

    def __init__(self, steps):
        self.steps = steps

    def on_train_begin(self, args, state, control, model=None, **_):
        parameter = next(model.parameters())
        parameter.register_hook(lambda grad: grad * math.inf if state.global_step in self.steps else grad)


class Remember(TrainerCallback):
    """Copies the policy and the momentum model after each step."""

    def __init__(self, trainer):
        self.trainer, self.policy, self.momentum = trainer, [], []

    def on_step_end(self, *_, **__):
        self.policy.append([p.detach().clone() for p in self.trainer.model.parameters()])
        self.momentum.append([w.clone() for w in self.trainer.momentum_model._weights.values()])


def same(left, right):
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("max_grad_norm", [1.0, 0.0])
def test_a_step_with_broken_gradients_is_skipped_and_counted(make_trainer, max_grad_norm):
    trainer = make_trainer(max_steps=3, max_grad_norm=max_grad_norm)
    trainer.add_callback(BreakGradients({1}))
    trainer.add_callback(remember := Remember(trainer))
    trainer.train()
    assert same(remember.policy[0], remember.policy[1])
    assert same(remember.momentum[0], remember.momentum[1])
    assert not same(remember.policy[1], remember.policy[2])
    assert all(p.isfinite().all() for p in remember.policy[2])
    assert [row[names.SKIPPED_STEPS] for row in rows_of(trainer)] == [0, 1, 1]
    assert trainer.gradient_guard.stop_reason is None
    assert json.loads((Path(trainer.args.output_dir) / "metrics.jsonl").read_text().splitlines()[1])  # no bare NaN


def test_five_broken_steps_in_a_row_stop_the_run_with_a_checkpoint(make_trainer, tmp_path):
    trainer = make_trainer(max_steps=20)
    trainer.add_callback(BreakGradients(set(range(2, 20))))
    trainer.train()
    assert trainer.state.global_step == 7
    assert "5 steps in a row, up to step 7" in trainer.gradient_guard.stop_reason
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "checkpoint-7")
    assert all(p.isfinite().all() for p in saved.parameters())


def test_a_reward_may_stand_beside_the_vote(make_trainer):
    def brief(completions, **_):
        return [-float(len(text)) for text in completions]

    trainer = make_trainer({"reward_funcs": brief}, reward_weights=[1.0, 0.5], max_steps=1)
    trainer.train()
    row = rows_of(trainer)[0]
    assert row["reward"] == pytest.approx(row["rewards/vote/mean"] + 0.5 * row["rewards/brief/mean"])


# Gold answers of any kind.


def gold_data(chain_data, gold):
    """16 prompts, the gold answer of the i-th a function of it and i."""
    data = chain_data(16)
    return data.remove_columns("answer").add_column("answer", [gold(a, i) for i, a in enumerate(data["answer"])])


def test_the_task_scores_its_own_gold(make_trainer, chain_data):
    seen = []

    def half(answers, gold):
        seen.append((len(answers), gold))
        return [True, False] * 4 + [True]  # of 6 + 2 completions, and the pseudo-label

    data = gold_data(chain_data, lambda answer, i: {"text": answer, "index": i} if i % 2 else None)
    trainer = make_trainer({"train_dataset": data, "gold_scorer": half}, max_steps=4)
    trainer.train()
    # 4 steps of 4 prompts are each of the 16 once; those without a gold answer are not scored
    assert sorted(gold["index"] for _, gold in seen) == list(range(1, 16, 2))
    assert all(num == 9 and isinstance(gold["text"], str) for num, gold in seen)
    measured = [row for row in rows_of(trainer) if names.GOLD_ACCURACY in row]
    assert measured
    for row in measured:
        assert (row[names.GOLD_ACCURACY], row[names.GOLD_LABEL_ACCURACY]) == (0.5, 1.0)


@pytest.mark.parametrize("unknown", [None, ""])
def test_no_gold_answer_is_known(make_trainer, chain_data, unknown):
    data = gold_data(chain_data, lambda answer, i: unknown)
    trainer = make_trainer({"train_dataset": data}, max_steps=1)
    trainer.train()
    assert not any(name.startswith("gold/") for row in rows_of(trainer) for name in row)


def test_gold_numbers(make_trainer, chain_data, tmp_path):
    def accuracies(gold):
        given = {"train_dataset": gold_data(chain_data, lambda answer, i: gold(answer)), "equivalence": "number"}
        trainer = make_trainer(given, max_steps=2, output_dir=str(tmp_path / gold.__name__))
        trainer.train()
        return [row[names.GOLD_ACCURACY] for row in rows_of(trainer)]

    assert accuracies(str) == accuracies(int)


def test_the_momentum_model_alone_labels(make_trainer):
    trainer = make_trainer(max_steps=2, num_momentum_generations=6, label_source="momentum")
    trainer.train()
    labels, differing = trainer.batch.labels, 0
    for ids, label in zip(labels.ids.tolist(), labels.groups.vote.pseudo_label.tolist(), strict=True):
        votes = Counter(answer for answer in ids[labels.num_policy :] if answer >= 0)
        assert votes[label] == max(votes.values())
        differing += votes.keys() != Counter(ids).keys()
    assert differing  # the policy gave answers that nobody could vote for


def test_frozen_labels_are_voted_once_a_prompt(make_trainer, chain_data, weights_of, monkeypatch):
    # 8 prompts, 4 a step: each is seen three times in 6 steps
    trainer = make_trainer(
        {"train_dataset": chain_data(8)}, label_source="frozen", log_completions=True, max_steps=6, beta=0.005
    )
    start, sampled_at, sample = weights_of(trainer), [], Sampler.sample_momentum

    def sample_and_note(*args):
        sampled_at.append(trainer.state.global_step + 1)
        return sample(*args)

    monkeypatch.setattr(Sampler, "sample_momentum", sample_and_note)
    trainer.train()
    labels = {}
    for path in (Path(trainer.args.output_dir) / "completions").glob("*.parquet"):
        for row in pq.read_table(path).to_pylist():
            assert row["model"] == "policy"
            labels.setdefault(row["prompt"], set()).add(row["pseudo_label"])
            assert row["reward"] == float(row["answer"] is not None and row["answer"] == row["pseudo_label"])
    assert len(labels) == 8 and all(len(seen) == 1 for seen in labels.values())
    rows = rows_of(trainer)
    assert sampled_at == [1, 2]
    assert [row.get(names.FLIP_RATE) for row in rows] == [None, None, 0, 0, 0, 0]
    with trainer.momentum_model.in_place_of_policy():
        held = weights_of(trainer)
    assert all(torch.equal(start[name], held[name]) for name in start)
    assert rows[-1][names.DISTANCE] > 0


def test_labels_that_flip_are_counted_and_cost(make_trainer, chain_data):
    # the same four prompts each step, at a rate that breaks the policy: labels flip
    trainer = make_trainer(
        {"train_dataset": chain_data(4, seed=1)}, learning_rate=0.05, label_flip_patience=1, max_steps=8
    )
    trainer.train()
    rows = rows_of(trainer)
    assert names.FLIP_RATE not in rows[0]
    assert max(row[names.FLIP_RATE] for row in rows[1:]) > 0
    assert min(row[names.FLIP_WEIGHT] for row in rows) < 1


def test_flip_weights_scale_the_advantages(make_trainer, chain_data):
    trainer = make_trainer(label_flip_patience=1)
    trainer.start_momentum_model()
    trainer.model.train()
    inputs = [row for row in chain_data(4) for _ in range(6)]
    for label in ("no", "answer", "no", "answer"):  # three flips in a row
        trainer.label_memory.visit([inputs[0]["prompt"]], [label], "text")
    output = trainer._generate_and_score_completions(inputs)
    labelled = trainer.batch.labels.groups
    expected = group_advantage(labelled.reward[:, :6], labelled.loss_mask)
    expected[0] *= 1 / 4  # patience 1, and the fourth flip in a row
    assert expected[0].any()
    torch.testing.assert_close(output["advantages"].view(4, 6), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("with_lora", [False, True])
def test_voters_at_a_temperature_of_their_own(make_trainer, chain_data, with_lora):
    peft = {"peft_config": LoraConfig(**LORA)} if with_lora else {}
    trainer = make_trainer(peft, momentum_temperature=0.01, temperature=1.5, num_momentum_generations=4)
    trainer.start_momentum_model()
    trainer.model.train()
    trainer._generate_and_score_completions([row for row in chain_data(4) for _ in range(6)])
    labels = trainer.batch.labels
    assert all(len(set(group[6:])) == 1 for group in labels.answers)  # as good as greedy
    assert any(len(set(group[:6])) > 1 for group in labels.answers)
    assert labels.entropy[:, 6:].max() < 0.1 < labels.entropy[:, :6].min()
    assert trainer.generation_config.temperature == trainer.generation_kwargs["temperature"] == 1.5


def test_m_rises_by_the_schedule(make_trainer):
    trainer = make_trainer(momentum=0.96, momentum_schedule="cosine", max_steps=3)
    trainer.train()
    # 1 - 0.04 (cos(pi t) + 1) / 2 at t = 0, 1/3, 2/3
    assert [row[names.MOMENTUM] for row in rows_of(trainer)] == pytest.approx([0.96, 0.97, 0.99])


def test_held_out_data_has_its_own_score(make_trainer, chain_data):
    trainer = make_trainer(
        {
            "train_dataset": gold_data(chain_data, lambda answer, i: {"text": answer}),
            "eval_dataset": gold_data(chain_data, lambda answer, i: {"number": i}),
            "gold_scorer": lambda answers, gold: [gold["text"] is None for _ in answers],
            "eval_gold_scorer": lambda answers, gold: [gold["number"] >= 0 for _ in answers],
        },
        max_steps=1,
        eval_strategy="steps",
        eval_steps=1,
        num_generations_eval=1,
        per_device_eval_batch_size=16,
    )
    trainer.train()
    measured = {name: value for row in rows_of(trainer) for name, value in row.items()}
    assert measured[names.GOLD_ACCURACY] == 0.0
    assert measured[names.EVAL_PREFIX + names.GOLD_ACCURACY] == 1.0


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        (None, "gold answer is {'text': .* pass a gold_scorer"),
        (lambda answers, gold: [True], "score gave 1 verdicts on 9 answers"),
    ],
)
def test_mistakes_in_scoring(make_trainer, chain_data, scorer, message):
    data = gold_data(chain_data, lambda answer, i: {"text": answer})
    with pytest.raises(UserError, match=message):
        make_trainer({"train_dataset": data, "gold_scorer": scorer}).train()


# Functions of the user's own.


def test_an_extractor_that_fails_at_times_is_counted(make_trainer):
    from mgrpo.embedded.task import extract_answer

    calls = []

    def fragile(text):
        calls.append(text)
        if len(calls) % 8 == 0:
            raise IndexError("no such part")
        return extract_answer(text)

    trainer = make_trainer({"answer_fn": fragile}, max_steps=1, probe_prompts=0)
    trainer.train()
    assert len(calls) == 32
    # 24 policy completions and 8 momentum completions are read, of which every 8th fails
    assert rows_of(trainer)[0][names.FAILED_RATE] == 4 / 32


def test_an_extractor_that_fails_always_ends_the_run(make_trainer):
    with pytest.raises(UserError, match="24 of 24 completions"):
        make_trainer({"answer_fn": lambda text: text.nothing}).train()


@pytest.mark.parametrize(
    ("trainer_kwargs", "settings", "message"),
    [
        ({"answer_fn": None}, {}, "answer_fn is missing.* pass .*TRL's own GRPOTrainer"),
        ({}, {"loss_type": "grpo"}, "loss_type is 'grpo'; it must be one of dapo"),
        ({"rollout_func": print}, {}, "rollout_func is given"),
        ({"equivalence": "tex"}, {}, "answer_equivalence is 'tex'"),
    ],
)
def test_refuses(make_trainer, trainer_kwargs, settings, message):
    with pytest.raises(UserError, match=message):
        make_trainer(trainer_kwargs, **settings)


@pytest.mark.parametrize(
    ("trainer_kwargs", "settings", "message"),
    [
        ({"answer_fn": "boxed"}, {}, r"answer_fn is 'boxed'.*get_extractor\('boxed'\)"),
        ({"model": "embedded"}, {}, r"model is 'embedded'.*load_model\('embedded'\)"),
        ({"model": "no/such/model"}, {}, "'no/such/model' does not exist"),
        ({"train_dataset": [{"prompt": "1+1="}]}, {}, "train_dataset is a list; pass a datasets.Dataset"),
        ({"train_dataset": None}, {}, "train_dataset is a NoneType"),
        ({"train_dataset": {"question": ["1+1="]}}, {}, "no column 'prompt', only question.*rename_column"),
        ({"train_dataset": {"prompt": ["1+1=", "", None]}}, {}, r"row 1 \(counted from 0\).* is empty, and 2 are"),
        ({"train_dataset": {"prompt": [[{"role": "user", "content": " "}]] * 8}}, {}, "row 0 .* is empty"),
        ({"eval_dataset": {"test": ["1+1="]}}, {}, "eval_dataset.* is a list"),
        ({"train_dataset": {"prompt": ["1+1="] * 8}}, {"label_source": "gold"}, "no right answers in .*'answer'"),
        ({}, {"max_completion_length": 64}, "max_completion_length is 64, but the model's context has 64 tokens"),
        ({"reward_funcs": lambda completions, answer: []}, {}, "asks for answer"),
        ({"reward_funcs": "rewards:mine"}, {}, "pass the function itself"),
        ({}, {"optim": "adamw_8bit"}, "optim is adamw_8bit"),
        ({}, {"temperature": "1.1"}, "temperature is '1.1'; it must be a number, above 0"),
        ({}, {"reward_weights": "1"}, "reward_weights is '1'; it must be a list"),
        ({}, {"generation_kwargs": "top_k"}, "generation_kwargs is 'top_k'; it must be a mapping"),
    ],
)
def test_mistakes_are_named_as_the_arguments_are(make_trainer, trainer_kwargs, settings, message):
    from datasets import Dataset

    data = trainer_kwargs.get("train_dataset")
    if isinstance(data, dict):
        trainer_kwargs = {**trainer_kwargs, "train_dataset": Dataset.from_dict(data)}
    if settings.get("label_source") == "gold":
        settings = {**settings, "num_momentum_generations": 0}
    with pytest.raises(UserError, match=message):
        make_trainer(trainer_kwargs, **settings)


def test_refuses_trls_config_for_the_vote(make_config, embedded, chain_data):
    from trl import GRPOConfig

    from mgrpo import MGRPOTrainer

    model, tokenizer = embedded()
    config = GRPOConfig(output_dir=make_config().output_dir, use_cpu=True, bf16=False)
    with pytest.raises(UserError, match="args is a GRPOConfig"):
        MGRPOTrainer(model, args=config, train_dataset=chain_data(), processing_class=tokenizer, answer_fn=str)
