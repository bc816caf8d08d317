"""`MGRPOTrainer`: M-GRPO on TRL's GRPOTrainer.

The changes to GRPO are three, and there are no others:

1. Before the rewards, N completions are sampled from the momentum model; filter and majority vote over all M + N
   completions of a group give its pseudo-label, and agreement with it is the policy's reward.
2. Policy completions that the filter dropped, and groups without a pseudo-label, are masked out of every term of the
   loss and out of the token count it is divided by. Momentum completions never enter TRL's group at all.
3. After each optimizer step the momentum weights follow the policy's.

A checkpoint holds all that a resumed run needs to continue as if it had not stopped (`checkpointing/`).

Other methods are other settings of the same three: who labels, what is rewarded, what is masked (docs/methods.md). Two
settings of the configuration touch TRL's numbers: `label_flip_patience` scales advantages, and `kl_anchor: momentum`
takes the KL's reference from the momentum weights.

All of TRL's private methods that mgrpo overrides are in this file; `tests/contract` pins their signatures.
"""

import inspect
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sized
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather, gather_object
from torch import Tensor, nn
from trl import GRPOTrainer
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer import utils as trl_utils

from mgrpo.algorithm import flip_weight
from mgrpo.answers import get_equivalence
from mgrpo.answers.equivalence import number_answers
from mgrpo.errors import UserError
from mgrpo.models.finite import check_rewards
from mgrpo.runs import metrics as names
from mgrpo.tasks.task import Scorer, is_known
from mgrpo.training.answer_span import answer_tokens
from mgrpo.training.callbacks import FiniteGradients, MomentumUpdate, RunFiles
from mgrpo.training.checkpointing import loop_state
from mgrpo.training.checkpointing.parts import save_momentum_and_labels, save_trainer_state
from mgrpo.training.checkpointing.save import Part, save_checkpoint
from mgrpo.training.checks import check_prompts_can_be_shared, check_votable, check_without_vote
from mgrpo.training.collapse_callback import CollapseWatch
from mgrpo.training.config import MGRPOConfig, check_enough_prompts, has_momentum_model, skips_zero_advantage
from mgrpo.training.label_memory import LabelMemory, PromptHistory, key_of
from mgrpo.training.labelling import (
    FixedLabels,
    VotedBatch,
    completion_rows,
    equivalent_to_gold,
    gold_metrics,
    gold_verdicts,
    spread_metrics,
    vote,
    vote_metrics,
    voted_labels,
)
from mgrpo.training.number_callback import NumberWatch
from mgrpo.training.probe import Probe, load_rows, sample_probe
from mgrpo.training.sampling.entropy import EntropyRecorder, Rollouts
from mgrpo.training.sampling.momentum_model import MomentumModel
from mgrpo.training.sampling.shared_prompts import generate_with_shared_prompts, score_with_shared_prompts
from mgrpo.training.sampling.two_adapters import both_adapters, paired_layers, split_rows
from mgrpo.training.sampling.vllm import AdapterGeneration, engines_for, server_errors_in_a_sentence
from mgrpo.training.skipped_rows import rows_to_compute, take_rows

METHOD_FIELDS = (
    "label_source",
    "reward",
    "iqr_multiplier",
    "iqr_floor",
    "filter_scope",
    "min_agreement",
    "max_agreement",
)
"""The configuration's fields that `label_group` takes."""

FUSED_HEAD_COLUMNS = trl_utils._CHUNKED_LOGPROB_CHUNK_SIZE
"""Most logits of a token that TRL's fused head computes at once."""


class MGRPOTrainer(GRPOTrainer):
    """Label-free GRPO with a momentum model; a drop-in for TRL's `GRPOTrainer`.

    With `answer_fn`, pseudo-labels are voted and agreement is rewarded. Without it, and with
    `num_momentum_generations=0`, this is TRL's trainer in every respect.

    Args:
        *args: TRL's, as they are.
        answer_fn: reads the answer out of a completion's text; None where there is none.
        equivalence: when two answers are the same: a name that `mgrpo.answers.get_equivalence` takes.
        gold_column: data column with right answers. It is taken out of every batch before anything is sampled, so no
            reward can see it; it is only compared with the outcome, and logged under `gold/`. The one exception is
            asked for by name: `label_source="gold"`.
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
        self.label_memory = LabelMemory()
        self.completion_rows: list[dict] = []
        """The last generation batch as table rows, on the main process, for a callback to write down."""
        config = given.get("args")
        if answer_fn is None:
            check_without_vote(config)
        else:
            if config is None:
                config = given["args"] = MGRPOConfig()
            check_votable(config, given)
            get_equivalence(equivalence)
            self._recorder = EntropyRecorder(
                config.temperature, config.entropy_source, with_self_certainty=config.reward == "self_certainty"
            )
            rewards = given.get("reward_funcs") or []
            given["reward_funcs"] = [self._vote_reward, *(rewards if isinstance(rewards, list) else [rewards])]
        self._entropy: Tensor | None = None
        self._self_certainty: Tensor | None = None
        self._paired_layers: list[nn.Module] = []
        self._num_along = 0  # momentum completions a prompt that are sampled along with the policy's
        self._along: tuple | None = None  # their tokens, entropies and self-certainties, until asked for
        self._batch: VotedBatch | None = None
        self._visits: list[PromptHistory] = []
        self._gold_labels: list[Any] | None = None
        self._probe: Probe | None = None
        self._seconds: dict[str, float] = defaultdict(float)
        self._checkpoint: str | None = None
        self.resumed: loop_state.LoopState | None = None
        self.training_began = time.time()
        self.keeps_stop = False
        """Whether a run that had stopped itself when its checkpoint was saved stays stopped when it is resumed."""
        self.save_stop_reason: str | None = None
        """Why training was stopped where a checkpoint could not be saved."""
        self.tell: Callable[[str], None] = self._say
        """Says on the main process what a person should know."""
        anchored = config if isinstance(config, MGRPOConfig) and config.kl_anchor == "momentum" else None
        with ExitStack() as around:
            if anchored is not None:
                around.enter_context(_beta_zero(anchored))  # TRL then loads no reference model
            if isinstance(config, MGRPOConfig) and config.use_vllm and answer_fn is not None:
                around.enter_context(engines_for(config))
                around.enter_context(server_errors_in_a_sentence(config))
            super().__init__(**given)
        if anchored is not None:
            self.beta = anchored.beta
        _fit_fused_head(self.model.config.get_text_config().vocab_size)
        if self._shares_prompts:
            check_prompts_can_be_shared(self)
        if answer_fn is not None and isinstance(self.train_dataset, Sized):
            check_enough_prompts(len(self.train_dataset), self.args)
        if answer_fn is not None:
            # TRL's own table has no momentum completions, votes or entropies; `completion_rows` has.
            self.log_completions = False
            self.gradient_guard = FiniteGradients(self.accelerator)
            self.collapse_watch = CollapseWatch(self.args.on_collapse)
            self.run_files = RunFiles(self)
            self.number_watch = NumberWatch()
            self._saves = loop_state.SaveBetweenBatches(lambda: self.is_between_batches)
            for callback in (
                self.gradient_guard,
                MomentumUpdate(self, self.gradient_guard),
                self.run_files,
                self.collapse_watch,
                self.number_watch,
                self._saves,
            ):
                self.add_callback(callback)

    def start_momentum_model(self) -> None:
        """Start the momentum model, if one is needed, at the policy; or it and the labels as a checkpoint has them."""
        if self.answer_fn is None:
            return
        if self._checkpoint is not None:
            self.label_memory.load(Path(self._checkpoint))
        if has_momentum_model(self.args):
            m = 1.0 if self.args.label_source == "frozen" else self.args.momentum
            policy = self.accelerator.unwrap_model(self.model)
            self.momentum_model = MomentumModel(policy, m, on_cpu=self.args.momentum_cpu_offload)
            if self._checkpoint is not None:
                self.momentum_model.load(Path(self._checkpoint))
            if not (self.use_vllm or self._is_vlm):
                self._paired_layers = paired_layers(self._model_with_logits(), self.momentum_model)

    @property
    def is_between_batches(self) -> bool:
        """Whether the next step samples a new batch; some settings train several steps on each."""
        return self._step % (self.args.steps_per_generation * self.num_iterations) == 0

    def _loop_state(self) -> loop_state.LoopState:
        stop_event = self.collapse_watch.stop_event
        return loop_state.LoopState(
            num_processes=self.args.world_size,
            micro_step=self._step,
            metrics={name: [float(value) for value in values] for name, values in self._metrics["train"].items()},
            loss=self._tr_loss.item(),
            total_loss=self._total_loss_scalar,
            last_logged=self._globalstep_last_logged,
            seconds=time.time() - self.training_began,
            is_training=self.model.training,
            guard=self.gradient_guard.state_dict(),
            stop_event=None if stop_event is None else stop_event.as_row(),
            last_row=self.run_files.last_row,
            completion_rows=self.completion_rows,
        )

    def restore_loop(self) -> None:
        """Put the loop where the checkpoint left it, if there is one; to be called when training has begun."""
        self.training_began, self.resumed = time.time(), None
        if self._checkpoint is not None:
            self.resumed = loop_state.read(Path(self._checkpoint), self.args.process_index)
        if (saved := self.resumed) is None:
            return
        self.training_began -= saved.seconds
        self.model.train(saved.is_training)
        self.gradient_guard.load_state_dict(saved.guard)
        if not self.keeps_stop:
            self.gradient_guard.stop_reason = None
        # loss and speed at the end are of the whole run
        self._total_loss_scalar, self._initial_global_step = saved.total_loss, 0
        self.state.compute_steps(self.args, self.state.max_steps)  # the recipe's, which may be forced
        loop_state.skip_epochs(self.callback_handler.train_dataloader, int(self.state.epoch or 0))
        if saved.num_processes == self.args.world_size:  # otherwise these numbers belong to other batches
            self._metrics["train"].update(saved.metrics)
            self._tr_loss += saved.loss
            self._globalstep_last_logged, self._step = saved.last_logged, saved.micro_step
            self.completion_rows = saved.completion_rows

    def resumes_run_in(self, directory: Path) -> bool:
        """Whether training was resumed from a checkpoint of the run in a directory."""
        return self._checkpoint is not None and Path(self._checkpoint).parent.resolve() == directory.resolve()

    def save_momentum_model(self, directory: str | Path) -> None:
        """Save the momentum model as a plain transformers model or PEFT adapter.

        Raises:
            UserError: if there is none.
        """
        if self.momentum_model is None:
            raise UserError("there is no momentum model to save; it exists once training began with N > 0.")
        with self.momentum_model.in_place_of_policy():
            self.save_model(str(directory))

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save as transformers does; outside of checkpoints whole, though FSDP's checkpoints are sharded.

        Transformers would then save nothing, without a word.
        """
        if _internal_call or not self.is_fsdp_enabled:
            super().save_model(output_dir, _internal_call)
            return
        plugin = self.accelerator.state.fsdp_plugin
        kept = plugin.state_dict_type
        plugin.set_state_dict_type("FULL_STATE_DICT")
        try:
            super().save_model(output_dir)
        finally:
            plugin.set_state_dict_type(kept)

    def start_probe(self) -> None:
        """Let the initial model answer the probe's prompts; or take its answers from the run that is resumed."""
        if self.answer_fn is None or not self.args.probe_prompts or not isinstance(self.train_dataset, Sized):
            return
        rows = None
        if self._checkpoint is not None:
            places = (Path(self.args.output_dir), Path(self._checkpoint).parent)
            rows = next((rows for place in places if (rows := load_rows(place)) is not None), None)
        self._probe = Probe(self, sample_probe(self) if rows is None else rows)

    def probe_metrics(self) -> dict[str, float]:
        """How the log-probabilities of the probe's completions changed; nothing where there is no probe."""
        return {} if self._probe is None else self._probe.metrics()

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluate as TRL does, without a trace in training: the random state is put back afterwards."""
        if self.answer_fn is None:
            return super().evaluate(*args, **kwargs)
        with self.without_trace():
            return super().evaluate(*args, **kwargs)

    @contextmanager
    def without_trace(self) -> Iterator[None]:
        """Within the block a random state of its own; afterwards training's again."""
        device = self.accelerator.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(self.args.seed + self.accelerator.process_index)
            yield

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
        """Sample as TRL does, from the weights that stand in the model, and keep the trajectory entropies.

        Where both models are adapters the momentum model's completions are sampled along, and kept until asked for.
        """
        if self.answer_fn is None:
            return super()._generate_single_turn(
                prompt_ids, images, multimodal_fields, num_generations, has_tool_images
            )
        if self._along is not None:
            (completion_ids, self._entropy, self._self_certainty), self._along = self._along, None
            return completion_ids, None
        num_rows = len(prompt_ids)
        along = [ids for ids in prompt_ids[::num_generations] for _ in range(self._num_along)]
        arguments = (prompt_ids + along, images, multimodal_fields, num_generations, has_tool_images)
        started = time.perf_counter()
        with ExitStack() as around:
            if self.use_vllm:
                client = getattr(self.vllm_generation, "vllm_client", None)  # on the main process, in server mode
                around.enter_context(server_errors_in_a_sentence(self.args, client))
                if along:
                    both = self.vllm_generation.both(self.momentum_model, len(along), self._momentum_temperature)
                    around.enter_context(both)
            else:
                model = self._model_with_logits()
                if along:
                    assert self.momentum_model is not None
                    scale = self.temperature / self._momentum_temperature
                    pair = (model, self._paired_layers, self.momentum_model)
                    around.enter_context(both_adapters(*pair, num_rows, len(along), scale))
                around.enter_context(self._recorder.watch(model))
                if self._shares_prompts:
                    around.enter_context(generate_with_shared_prompts(model))
            completion_ids, log_probs = super()._generate_single_turn(*arguments)
        if self.use_vllm:
            self._entropy = self.vllm_generation.entropy
            log_probs = log_probs[:num_rows]
        else:
            self._entropy = self._recorder.trajectory_entropy(completion_ids)
            self._self_certainty = self._recorder.trajectory_self_certainty(completion_ids)
        seconds = time.perf_counter() - started
        if along:
            self._seconds[names.TIME_MOMENTUM] += seconds * len(along) / len(completion_ids)
            seconds *= num_rows / len(completion_ids)
            sampled = (completion_ids, self._entropy, self._self_certainty)
            (completion_ids, self._entropy, self._self_certainty), self._along = split_rows(sampled, num_rows)
        self._seconds[names.TIME_POLICY] += seconds
        return completion_ids, log_probs

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Score as TRL does, each distinct prompt once where that is asked for."""
        if self._shares_prompts and not kwargs.get("compute_aux_loss"):
            model = score_with_shared_prompts(model, self.accelerator.unwrap_model(model), logits_to_keep)
        return super()._get_per_token_logps_and_entropies(
            model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
        )

    @property
    def _shares_prompts(self) -> bool:
        return self.answer_fn is not None and self.args.share_prompts

    def _model_with_logits(self) -> nn.Module:
        model = self.accelerator.unwrap_model(self.model)
        return model.get_base_model() if hasattr(model, "peft_config") else model

    def sample(self, prompts: list, num_per_prompt: int) -> tuple[list[list[int]], list[list[int]], list]:
        """Sample completions for each prompt from the weights that stand in the model.

        TRL's counters and metrics do not see them.

        Returns:
            The tokens of each completion's prompt, its own, and the completions, prompt by prompt.
        """
        repeated = [prompt for prompt in prompts for _ in range(num_per_prompt)]
        with self._uncounted(num_per_prompt):
            prompt_ids, completion_ids, _, completions, *_ = self._generate(repeated)
        return prompt_ids, completion_ids, completions

    def _sample_momentum(self, prompts: list) -> Rollouts:
        """N completions for each prompt from the momentum model."""
        assert self.momentum_model is not None
        with ExitStack() as around:
            if self._along is None:
                around.enter_context(self._at(self._momentum_temperature))
                around.enter_context(self.momentum_model.in_place_of_policy())
            _, completion_ids, completions = self.sample(prompts, self.args.num_momentum_generations)
        return Rollouts(completions, [len(ids) for ids in completion_ids], self._entropy, self._self_certainty)

    def _frozen_labels(self, prompts: list) -> FixedLabels:
        """What the initial model votes for, sampled when a prompt is first seen and remembered from then on."""
        assert self.answer_fn is not None
        keys = [key_of(prompt) for prompt in prompts]
        is_new = torch.tensor([key not in self.label_memory for key in keys], device=self.accelerator.device)
        fresh: list[str | None] = [None] * len(prompts)
        if gather(is_new).any():  # on all processes or on none: sampling waits for the others
            num_votes = self.args.num_momentum_generations
            fresh = voted_labels(self._sample_momentum(prompts), num_votes, self.answer_fn, self.equivalence)
        labels = [
            self.label_memory[key].label if key in self.label_memory else label
            for key, label in zip(keys, fresh, strict=True)
        ]
        return FixedLabels(labels, partial(equivalent_to_gold, equivalence=self.equivalence))

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

    @property
    def _momentum_temperature(self) -> float:
        return self.args.momentum_temperature or self.temperature

    @contextmanager
    def _at(self, temperature: float) -> Iterator[None]:
        """Within the block the engine samples at a temperature, and entropies are those of its distribution."""
        engine = self.vllm_generation if self.use_vllm else self.generation_config
        kept = engine.temperature
        self._set_temperature(engine, temperature)
        try:
            yield
        finally:
            self._set_temperature(engine, kept)

    def _set_temperature(self, engine: Any, temperature: float) -> None:
        engine.temperature = self._recorder.temperature = temperature
        if not self.use_vllm:
            self.generation_kwargs["temperature"] = temperature

    # --- labelling ---

    def _calculate_rewards(
        self, inputs: list[dict], prompts: list, completions: list, completion_ids_list: list[list[int]]
    ) -> Tensor:
        """Vote, then let TRL collect the rewards, of which the vote's is the first.

        Rows that are not learnt from become nan, which TRL leaves out of mean and std, with advantage 0.
        """
        if self.answer_fn is None:
            return super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        policy = Rollouts(completions, [len(ids) for ids in completion_ids_list], self._entropy, self._self_certainty)
        is_training = self.model.training
        num_policy = self.num_generations if is_training else self.num_generations_eval
        momentum, known = None, None
        if is_training and self._gold_labels is not None:
            known = FixedLabels(self._gold_labels[::num_policy], self.gold_scorer)
        elif is_training and self.momentum_model is not None and self.args.num_momentum_generations:
            started, policy_seconds = time.perf_counter(), self._seconds[names.TIME_POLICY]
            if self.args.label_source == "frozen":
                known = self._frozen_labels(prompts[::num_policy])
            else:
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
            known=known,
            # held-out groups are the policy's alone, and are not learnt from
            **({name: getattr(self.args, name) for name in METHOD_FIELDS} if is_training else {}),
        )
        if is_training:
            self._visits = self._visit(prompts[::num_policy], self._batch.labels)
        self._seconds[names.TIME_LABEL] += time.perf_counter() - started
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        check_rewards(rewards, self.reward_func_names)
        if is_training:
            rewards[~gather(self._loss_mask())] = torch.nan
        return rewards

    def _vote_reward(self, **_: Any) -> list[float]:
        """The reward function that TRL calls: what the vote makes of each policy completion."""
        assert self._batch is not None
        return self._batch.labelled.reward[:, : self._batch.num_policy].flatten().tolist()

    _vote_reward.__name__ = "vote"  # TRL logs a reward under its function's name

    def _visit(self, prompts: list, labels: list[str | None]) -> list[PromptHistory]:
        """Remember the batch's labels; returns what each group's visit added up to."""
        keys = [key_of(prompt) for prompt in prompts]
        pairs = [
            [self.label_memory[key].label if key in self.label_memory else None, label]
            for key, label in zip(keys, labels, strict=True)
        ]
        numbered = number_answers(pairs, self.equivalence).ids
        visits = [
            self.label_memory.visit(key, label, before == now)
            for key, label, (before, now) in zip(keys, labels, numbered, strict=True)
        ]
        self.label_memory.remember(gather_object(list(zip(keys, visits, strict=True))))
        return visits

    def _flip_weights(self) -> Tensor:
        """The factor on each local group's advantages."""
        num_flips = torch.tensor([seen.num_flips for seen in self._visits], device=self.accelerator.device)
        patience = self.args.label_flip_patience
        return (
            torch.ones(len(num_flips), device=num_flips.device)
            if patience is None
            else flip_weight(num_flips, patience)
        )

    def _token_mask(self, completion_ids: Tensor) -> Tensor:
        """Which tokens are learnt from, (B, T): those of `_loss_mask`'s rows, without the answer's where asked for."""
        mask = self._loss_mask().long()[:, None].repeat(1, completion_ids.shape[1])
        if self.args.mask_answer_span:
            assert self._batch is not None and self.answer_fn is not None
            num_policy = self._batch.num_policy
            answers = [answer for group in self._batch.answers for answer in group[:num_policy]]
            for row, (ids, num_tokens, answer) in enumerate(
                zip(completion_ids.tolist(), self._batch.policy.num_tokens, answers, strict=True)
            ):
                span = answer_tokens(ids[:num_tokens], answer, self.answer_fn, self.processing_class)
                mask[row, span.start : span.stop] = 0
        return mask

    def _anchor_log_probs(self, output: dict) -> Tensor:
        """Log-probabilities of the completions' tokens under the model that the KL holds the policy to, (B, T).

        0 in rows that do not go through the model.
        """
        is_training = self.model.training
        size, num_tokens = output["completion_ids"].shape
        rows = rows_to_compute(output) if is_training and self._skips_rows else torch.arange(size)
        batch = take_rows(output, rows)
        policy = self.accelerator.unwrap_model(self.model)
        anchor: AbstractContextManager = nullcontext()
        if self.args.kl_anchor == "momentum" and self.momentum_model is not None:
            anchor = self.momentum_model.in_place_of_policy()
        elif self.args.kl_anchor == "initial" and self.ref_model is None:
            # as TRL has it: the base, or a copy of the adapter that training began with
            anchor = trl_utils.use_adapter(policy, "ref" if "ref" in policy.peft_config else None)
        arguments = self.args.gradient_checkpointing_kwargs
        with torch.no_grad(), disable_gradient_checkpointing(self.model, arguments), anchor:
            computed, _, _ = self._get_per_token_logps_and_entropies(
                self.model if self.ref_model is None else self.ref_model,
                torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1),
                torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1),
                num_tokens,
                batch_size=(
                    self.args.per_device_train_batch_size if is_training else self.args.per_device_eval_batch_size
                ),
            )
        log_probs = computed.new_zeros(size, num_tokens)
        log_probs[rows] = computed
        return log_probs

    def compute_loss(self, model: nn.Module, inputs: dict, *args: Any, **kwargs: Any) -> Tensor:
        """Compute the loss as TRL does, from the rows that are learnt from where the others are skipped."""
        if self._skips_rows and self.model.training:
            rows = rows_to_compute(inputs)
            self.log_metric(names.ROWS_SKIPPED, 1 - len(rows) / len(inputs["completion_ids"]))
            inputs = take_rows(inputs, rows)
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        return self.gradient_guard.see_loss(loss) if self.answer_fn is not None and self.model.training else loss

    @property
    def _skips_rows(self) -> bool:
        if self.answer_fn is None or self.args.skip_zero_advantage is False:
            return False
        # every token is in a router's loss, and images are not counted by rows
        return not (self.aux_loss_enabled or self._is_vlm)

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
        self._gold_labels = gold if self.args.label_source == "gold" else None
        takes_both = self._paired_layers or isinstance(getattr(self, "vllm_generation", None), AdapterGeneration)
        samples_both = self.model.training and takes_both and self.args.label_source != "frozen"
        self._num_along = self.args.num_momentum_generations if samples_both else 0
        is_anchor_ours = self.args.kl_anchor == "momentum" or (self.model.training and self._skips_rows)
        with _beta_zero(self) if is_anchor_ours else nullcontext():  # TRL then asks no reference model
            output = super()._generate_and_score_completions(blind_inputs)
        if self.model.training:
            weights = self._flip_weights()
            output["advantages"] = output["advantages"] * weights.repeat_interleave(self.num_generations)
            # `completion_mask` is also the attention mask; TRL's `tool_mask` is in the loss and the KL alone.
            output["tool_mask"] = self._token_mask(output["completion_ids"]) * output.get("tool_mask", 1)
            num_tokens = (output["completion_mask"] * output["tool_mask"]).sum()
            output["num_items_in_batch"] = self.accelerator.gather(num_tokens).sum()
            if self._skips_rows and skips_zero_advantage(self.args):
                # after the count: the loss is divided by their tokens all the same
                output["tool_mask"] = output["tool_mask"] * (output["advantages"] != 0)[:, None]
        if is_anchor_ours and self.beta != 0:
            output["ref_per_token_logps"] = self._anchor_log_probs(output)
        self._log_batch([row["prompt"] for row in inputs], gold, output["advantages"])
        return output

    # --- logging ---

    def _log_batch(self, prompts: list, gold: list[Any], advantages: Tensor) -> None:
        batch, mode = self._batch, "train" if self.model.training else "eval"
        assert batch is not None
        local = {**vote_metrics(batch), **self._seconds}
        if mode == "train":
            flips = [seen.is_flip for seen in self._visits if seen.is_flip is not None]
            local[names.FLIP_RATE] = sum(flips) / len(flips) if flips else math.nan
            local[names.FLIP_WEIGHT] = self._flip_weights().mean().item()
        score = self.gold_scorer if mode == "train" else self.eval_gold_scorer
        verdicts = gold_verdicts(batch, gold[:: batch.num_policy], score)
        if any(self.accelerator.gather(torch.tensor([is_known(value) for value in gold], device=advantages.device))):
            local |= gold_metrics(batch, verdicts)
        over_processes = self.accelerator.gather(
            torch.tensor([list(local.values())], device=advantages.device)
        ).nanmean(dim=0)
        metrics = dict(zip(local, over_processes.tolist(), strict=True))
        metrics |= spread_metrics(gather_object(batch.labels))
        for name, value in metrics.items():
            if not math.isnan(value):
                self._metrics[mode][name].append(value)
        if mode == "train" and self.args.log_completions:
            self.completion_rows = gather_object(
                completion_rows(
                    batch,
                    prompts[:: batch.num_policy],
                    advantages.tolist(),
                    gold[:: batch.num_policy],
                    verdicts,
                    first_group=self.accelerator.process_index * len(batch.labels),
                )
            )

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        self._checkpoint = checkpoint
        if checkpoint is not None:
            loop_state.apply_learning_rate(self.args.learning_rate, self.optimizer, self.lr_scheduler)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Save what transformers and TRL do, the momentum weights, labels and the loop's state: all or nothing."""
        if self.answer_fn is None:
            super()._save_checkpoint(model, trial)
            return
        if not self._saves.may_save(self.control):
            return
        self.store_flos()
        result = save_checkpoint(
            Path(self._get_output_dir(trial=trial)),
            self.state.global_step,
            self._checkpoint_parts(),
            self.args,
            tell=self.tell,
            best=lambda: self.state.best_model_checkpoint,
        )
        if result.stop_reason is not None:
            self.save_stop_reason, self.control.should_training_stop = result.stop_reason, True
        if result.checkpoint is not None and self.args.push_to_hub:
            self._push_from_checkpoint(str(result.checkpoint))

    def _checkpoint_parts(self) -> list[Part]:
        """What writes a checkpoint, in order; each is called on all processes."""
        is_main = self.args.should_save
        return [
            lambda _: self.create_model_card(model_name=Path(self.args.output_dir).name),
            lambda directory: self.save_model(str(directory), _internal_call=True),
            lambda directory: self._save_optimizer_and_scheduler(str(directory)),
            lambda directory: self._save_scaler(str(directory)),
            lambda directory: self._save_rng_state(str(directory)),
            lambda directory: save_momentum_and_labels(
                directory, self.momentum_model, self.label_memory, is_main=is_main
            ),
            lambda directory: loop_state.save(self._loop_state(), directory, self.args.process_index),
            lambda directory: self._save_trainer_state(directory) if is_main else None,
        ]

    def _save_trainer_state(self, directory: Path) -> None:
        self.run_files.flush()
        exported = (*self.callback_handler.callbacks, self.control)
        entropy_control = None
        if self.use_adaptive_entropy:
            entropy_control = {"entropy_coef": self.entropy_coef, "last_world_entropy": self._last_world_entropy}
        save_trainer_state(directory, self.state, exported, entropy_control)

    def _say(self, text: str) -> None:
        if self.accelerator.is_main_process:
            print(f"mgrpo: {text}", file=sys.stderr)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Train as transformers does, but no step more where nothing is left of a run that is resumed."""
        is_kept_stop = self.keeps_stop and self.resumed is not None and self.resumed.is_stopped
        if self.answer_fn is not None and (is_kept_stop or self.state.global_step >= self.state.max_steps):
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)

    def _finalize_training(self, trial: Any, num_train_samples: int, start_time: float) -> Any:
        """Finish as transformers does; times are of all sessions together."""
        if self.resumed is not None:
            start_time -= self.resumed.seconds
            if self.keeps_stop and self.collapse_watch.stop_event is None:
                self.collapse_watch.stop_event = self.resumed.alarm
        return super()._finalize_training(trial, num_train_samples, start_time)


@contextmanager
def _beta_zero(owner: Any) -> Iterator[None]:
    """Within the block `owner.beta` is 0."""
    owner.beta, beta = 0.0, owner.beta
    try:
        yield
    finally:
        owner.beta = beta


def _fit_fused_head(vocabulary: int) -> None:
    """Give TRL's fused head a buffer as wide as the vocabulary, where that is smaller than TRL's 32,768 columns.

    The numbers stay the same to the bit. On a CPU the 17 logits of an embedded model's token would otherwise lie
    128 kB from the next token's, each on a memory page of its own: of 8 x 16 completions, 20 ms a step.
    """
    trl_utils._CHUNKED_LOGPROB_CHUNK_SIZE = min(vocabulary, FUSED_HEAD_COLUMNS)
