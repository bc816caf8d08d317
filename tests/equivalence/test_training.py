"""Whole training runs that must end with the same bits."""

from collections import Counter

import pytest
import torch
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from mgrpo import MGRPOTrainer
from mgrpo.embedded.task import extract_answer


def train(trainer):
    trainer.train()
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


def assert_same_bits(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def as_trl(config):
    """The same settings for TRL's own trainer."""
    fields = {name for name in GRPOConfig.__dataclass_fields__ if name not in ("generation_batch_size",)}
    given = {name: getattr(config, name) for name in fields if GRPOConfig.__dataclass_fields__[name].init}
    return GRPOConfig(**{**given, "steps_per_generation": config.steps_per_generation})


def test_m_0_makes_the_momentum_model_the_policy(make_trainer):
    class Compare(TrainerCallback):
        compared = 0

        def on_step_end(self, args, state, control, **_):
            weights = trainer.momentum_model._weights
            for name, p in trainer.model.named_parameters():
                assert torch.equal(weights[name], p), name
            self.compared += 1

    trainer = make_trainer(momentum=0.0)
    trainer.add_callback(compare := Compare())
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    after = train(trainer)
    assert compare.compared == 3
    assert any(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("beta", [0.0, 0.005])
def test_no_momentum_and_no_filter_is_trl_with_a_voting_reward(make_config, chain_data, embedded, beta):
    config = make_config(
        num_momentum_generations=0,
        num_generations=8,
        per_device_train_batch_size=32,
        beta=beta,
        probe_prompts=4,  # which draws random numbers of its own
        skip_zero_advantage=False if beta == 0 else None,  # fewer rows in a pass round otherwise
    )

    def majority(completions, **_):
        rewards = []
        for start in range(0, len(completions), 8):
            answers = [extract_answer(text) for text in completions[start : start + 8]]
            counts = Counter(answer for answer in answers if answer is not None)
            label = max(counts, key=lambda answer: (counts[answer], -answers.index(answer)))
            rewards += [float(answer == label) for answer in answers]
        return rewards

    def build(type_, args, **given):
        model, tokenizer = embedded()
        return type_(model, args=args, train_dataset=chain_data(), processing_class=tokenizer, **given)

    theirs = train(build(GRPOTrainer, as_trl(config), reward_funcs=majority))
    ours = train(build(MGRPOTrainer, config, answer_fn=extract_answer))
    assert_same_bits(ours, theirs)


@pytest.mark.parametrize(
    "settings",
    [
        {"iqr_multiplier": 0.75, "probe_prompts": 4},
        {"label_source": "momentum", "momentum_schedule": "cosine", "kl_anchor": "momentum", "beta": 0.1},
        {"label_source": "frozen", "max_agreement": 0.9},
        {
            "label_source": "policy",
            "num_momentum_generations": 0,
            "reward": "soft_frequency",
            "mask_answer_span": True,
        },
        {"reward": "self_certainty", "filter_scope": "loss", "iqr_multiplier": 0.0},
        {"reward": "negative_entropy", "label_flip_patience": 1},
        {"reward": "random"},
    ],
    ids=lambda settings: "-".join(str(value) for value in settings.values()),
)
def test_gold_answers_reach_no_weight(make_trainer, chain_data, settings):
    """The product's one promise. A reward besides the vote looks for the answers as well, and must not find them.

    Of two steps the second samples with what the first has learnt.
    """
    seen = []

    def curious(completions, **kwargs):
        seen.append(set(kwargs))
        return [float(hash(str(kwargs.get("answer"))) % 7) for _ in completions]

    def run(data, **given):
        given |= {"train_dataset": data, "reward_funcs": curious}
        trainer = make_trainer(given, max_steps=2, **settings)
        weights = train(trainer)
        return weights, [row for row in trainer.state.log_history if "loss" in row]

    data = chain_data()
    shuffled = data["answer"][1:] + data["answer"][:1]
    structs = [{"answer": answer, "index": i} for i, answer in enumerate(shuffled)]
    present, present_log = run(data)
    absent, absent_log = run(data.remove_columns("answer"))
    wrong, wrong_log = run(
        data.remove_columns("answer").add_column("answer", structs),
        gold_scorer=lambda answers, gold: [answer == gold["answer"] for answer in answers],
    )
    assert_same_bits(present, absent)
    assert_same_bits(present, wrong)
    assert seen and not any("answer" in names for names in seen)
    # and yet they are measured, where they are
    assert all("gold/accuracy" in row for row in present_log)
    assert not any(name.startswith("gold/") for row in absent_log for name in row)
    assert [row["gold/accuracy"] for row in present_log] != [row["gold/accuracy"] for row in wrong_log]


def test_gold_labels_do_where_they_are_asked_for(make_trainer, chain_data):
    """What the test above would see if an answer came through."""

    def run(answers):
        data = chain_data().remove_columns("answer").add_column("answer", answers)
        trainer = make_trainer({"train_dataset": data}, label_source="gold", num_momentum_generations=0)
        weights = train(trainer)
        assert all(row["gold/label_accuracy"] == 1 for row in trainer.state.log_history if "loss" in row)
        return weights

    right = chain_data()["answer"]
    weights, shifted = run(right), run(right[1:] + right[:1])
    assert any(not torch.equal(weights[name], shifted[name]) for name in weights)
