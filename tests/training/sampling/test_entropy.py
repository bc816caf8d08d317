"""Trajectory entropies read off while sampling, against a forward pass over what was sampled."""

import pytest
import torch
from torch import nn

from mgrpo.training.sampling.entropy import EntropyRecorder, entropy_from_log_probs


@pytest.mark.parametrize("source", ["exact", "sampled"])
@pytest.mark.parametrize("with_lora", [False, True])
def test_entropies_of_a_forward_pass(make_trainer, chain_data, source, with_lora):
    from peft import LoraConfig

    peft_config = LoraConfig(target_modules="all-linear", r=4, init_lora_weights=False) if with_lora else None
    trainer = make_trainer({"peft_config": peft_config}, entropy_source=source, temperature=1.3)
    trainer.model.train()
    output = trainer._generate_and_score_completions([row for row in chain_data(4) for _ in range(6)])
    ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
    mask = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
    num_tokens = output["completion_ids"].shape[1]
    with torch.no_grad():
        log_p, entropy, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, mask, num_tokens, compute_entropy=True
        )
    values = entropy if source == "exact" else -log_p
    expected = (values * output["completion_mask"]).sum(1) / output["completion_mask"].sum(1)
    torch.testing.assert_close(trainer.batch.labels.entropy.flatten()[:24], expected, atol=1e-5, rtol=1e-4)


class Scripted(nn.Module):
    """A model whose passes give the logits it is told."""

    def forward(self, input_ids, logits):
        return type("Output", (), {"logits": logits})


def test_passes_after_the_last_token_do_not_count():
    # Three passes, uniform over 2, 4 and 8 tokens; the completions have 2 and 1 tokens.
    recorder = EntropyRecorder(temperature=1.0, source="exact")
    model = Scripted()
    with recorder.watch(model):
        for size in (2, 4, 8):
            logits = torch.full((2, 1, 8), -torch.inf)
            logits[:, :, :size] = 0.0
            model(input_ids=torch.zeros(2, 1, dtype=torch.long), logits=logits)
    entropy = recorder.trajectory_entropy([[1, 3], [1]])
    log_2 = torch.tensor(2.0).log()
    torch.testing.assert_close(entropy, torch.stack([1.5 * log_2, log_2]))


def test_log_probs_of_an_engine():
    # mean of -log p; a token that the engine could not score is left out
    assert entropy_from_log_probs([[-1.0, -3.0], [-2.0, None], []]).tolist() == [2.0, 2.0, 0.0]
