"""Sampling through transformers."""

import pytest
from peft import LoraConfig

from mgrpo.models.load import load_model

LORA = LoraConfig(r=4, target_modules="all-linear")


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_the_models_own_generation_settings_do_not_shape_what_is_sampled(make_trainer, kind):
    """They would change completions and not the log-probabilities; they are saved as they were."""
    batches = []
    for own in ({}, {"no_repeat_ngram_size": 1, "suppress_tokens": [3, 4, 5], "repetition_penalty": 2.0}):
        model, _ = load_model("embedded")
        for name, value in own.items():
            setattr(model.generation_config, name, value)
        given = {"model": model} | ({"peft_config": LORA} if kind == "lora" else {})
        trainer = make_trainer(given, max_steps=1)
        trainer.train()
        batches.append((trainer.batch.policy.completion_ids, trainer.batch.momentum.completion_ids))
    assert batches[0] == batches[1]
    assert model.generation_config.no_repeat_ngram_size == 1 and model.generation_config.suppress_tokens == [3, 4, 5]
