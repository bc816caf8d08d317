"""Full fine-tuning through a real vLLM engine: each model's weights once a batch. `make vllm` runs it."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from vllm_engine import check_that_it_learnt, largest_difference, make_engine_trainer  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory, chain_data):
    """A trainer after 3 steps through vLLM; each sync and each batch of its engine, with how far that was off."""
    trainer = make_engine_trainer(
        tmp_path_factory.mktemp("full"), chain_data, entropy_source="sampled", learning_rate=1e-3
    )
    generation, events = trainer.vllm_generation, []
    generate = generation.llm.generate

    def sync_weights():
        """As TRL's, which on a CPU finds packed weights that it cannot write to (docs/how-to/vllm.md)."""
        events.append("sync")
        weights = [(name, weight.data) for name, weight in generation.model.named_parameters()]
        generation.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
        generation.llm.reset_prefix_cache()

    def recording_generate(*args, **kwargs):
        outputs = generate(*args, **kwargs)
        events.append((len(outputs), largest_difference(generation.model.eval(), outputs, 1.1)))
        generation.model.train()
        return outputs

    generation.sync_weights, generation.llm.generate = sync_weights, recording_generate
    trainer.train()
    return trainer, events


def test_it_learns(trained):
    check_that_it_learnt(trained[0])


def test_each_model_is_handed_over_once_a_batch(trained):
    _, events = trained
    kinds = [event if event == "sync" else event[0] for event in events]
    assert kinds == ["sync", 12, "sync", 4] * 3


def test_each_model_samples_from_its_own_weights(trained):
    _, events = trained
    # the model holds the weights that should have sampled: the policy's, then the momentum model's
    assert max(event[1] for event in events if event != "sync") < 1e-3
