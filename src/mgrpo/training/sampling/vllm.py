"""Sampling through vLLM in the trainer's process, where policy and momentum model are LoRA adapters over one base.

TRL's `VLLMGeneration` merges an adapter into the base, hands every weight of the merged model over, and takes the
adapter out again. Here the engine keeps the base that it loaded, and is handed the adapter's A and B alone: the
policy's on a weight sync, the momentum model's with each generation batch. Both models' completions are then one batch
of the engine, in which each prompt names its adapter. Full fine-tuning and server mode are TRL's own, but for the
trajectory entropies, and for the message when a server fails.
"""

import itertools
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate.utils import set_seed
from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor
from trl.generation import vllm_generation
from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer import grpo_trainer

from mgrpo.errors import UserError
from mgrpo.training.checks import ENGINE_RANKS
from mgrpo.training.config import MGRPOConfig
from mgrpo.training.patches import replaced
from mgrpo.training.sampling.entropy import entropy_from_log_probs, entropy_from_top_log_probs
from mgrpo.training.sampling.momentum_model import MomentumModel
from mgrpo.training.sampling.sampler import PromptRows, Rollouts, Sampler
from mgrpo.training.sampling.vllm_server import clear_server_errors

NUM_TOP = 20
"""The most log-probabilities a token that vLLM gives by default."""
RAM = Path("/dev/shm")


@contextmanager
def engines_for(config: MGRPOConfig) -> Iterator[None]:
    """Within the block a TRL trainer builds these engines."""

    def make(**kwargs: Any) -> EntropyGeneration:
        if config.entropy_source == "top_20":
            kwargs["logprobs"] = min(NUM_TOP, kwargs["model"].config.get_text_config().vocab_size)
        if kwargs["mode"] != "colocate":
            return EntropyGeneration(**kwargs)
        engine = EntropyGeneration
        if isinstance(kwargs["model"], PeftModel):
            assert config.num_generations is not None
            rows_along = kwargs["max_num_seqs"] // config.num_generations * config.num_momentum_generations
            engine, kwargs["max_num_seqs"] = AdapterGeneration, kwargs["max_num_seqs"] + rows_along
        generation = engine(**kwargs)
        if kwargs["tensor_parallel_size"] == 1:  # else the ranks of an engine must draw the same numbers
            set_seed(config.seed, device_specific=True)  # vLLM has started every run's at the rank
        return generation

    if config.world_size == 1 and config.vllm_mode == "colocate":
        # TRL's is the first of a few that is free now, and so another run's that starts at the same time, too
        os.environ.setdefault("MASTER_PORT", str(_free_port()))
    with replaced(grpo_trainer, "VLLMGeneration", make):
        yield


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class VLLMSampler(Sampler):
    """Samples through vLLM: two adapters in one batch, full weights one model after the other.

    Attributes:
        engine: one of the two below.
        config: the run's.
        forget_weights: makes TRL hand over the weights in the model before it samples next.
    """

    engine: "EntropyGeneration"
    config: MGRPOConfig
    forget_weights: Callable[[], None]

    def sample(self, policy: PromptRows, momentum: PromptRows | None = None) -> tuple[Rollouts, Rollouts | None]:
        """Sample in one batch where the engine holds both adapters."""
        # a frozen model's votes are seldom sampled, and then alone
        if momentum is None or not isinstance(self.engine, AdapterGeneration) or self.config.label_source == "frozen":
            return super().sample(policy, momentum)
        assert self.momentum_model is not None
        both = self.engine.both(self.momentum_model, len(momentum.ids), self.momentum_temperature)
        return self.sample_together(policy, momentum, both)

    def sample_momentum(self, rows: PromptRows) -> Rollouts:
        """Sample from the momentum model alone; the engine takes over its weights, and the policy's next time."""
        self.forget_weights()
        try:
            return super().sample_momentum(rows)
        finally:
            self.forget_weights()

    def run(self, rows: PromptRows) -> Rollouts:
        """Sample from the weights in the engine, with entropies."""
        started = time.perf_counter()
        client = getattr(self.engine, "vllm_client", None)  # on the main process, in server mode
        with clear_server_errors(self.config, client):
            ids, log_probs = self.generate(rows)
        seconds = time.perf_counter() - started
        return Rollouts(ids, self.engine.entropy, None, rows.ids, log_probs, seconds)

    def at_temperature(self, temperature: float) -> AbstractContextManager:
        """Within the block the engine samples at a temperature."""
        return replaced(self.engine, "temperature", temperature)


class EntropyGeneration(VLLMGeneration):
    """TRL's engine, which also says the trajectory entropies of what it sampled.

    Attributes:
        entropy: of the completions of the last call, (B,), in nats per token.
    """

    entropy: Tensor

    def generate(self, *args: Any, **kwargs: Any) -> tuple:
        """Generate as TRL does, and return the sampled tokens' log-probabilities alone."""
        prompt_ids, completion_ids, log_probs, token_ids = super().generate(*args, **kwargs)
        if self.logprobs:
            top = [[token[: self.logprobs] for token in row] for row in log_probs]
            # TRL's trainer takes a token's first for the sampled token's, and they are sorted
            log_probs, token_ids = sampled_alone(completion_ids, log_probs, token_ids)
        sampled = [[token[0] for token in row] for row in log_probs]
        self.entropy = entropy_from_top_log_probs(top, sampled) if self.logprobs else entropy_from_log_probs(sampled)
        return prompt_ids, completion_ids, log_probs, token_ids


def sampled_alone(completion_ids: list, log_probs: list, token_ids: list) -> tuple[list, list]:
    """Of each token's log-probabilities, and of the tokens that they are of, the sampled one's."""
    log_probs = [
        [[values[candidates.index(token)]] for token, values, candidates in zip(*row, strict=True)]
        for row in zip(completion_ids, log_probs, token_ids, strict=True)
    ]
    return log_probs, [[[token] for token in ids] for ids in completion_ids]


class AdapterGeneration(EntropyGeneration):
    """TRL's colocated engine over a base that stays as it is, with two adapters at most.

    Args:
        model: the policy.
        **kwargs: TRL's, as they are.
    """

    def __init__(self, model: PeftModel, **kwargs: Any) -> None:
        self._adapter = model.active_peft_config
        self._numbers = itertools.count(1)
        self._policy: Any = None
        self._momentum: Any = None
        self._num_momentum = 0
        self._momentum_temperature: float | None = None
        rank = next(size for size in ENGINE_RANKS if size >= self._adapter.r)

        def engine(**settings: Any) -> Any:
            return build(enable_lora=True, max_loras=2, max_lora_rank=rank, **settings)

        build: Callable[..., Any] = vllm_generation.LLM
        with replaced(vllm_generation, "LLM", engine):
            super().__init__(model=model, **kwargs)

    def sync_weights(self) -> None:
        """Hand the engine the adapter in the model, in place of the one handed over before."""
        self._policy = self._hand_over(self._policy)
        self.llm.reset_prefix_cache()

    @contextmanager
    def both(self, momentum_model: MomentumModel, num_momentum: int, temperature: float | None) -> Iterator[None]:
        """Within the block the last prompts are the momentum model's.

        Args:
            momentum_model: whose weights are handed over now.
            num_momentum: of the prompts, its last ones.
            temperature: at which these are sampled. None: the policy's.
        """
        with momentum_model.in_place_of_policy():
            self._momentum = self._hand_over(self._momentum)
        self._num_momentum, self._momentum_temperature = num_momentum, temperature
        try:
            yield
        finally:
            self._num_momentum, self._momentum_temperature = 0, None

    def generate(self, prompts: list, *args: Any, **kwargs: Any) -> tuple:
        """Generate as TRL does, each prompt with its model's adapter."""
        llm_generate = self.llm.generate
        num_policy, num_momentum = len(prompts) - self._num_momentum, self._num_momentum

        def generate_with_adapters(rows: list, sampling_params: Any, **options: Any) -> Any:
            momentum_params = sampling_params.clone()
            momentum_params.temperature = self._momentum_temperature or sampling_params.temperature
            num_ranks = len(rows) // len(prompts)  # of a tensor parallel group, whose prompts TRL puts in a line
            return llm_generate(
                rows,
                sampling_params=([sampling_params] * num_policy + [momentum_params] * num_momentum) * num_ranks,
                lora_request=([self._policy] * num_policy + [self._momentum] * num_momentum) * num_ranks,
                **options,
            )

        with replaced(self.llm, "generate", generate_with_adapters):
            return super().generate(prompts, *args, **kwargs)

    def _hand_over(self, before: Any) -> Any:
        """Load the model's adapter into the engine under a new number, and unload the one that it replaces.

        vLLM reads adapters from files. They lie in memory, and only for as long as it reads.
        """
        from vllm.lora.request import LoRARequest

        if before is not None:
            self.llm.llm_engine.remove_lora(before.lora_int_id)
        number = next(self._numbers)
        weights = get_peft_model_state_dict(self.model)
        with tempfile.TemporaryDirectory(prefix="mgrpo-adapter-", dir=_memory_directory_for(weights)) as directory:
            self._adapter.save_pretrained(directory)
            save_file(weights, Path(directory, "adapter_model.safetensors"))
            # the prefix cache tells adapters apart by their names
            request = LoRARequest(f"adapter-{number}", number, directory)
            try:
                self.llm.llm_engine.add_lora(request)
            except ValueError as error:
                raise UserError(
                    f"vLLM does not take the adapter: {error} Choose other lora_target_modules, or set use_vllm to "
                    "false."
                ) from error
        return request


def _memory_directory_for(weights: dict) -> Path | None:
    """A directory in memory if there is one with enough space, else None: the usual one."""
    num_bytes = sum(weight.numel() * weight.element_size() for weight in weights.values())
    return RAM if RAM.is_dir() and shutil.disk_usage(RAM).free > 2 * num_bytes else None
