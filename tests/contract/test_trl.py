"""What mgrpo relies on in TRL's inside. When TRL changes one of these, this file fails before any training does."""

import inspect
import re
from importlib.metadata import version

import pytest
import torch
import trl.trainer.utils
from transformers import Trainer
from trl import GRPOTrainer
from trl.generation.vllm_generation import VLLMGeneration

from mgrpo import MGRPOTrainer
from mgrpo.algorithm import group_advantage
from mgrpo.training.resumable_trainer import ResumableTrainer

OVERRIDDEN = {
    "_calculate_rewards": "(self, inputs, prompts, completions, completion_ids_list)",
    "_generate_and_score_completions": "(self, inputs: list[dict[str, torch.Tensor | typing.Any]])"
    " -> dict[str, torch.Tensor | typing.Any]",
    "_generate": "(self, prompts: list)",
    "_generate_single_turn": "(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False)",
    "_load_optimizer_and_scheduler": "(self, checkpoint)",
    "_save_checkpoint": "(self, model, trial)",
    "_load_best_model": "(self) -> None",
    "_run_epoch": "(self, model, epoch, train_dataloader, steps_in_epoch, num_update_steps_per_epoch, trial,"
    " ignore_keys_for_eval, start_time, resume_from_checkpoint, epochs_trained, steps_trained_in_current_epoch)",
    "_finalize_training": "(self, trial, num_train_samples, start_time)",
}
CALLED = {
    "_tokenize_prompts": "(self, prompts: list)",
    "_save_optimizer_and_scheduler": "(self, output_dir: str) -> None",
    "_save_scaler": "(self, output_dir: str) -> None",
    "_save_rng_state": "(self, output_dir: str) -> None",
    "_push_from_checkpoint": "(self, checkpoint_folder: str) -> None",
}
SAVED_BY_TRANSFORMERS = (
    "save_model _save_optimizer_and_scheduler _save_scaler _save_rng_state save_to_json _push_from_checkpoint"
)
"""What its `_save_checkpoint` calls to write, in order; ours calls the same."""
LOG_PROBS = "_get_per_token_logps_and_entropies"
"""Overridden too, and called; its first parameters are used by name, the others handed on as they are."""
LOG_PROBS_PARAMETERS = ["self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size"]


def test_trl_is_the_minor_version_that_was_read():
    assert version("trl").split(".")[:2] == ["1", "16"]


@pytest.mark.parametrize("name", [*OVERRIDDEN, *CALLED])
def test_signature(name):
    signature = str(inspect.signature(getattr(GRPOTrainer, name)))
    assert (
        signature.replace("Any", "typing.Any").replace("typing.typing.", "typing.") == {**OVERRIDDEN, **CALLED}[name]
    )


def test_log_probabilities_are_asked_for_by_these_names():
    signature = inspect.signature(getattr(GRPOTrainer, LOG_PROBS))
    assert list(signature.parameters)[: len(LOG_PROBS_PARAMETERS)] == LOG_PROBS_PARAMETERS


def test_no_other_private_method_is_overridden():
    own = {**vars(MGRPOTrainer), **vars(ResumableTrainer)}
    private = {name for name in own if name.startswith("_") and not name.startswith("__")}
    assert {name for name in private if hasattr(GRPOTrainer, name)} - {"_tag_names"} == {*OVERRIDDEN, LOG_PROBS}


def test_a_checkpoint_is_written_by_these():
    source = inspect.getsource(Trainer._save_checkpoint)
    written = re.findall(r"\.(save_\w+|_save_\w+|_push_\w+)\(", source)
    assert written == SAVED_BY_TRANSFORMERS.split()
    own = inspect.getsource(GRPOTrainer._save_checkpoint)
    assert "create_model_card" in own and own.count("open(") == 1 and "entropy_ctrl_state.json" in own


def test_state_that_is_read_or_set_exists(make_trainer):
    trainer = make_trainer()
    for name in ("_metrics", "num_generations", "num_generations_eval", "log_completions"):
        assert hasattr(trainer, name)
    assert set(trainer._metrics) == {"train", "eval"}
    for name in ("_step", "_buffered_inputs", "num_iterations", "use_adaptive_entropy", "callback_handler"):
        assert hasattr(trainer, name)
    in_loop = inspect.getsource(Trainer._inner_training_loop)
    for name in ("_tr_loss", "_total_loss_scalar", "_initial_global_step", "_globalstep_last_logged"):
        assert f"self.{name} = " in in_loop[: in_loop.index("on_train_begin")]  # where they are set anew
    assert "_last_loaded_step" in inspect.getsource(GRPOTrainer._generate_single_turn)
    assert isinstance(trl.trainer.utils._CHUNKED_LOGPROB_CHUNK_SIZE, int)
    assert "_CHUNKED_LOGPROB_CHUNK_SIZE" in inspect.getsource(trl.trainer.utils.add_fused_lm_head)


def test_engines_are_built_by_these_names():
    assert "VLLMGeneration(\n" in inspect.getsource(GRPOTrainer.__init__)
    assert "self.llm = LLM(\n" in inspect.getsource(VLLMGeneration._init_vllm)
    assert "self.llm.generate(vllm_prompts, sampling_params=" in inspect.getsource(VLLMGeneration.generate)
    for name in ("model", "mode", "max_num_seqs", "tensor_parallel_size", "logprobs"):
        assert name in inspect.signature(VLLMGeneration).parameters


@pytest.mark.parametrize("iqr_multiplier", [None, 0.0, 0.75])
def test_trl_computes_our_advantages(make_trainer, chain_data, iqr_multiplier):
    trainer = make_trainer(iqr_multiplier=iqr_multiplier)
    trainer.start_momentum_model()
    trainer.model.train()
    inputs = [row for row in chain_data(4) for _ in range(6)]
    output = trainer._generate_and_score_completions(inputs)
    labelled = trainer.batch.labels.groups
    ours = group_advantage(labelled.reward[:, :6], labelled.loss_mask)
    assert iqr_multiplier is None or not labelled.loss_mask.all()  # else nothing was dropped and nothing is shown
    assert ours.any()
    torch.testing.assert_close(output["advantages"].view(4, 6), ours, atol=1e-6, rtol=1e-5)
