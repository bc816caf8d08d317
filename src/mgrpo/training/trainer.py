"""`MGRPOTrainer`: M-GRPO on TRL's GRPOTrainer.

The changes to GRPO are three, and there are no others:

1. Before the rewards, N completions are sampled from the momentum model; filter and majority vote over all M + N
   completions of a group give its pseudo-label, and agreement with it is the policy's reward.
2. Policy completions that the filter dropped, and groups without a pseudo-label, are masked out of every term of the
   loss and out of the token count it is divided by. Momentum completions never enter TRL's group at all.
3. After each optimizer step the momentum weights follow the policy's.

All of TRL's private methods that mgrpo overrides are in this file; `tests/contract` pins their signatures.
"""

import inspect
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather, gather_object
from torch import Tensor, nn
from trl import GRPOTrainer

from mgrpo.answers import get_equivalence
from mgrpo.errors import UserError
from mgrpo.monitoring import names
from mgrpo.tasks.task import Scorer
from mgrpo.training.callbacks import FiniteGradients, MomentumUpdate, RunFiles
from mgrpo.training.config import MGRPOConfig, check_loss_type
from mgrpo.training.momentum_model import MomentumModel
from mgrpo.training.rollout import EntropyRecorder, Rollouts, entropy_from_log_probs
from mgrpo.training.voting import (
    VotedBatch,
    completion_rows,
    equivalent_to_gold,
    gold_metrics,
    is_known,
    spread_metrics,
    vote,
    vote_metrics,
)


class MGRPOTrainer(GRPOTrainer):
    """Label-free GRPO with a momentum model; a drop-in for TRL's `GRPOTrainer`.

    With `answer_fn`, pseudo-labels are voted and agreement is rewarded. Without it, and with
    `num_momentum_generations=0`, this is TRL's trainer in every respect.

    Args:
        *args: TRL's, as they are.
        answer_fn: reads the answer out of a completion's text; None where there is none.
        equivalence: when two answers are the same: a name that `mgrpo.answers.get_equivalence` takes.
        gold_column: data column with right answers. It is taken out of every batch before anything is sampled, so no
            reward can see it; it is only compared with the outcome, and logged under `gold/`.
        gold_scorer: which of some answers to one prompt are right, given that prompt's value in the gold column, which
            may then be anything. None: those equivalent to it.
        eval_gold_scorer: the same for the evaluation data. None: `gold_scorer`.
        **kwargs: TRL's, as they are. `reward_funcs` may stand beside the vote; the first of `reward_weights` is then
            the vote's.

    Raises:
        UserError: for a setting that the vote cannot work with.
    """

    _tag_names = ["trl", "mgrpo"]

    def __init__(
        self,
        *args: Any,
        answer_fn: Callable[[str], str | None] | None = None,
        equivalence: str = "text",
        gold_column: str = "answer",
        gold_scorer: Scorer | None = None,
        eval_gold_scorer: Scorer | None = None,
        **kwargs: Any,
    ) -> None:
        given = inspect.signature(GRPOTrainer.__init__).bind(self, *args, **kwargs).arguments
        del given["self"]
        self.answer_fn = answer_fn
        self.equivalence = equivalence
        self.gold_column = gold_column
        self.gold_scorer = gold_scorer or partial(equivalent_to_gold, equivalence=equivalence)
        self.eval_gold_scorer = eval_gold_scorer or self.gold_scorer
        self.momentum_model: MomentumModel | None = None
        self.completion_rows: list[dict] = []
        """The last generation batch as table rows, on the main process, for a callback to write down."""
        config = given.get("args")
        num_momentum = getattr(config, "num_momentum_generations", 0)
        if answer_fn is None and num_momentum:
            raise UserError(
                f"num_momentum_generations is {num_momentum}, but without answer_fn there is no vote to take part in; "
                "pass answer_fn, or set num_momentum_generations to 0."
            )
        if answer_fn is not None:
            if config is None:
                config = given["args"] = MGRPOConfig()
            _check_votable(config, given)
            get_equivalence(equivalence)
            self._recorder = EntropyRecorder(config.temperature, config.entropy_source)
            rewards = given.get("reward_funcs") or []
            given["reward_funcs"] = [self._vote_reward, *(rewards if isinstance(rewards, list) else [rewards])]
        self._entropy: Tensor | None = None
        self._batch: VotedBatch | None = None
        self._seconds: dict[str, float] = defaultdict(float)
        self._checkpoint: str | None = None
        super().__init__(**given)
        if answer_fn is not None:
            # TRL's own table has no momentum completions, votes or entropies; `completion_rows` has.
            self.log_completions = False
            self.gradient_guard = FiniteGradients()
            for callback in (self.gradient_guard, MomentumUpdate(self, self.gradient_guard), RunFiles(self)):
                self.add_callback(callback)

    def start_momentum_model(self) -> None:
        """Start the momentum model at the policy, or where the checkpoint left it; no-op for N = 0."""
        if self.answer_fn is None or not self.args.num_momentum_generations:
            return
        self.momentum_model = MomentumModel(self.accelerator.unwrap_model(self.model), self.args.momentum)
        if self._checkpoint is not None:
            self.momentum_model.load(Path(self._checkpoint))

    def save_momentum_model(self, directory: str | Path) -> None:
        """Save the momentum model as a plain transformers model or PEFT adapter.

        Raises:
            UserError: if there is none.
        """
        if self.momentum_model is None:
            raise UserError("there is no momentum model to save; it exists once training began with N > 0.")
        with self.momentum_model.in_place_of_policy():
            self.save_model(str(directory))

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate as TRL does, without a trace in training: the random state is put back afterwards."""
        if self.answer_fn is None:
            return super().evaluate(*args, **kwargs)
        device = self.accelerator.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(self.args.seed + self.accelerator.process_index)
            return super().evaluate(*args, **kwargs)

    def log_metric(self, name: str, value: float) -> None:
        """Add a training metric to the next row that is logged."""
        self._metrics["train"][name].append(value)

    # --- sampling ---

    def _generate_single_turn(
        self,
        prompt_ids: list,
        images: Any,
        multimodal_fields: dict,
        num_generations: int,
        has_tool_images: bool = False,
    ) -> tuple[list[list[int]], Any]:
        """Sample as TRL does, from the weights that stand in the model, and keep the trajectory entropies."""
        arguments = (prompt_ids, images, multimodal_fields, num_generations, has_tool_images)
        if self.answer_fn is None:
            return super()._generate_single_turn(*arguments)
        started = time.perf_counter()
        with nullcontext() if self.use_vllm else self._recorder.watch(self._model_with_logits()):
            completion_ids, log_probs = super()._generate_single_turn(*arguments)
        if self.use_vllm:
            self._entropy = entropy_from_log_probs(log_probs)
        else:
            self._entropy = self._recorder.trajectory_entropy(completion_ids)
        self._seconds[names.TIME_POLICY] += time.perf_counter() - started
        return completion_ids, log_probs

    def _model_with_logits(self) -> nn.Module:
        model = self.accelerator.unwrap_model(self.model)
        return model.get_base_model() if hasattr(model, "peft_config") else model

    def _sample_momentum(self, prompts: list) -> Rollouts:
        """N completions for each prompt from the momentum model; TRL's counters and metrics do not see them."""
        assert self.momentum_model is not None
        num_momentum = self.args.num_momentum_generations
        repeated = [prompt for prompt in prompts for _ in range(num_momentum)]
        with self._uncounted(num_momentum), self.momentum_model.in_place_of_policy():
            _, completion_ids, _, completions, *_ = self._generate(repeated)
        return Rollouts(completions, [len(ids) for ids in completion_ids], self._entropy)

    @contextmanager
    def _uncounted(self, num_generations: int) -> Iterator[None]:
        kept: tuple = self._metrics, self.num_generations, self.state.num_input_tokens_seen  # type: ignore[has-type]
        self._metrics: dict[str, Any] = {mode: defaultdict(list) for mode in kept[0]}
        self.num_generations = num_generations
        self._last_loaded_step = -1  # other weights: vLLM must take them over now, and the policy's again afterwards
        try:
            yield
        finally:
            self._metrics, self.num_generations, self.state.num_input_tokens_seen = kept
            self._last_loaded_step = -1

    # --- labelling ---

    def _calculate_rewards(
        self, inputs: list[dict], prompts: list, completions: list, completion_ids_list: list[list[int]]
    ) -> Tensor:
        """Vote, then let TRL collect the rewards, of which the vote's is the first.

        Rows that are not learnt from become nan, which TRL leaves out of mean and std, with advantage 0.
        """
        if self.answer_fn is None:
            return super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        policy = Rollouts(completions, [len(ids) for ids in completion_ids_list], self._entropy)
        is_training = self.model.training
        num_policy = self.num_generations if is_training else self.num_generations_eval
        momentum = None
        if is_training and self.momentum_model is not None:
            started, policy_seconds = time.perf_counter(), self._seconds[names.TIME_POLICY]
            momentum = self._sample_momentum(prompts[::num_policy])
            self._seconds[names.TIME_MOMENTUM] += time.perf_counter() - started
            self._seconds[names.TIME_POLICY] = policy_seconds
        started = time.perf_counter()
        self._batch = vote(
            policy,
            momentum,
            num_policy=num_policy,
            num_momentum=self.args.num_momentum_generations,
            extractor=self.answer_fn,
            equivalence=self.equivalence,
            iqr_multiplier=self.args.iqr_multiplier if is_training else None,
            iqr_floor=self.args.iqr_floor,
            label_source=self.args.label_source if is_training else "joined",  # held-out groups are the policy's alone
            filter_scope=self.args.filter_scope,
        )
        self._seconds[names.TIME_LABEL] += time.perf_counter() - started
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        if is_training:
            rewards[~gather(self._loss_mask())] = torch.nan
        return rewards

    def _vote_reward(self, **_: Any) -> list[float]:
        """The reward function that TRL calls: agreement with the pseudo-label, for each policy completion."""
        assert self._batch is not None
        return self._batch.labelled.reward[:, : self._batch.num_policy].flatten().tolist()

    _vote_reward.__name__ = "vote"  # TRL logs a reward under its function's name

    def _loss_mask(self) -> Tensor:
        assert self._batch is not None
        return self._batch.labelled.loss_mask.flatten().to(self.accelerator.device)

    def _generate_and_score_completions(self, inputs: list[dict]) -> dict:
        """Score as TRL does, blind to the gold answers, then mask the loss and log the vote."""
        if self.answer_fn is None:
            return super()._generate_and_score_completions(inputs)
        gold = [row.get(self.gold_column) for row in inputs]
        blind_inputs = [{name: value for name, value in row.items() if name != self.gold_column} for row in inputs]
        self._seconds.clear()
        output = super()._generate_and_score_completions(blind_inputs)
        if self.model.training:
            # `completion_mask` is also the attention mask; TRL's `tool_mask` is in the loss and the KL alone.
            mask = self._loss_mask().long()[:, None].expand_as(output["completion_mask"])
            output["tool_mask"] = mask * output.get("tool_mask", 1)
            num_tokens = (output["completion_mask"] * output["tool_mask"]).sum()
            output["num_items_in_batch"] = self.accelerator.gather(num_tokens).sum()
        self._log_batch([row["prompt"] for row in inputs], gold, output["advantages"])
        return output

    # --- logging ---

    def _log_batch(self, prompts: list, gold: list[Any], advantages: Tensor) -> None:
        batch, mode = self._batch, "train" if self.model.training else "eval"
        assert batch is not None
        local = {**vote_metrics(batch), **self._seconds}
        if any(self.accelerator.gather(torch.tensor([is_known(value) for value in gold], device=advantages.device))):
            score = self.gold_scorer if mode == "train" else self.eval_gold_scorer
            local |= gold_metrics(batch, gold[:: batch.num_policy], score)
        over_processes = self.accelerator.gather(
            torch.tensor([list(local.values())], device=advantages.device)
        ).nanmean(dim=0)
        metrics = dict(zip(local, over_processes.tolist(), strict=True))
        metrics |= spread_metrics(gather_object(batch.pseudo_labels))
        for name, value in metrics.items():
            if not math.isnan(value):
                self._metrics[mode][name].append(value)
        if mode == "train" and self.args.log_completions:
            rows = completion_rows(batch, prompts[:: batch.num_policy], advantages.tolist())
            self.completion_rows = gather_object(rows)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        self._checkpoint = checkpoint


def _check_votable(config: MGRPOConfig, given: dict[str, Any]) -> None:
    """Refuse what the vote cannot work with, before TRL loads a model."""
    if not isinstance(config, MGRPOConfig):
        raise UserError(
            f"args is a {type(config).__name__}, but answer_fn needs the fields of an MGRPOConfig; pass one."
        )
    check_loss_type(config)
    for name in ("tools", "rollout_func", "environment_factory"):
        if given.get(name):
            raise UserError(f"{name} is given, but the vote samples single completions; leave it out.")
