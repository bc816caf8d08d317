"""Each preset's reward and loss mask on one group, worked out by hand; the recipes are read as a user's are."""

import pytest
import torch

from mgrpo.algorithm import KnownLabels, label_group
from mgrpo.recipes.files import PRESETS, read_recipe_files
from mgrpo.recipes.recipe import load_recipe
from mgrpo.training.labelling import METHOD_FIELDS

SEVEN, FOUR, NINE = 0, 1, 2
# Four completions of the policy, two of the momentum model.
POLICY, MOMENTUM = [SEVEN, FOUR, SEVEN, -1], [FOUR, FOUR]
# Of all six Q1 = 1.0 and Q3 = 1.175 (sorted .1 1.0 1.0 1.1 1.2 3.0, places 1.25 and 3.75), the fence is at 0.869.
ENTROPY = torch.tensor([[0.1, 1.0, 1.1, 3.0, 1.2, 1.0]])
CERTAINTY = torch.tensor([[5.0, 4.0, 3.0, 2.0, 1.0, 0.0]])


def load(preset):
    fields = read_recipe_files(["embedded", preset])
    return load_recipe(fields, source=preset)


def label(preset):
    config = load(preset).config
    ids = torch.tensor([POLICY + (MOMENTUM if config.num_momentum_generations else [])])
    size = ids.shape[1]
    gold = torch.tensor([[answer == FOUR for answer in ids[0].tolist()]])
    return config, label_group(
        ids,
        4,
        ENTROPY[:, :size],
        known_labels=KnownLabels(gold, torch.tensor([True])) if config.label_source == "gold" else None,
        self_certainty=CERTAINTY[:, :size],
        **{name: getattr(config, name) for name in METHOD_FIELDS},
    )


@pytest.mark.parametrize(
    ("preset", "rewards", "learnt"),
    [
        # of the policy's three answers two are 7
        ("srt", [1, 0, 1, 0], [1, 1, 1, 1]),
        # of five answers three are 4: the extra voters decide
        ("ttrl", [0, 1, 0, 0], [1, 1, 1, 1]),
        ("m-grpo-no-filter", [0, 1, 0, 0], [1, 1, 1, 1]),
        # the filter drops the first completion, and its vote
        ("m-grpo", [0, 1, 0, 0], [0, 1, 1, 1]),
        ("co-rewarding-ii", [0, 1, 0, 0], [1, 1, 1, 1]),
        ("lagged-voters", [0, 1, 0, 0], [1, 1, 1, 1]),
        # shares of three answers
        ("om-grpo", [2 / 3, 1 / 3, 2 / 3, 0], [1, 1, 1, 1]),
        ("intuitor", [5, 4, 3, 2], [1, 1, 1, 1]),
        ("rent", [-0.1, -1.0, -1.1, -3.0], [1, 1, 1, 1]),
        ("grpo-gold", [0, 1, 0, 0], [1, 1, 1, 1]),
    ],
)
def test_by_hand(preset, rewards, learnt):
    _, labelled = label(preset)
    torch.testing.assert_close(labelled.reward[:, :4], torch.tensor([rewards], dtype=torch.float32))
    assert labelled.loss_mask.int().tolist() == [learnt]


def test_random_is_a_coin():
    torch.manual_seed(0)
    outcomes = torch.cat([label("random")[1].reward for _ in range(50)])
    assert outcomes.unique().tolist() == [0, 1]
    assert outcomes.std(dim=0).min() > 0  # each completion's own coin


def test_what_else_presets_set():
    assert load("ttrl").config.momentum == 0
    assert load("m-grpo").config.momentum == 0.99
    co_rewarding = load("co-rewarding-ii").config
    assert (co_rewarding.momentum_schedule, co_rewarding.kl_anchor) == ("cosine", "momentum")
    assert load("om-grpo").config.mask_answer_span
    assert load("lagged-voters").config.momentum_temperature == 0.5 < load("lagged-voters").config.temperature


@pytest.mark.parametrize("base", ["smollm2-math", "smollm2-arithmetic", "smollm2-reasoning-gym"])
def test_recipes_of_real_models_have_the_recommended_method_and_take_any_other(base):
    lagged = read_recipe_files(["lagged-voters"])
    method = {"label_source", "momentum_temperature", "iqr_multiplier", "momentum"}
    assert {name: read_recipe_files([base])[name] for name in method} == {name: lagged[name] for name in method}
    for preset in PRESETS.glob("*.yaml"):
        config = load_recipe(read_recipe_files([base, preset.stem]), source=base).config
        if config.num_momentum_generations:
            assert (config.momentum_temperature == 0.5) == (preset.stem == "lagged-voters"), preset.stem


def test_presets_set_the_method_alone():
    sizes_and_rest = {"num_generations", "per_device_train_batch_size", "learning_rate", "temperature", "beta", "task"}
    names = {path.stem for path in PRESETS.glob("*.yaml")}
    assert len(names) >= 10
    for name in names:
        assert not sizes_and_rest & read_recipe_files([name]).keys(), name
