"""Rows that teach nothing are skipped, and training does not notice."""

import math

import pytest
import torch
from peft import LoraConfig

from mgrpo.embedded.task import extract_answer
from mgrpo.runs import metrics as names
from mgrpo.training.skipped_rows import rows_to_compute, take_rows

COMPLETIONS = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 1, 0]])


def test_rows_with_a_token_in_the_loss_are_computed():
    in_loss = torch.tensor([[0, 0, 1], [0, 0, 1], [0, 1, 1], [1, 0, 0]])
    # the first row's only token is padding, and the third's; the second and the last have one each
    assert rows_to_compute({"completion_mask": COMPLETIONS, "tool_mask": in_loss}).tolist() == [1, 3]
    assert rows_to_compute({"completion_mask": COMPLETIONS}).tolist() == [0, 1, 2, 3]


def test_one_row_is_left_where_none_teaches():
    batch = {"completion_mask": COMPLETIONS, "tool_mask": torch.zeros_like(COMPLETIONS)}
    assert rows_to_compute(batch).tolist() == [0]


def test_rows_are_taken_from_all_that_has_rows():
    batch = {"ids": torch.arange(8).view(4, 2), "advantages": torch.arange(4.0), "num_items_in_batch": torch.tensor(9)}
    taken = take_rows(batch, torch.tensor([1, 3]))
    assert taken["ids"].tolist() == [[2, 3], [6, 7]]
    assert taken["advantages"].tolist() == [1, 3]
    assert taken["num_items_in_batch"] == 9


def metrics_of(trainer, *metrics):
    """The metrics of each step; nan where one is not logged."""
    rows = [row for row in trainer.state.log_history if "loss" in row]
    return [[math.nan if row.get(name) is None else row[name] for name in metrics] for row in rows]


def slow(*values, id):
    return pytest.param(*values, id=id, marks=pytest.mark.slow)


LORA = {"peft_config": LoraConfig(r=4, target_modules="all-linear")}
SMALL_PASSES = {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 8}
MORE_STEPS_THAN_BATCHES = {
    "per_device_train_batch_size": 6, "gradient_accumulation_steps": 2, "steps_per_generation": 4, "num_iterations": 2,
    "max_steps": 8,
}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "settings"),
    [
        pytest.param({}, {"iqr_multiplier": 0.0, "beta": 0.1}, id="kl"),
        slow({}, {"iqr_multiplier": 0.0, "beta": 0.1, "kl_anchor": "momentum"}, id="kl-to-momentum"),
        slow(LORA, {"iqr_multiplier": 0.0, "beta": 0.1}, id="kl-lora"),
        slow({}, {"iqr_multiplier": 0.0, "beta": 0.0, "loss_type": "bnpo"}, id="bnpo"),
        slow({}, {"beta": 0.0}, id="no-filter"),
        pytest.param({}, {"iqr_multiplier": 0.0, "beta": 0.0, "share_prompts": True}, id="filter"),
        slow({}, {"iqr_multiplier": 0.0, "beta": 0.0, **SMALL_PASSES}, id="small-passes"),
        pytest.param({}, {"iqr_multiplier": 0.0, "beta": 0.0, **MORE_STEPS_THAN_BATCHES}, id="old-policy"),
        slow({}, {"beta": 0.0, "loss_type": "cispo", "epsilon_high": 5.0, **MORE_STEPS_THAN_BATCHES}, id="cispo"),
    ],
)
def test_weights_are_those_of_all_rows(make_trainer, weights_of, given, settings):
    def run(skip_zero_advantage):
        # plain descent: Adam divides gradients that are 0 but for rounding by their own size
        trainer = make_trainer(
            given,
            **{"optim": "sgd", "learning_rate": 0.1, "max_steps": 4, **settings},
            skip_zero_advantage=skip_zero_advantage,
        )
        start = weights_of(trainer)
        trainer.train()
        return start, weights_of(trainer), trainer

    _, expected, all_rows = run(skip_zero_advantage=False)
    start, packed, trainer = run(skip_zero_advantage=None)
    moved = max((expected[name] - start[name]).abs().max() for name in start)
    assert moved > 1e-3
    for name, weight in expected.items():
        torch.testing.assert_close(packed[name], weight, atol=1e-5, rtol=1e-5)
    skipped = [share for (share,) in metrics_of(trainer, names.ROWS_SKIPPED)]
    assert all(0 <= share < 1 for share in skipped) and max(skipped) > 0
    assert all(names.ROWS_SKIPPED not in row for row in all_rows.state.log_history)
    same = ["loss", names.GRAD_NORM, "num_tokens", "reward", "frac_reward_zero_std"]
    if settings["beta"] or settings.get("loss_type") == "bnpo":  # rows with advantage 0 are all there
        same += ["entropy", *([names.KL] if settings["beta"] else [])]
    for ours, theirs in zip(metrics_of(trainer, *same), metrics_of(all_rows, *same), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5, nan_ok=True)


def test_a_step_in_which_nothing_is_left_is_adams_own(make_trainer, weights_of):
    def run(skip_zero_advantage):
        calls = []

        def silent_from_the_second_batch_on(text):
            calls.append(text)
            return extract_answer(text) if len(calls) <= 32 else None

        trainer = make_trainer(
            {"answer_fn": silent_from_the_second_batch_on},
            probe_prompts=0,
            max_steps=3,
            adam_epsilon=1e-3,
            skip_zero_advantage=skip_zero_advantage,
        )
        trainer.train()
        return weights_of(trainer), trainer

    expected, _ = run(skip_zero_advantage=False)
    packed, trainer = run(skip_zero_advantage=None)
    # beta is 0.005: of the first batch every row is kept for its KL, of the others one of 24
    assert metrics_of(trainer, names.ROWS_SKIPPED, names.GRAD_NORM)[1:] == [[pytest.approx(23 / 24), 0.0]] * 2
    for name, weight in expected.items():
        torch.testing.assert_close(packed[name], weight, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "skipped"),
    [
        ({"beta": 0.0}, True),
        ({"beta": 0.005}, False),
        ({"beta": 0.005, "skip_zero_advantage": True}, True),
        ({"beta": 0.0, "skip_zero_advantage": False}, False),
        ({"beta": 0.0, "loss_type": "bnpo"}, False),
        ({"beta": 0.0, "entropy_coef": 0.01}, False),
        ({"beta": 0.0, "top_entropy_quantile": 0.5}, False),
    ],
)
def test_rows_with_advantage_0_are_skipped_where_the_loss_does_not_need_them(
    make_trainer, chain_data, settings, skipped
):
    trainer = make_trainer(temperature=0.7, **settings)  # some groups agree
    trainer.start_momentum_model()
    trainer.model.train()
    output = trainer._generate_and_score_completions([row for row in chain_data(4) for _ in range(6)])
    is_equal = output["advantages"] == 0
    assert 0 < is_equal.sum() < 24
    assert output["num_items_in_batch"] == output["completion_mask"].sum()
    trainer.current_gradient_accumulation_steps = 1
    trainer.compute_loss(trainer.model, output)
    share = is_equal.float().mean().item() if skipped else 0
    metrics = trainer._metrics["train"]
    assert metrics.get(names.ROWS_SKIPPED, [0]) == [pytest.approx(share)]
