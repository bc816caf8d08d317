"""`MGRPOTrainer`: M-GRPO on TRL's GRPOTrainer.

The changes to GRPO are three, and there are no others:

1. Before the rewards, N completions are sampled from the momentum model; filter and majority vote over all M + N
   completions of a group give its pseudo-label, and agreement with it is the policy's reward.
2. Policy completions that the filter dropped, and groups without a pseudo-label, are masked out of every term of the
   loss and out of the token count it is divided by. Momentum completions never enter TRL's group at all.
3. After each optimizer step the momentum weights follow the policy's.

Read `_generate_and_score_completions` first: the methods below it are in the order in which a batch goes through them.

Other methods are other settings of the same three: who labels, what is rewarded, what is masked
(docs/reference/presets.md). Two settings of the configuration touch TRL's numbers: `label_flip_patience` scales
advantages, and `kl_anchor: momentum` takes the KL's reference from the momentum weights.

What a resumed run needs is in `resumable_trainer.py`. All private methods that mgrpo overrides are in these two files;
`tests/contract` pins their signatures.
"""

import inspect
import time
from collections.abc import Callable, Sized
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather, gather_object, is_peft_model
from torch import Tensor, nn
from trl import GRPOTrainer
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer import utils as trl_utils

from mgrpo.algorithm import KNOWN_LABEL_SOURCES
from mgrpo.answers import get_equivalence
from mgrpo.answers.span import answer_tokens
from mgrpo.errors import WHILE_SAMPLING, noted
from mgrpo.models.finite import check_rewards
from mgrpo.models.load import room_for_prompt
from mgrpo.runs import metrics as names
from mgrpo.tasks.task import Scorer, equivalent_to_gold
from mgrpo.training.batch import Batch
from mgrpo.training.batch_log import batch_metrics, completion_rows, gold_verdicts
from mgrpo.training.callbacks import FiniteGradients, MomentumUpdate, RunFiles
from mgrpo.training.checks import check_trainer
from mgrpo.training.collapse_callback import CollapseWatch, NumberWatch
from mgrpo.training.config import MGRPOConfig, check_enough_prompts, has_momentum_model
from mgrpo.training.label_memory import LabelMemory
from mgrpo.training.labelling import METHOD_FIELDS, FixedLabels, flip_weights, label, mask
from mgrpo.training.packed_rows import score_once
from mgrpo.training.patches import fitted_fused_head, own_random_state, replaced
from mgrpo.training.probe import Probe, load_rows, mean_log_probs, num_probe_prompts, sample_probe, save_rows
from mgrpo.training.resumable_trainer import ResumableTrainer
from mgrpo.training.rewards import guarded_reward, listed
from mgrpo.training.sampling.entropy import EntropyRecorder
from mgrpo.training.sampling.momentum_model import MomentumModel
from mgrpo.training.sampling.sampler import PromptRows, Rollouts, Sampler, TransformersSampler, decoded
from mgrpo.training.sampling.shared_prompts import keeps_prompts, samples_with_shared_prompts
from mgrpo.training.sampling.two_adapters import TwoAdapterSampler, paired_layers
from mgrpo.training.sampling.vllm import VLLMSampler, engines_for
from mgrpo.training.sampling.vllm_server import clear_server_errors
from mgrpo.training.skipped_rows import rows_to_compute, skips_zero_advantage, take_rows


class MGRPOTrainer(ResumableTrainer):
    """Label-free GRPO with a momentum model; a drop-in for TRL's `GRPOTrainer`.

    Args:
        *args: TRL's, as they are.
        answer_fn: reads the answer out of a completion's text; None where there is none. Required.
        equivalence: when two answers are the same: a name that `mgrpo.answers.get_equivalence` takes.
        gold_column: data column with right answers. It is taken out of every batch before anything is sampled, so no
            reward can see it; it is only compared with the outcome, and logged under `gold/`. The one exception is
            asked for by name: `label_source="gold"`.
        gold_scorer: which of some answers to one prompt are right, given that prompt's value in the gold column, which
            may then be anything. None: those equivalent to it.
        eval_gold_scorer: the same for the evaluation data. None: `gold_scorer`.
        **kwargs: TRL's, as they are. `reward_funcs` are added to the vote; the first of `reward_weights` is the
            vote's.

    Attributes:
        batch: the last generation batch.

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
        config = given["args"] = given.get("args") or MGRPOConfig()
        check_trainer(answer_fn, config, given, gold_column)
        assert answer_fn is not None
        get_equivalence(equivalence)
        self.answer_fn, self.equivalence, self.gold_column = answer_fn, equivalence, gold_column
        self.gold_scorer = gold_scorer or partial(equivalent_to_gold, equivalence=equivalence)
        self.eval_gold_scorer = eval_gold_scorer or self.gold_scorer
        self.momentum_model: MomentumModel | None = None
        self.label_memory = LabelMemory()
        self.probe: Probe | None = None
        self.batch: Batch
        given["reward_funcs"] = [self._vote_reward, *map(guarded_reward, listed(given.get("reward_funcs")))]
        if given.get("reward_processing_classes") is not None:
            given["reward_processing_classes"] = [None, *listed(given["reward_processing_classes"])]
        with ExitStack() as around:
            if config.kl_anchor == "momentum":
                around.enter_context(replaced(config, "beta", 0.0))  # TRL then loads no reference model
            if config.use_vllm:
                around.enter_context(engines_for(config))
                around.enter_context(clear_server_errors(config))
            super().__init__(**given)
        self.beta = config.beta
        room_for_prompt(self.model.config, config.max_completion_length)
        self.keeps_prompts = keeps_prompts(config, self._model_with_logits(self.model))
        if isinstance(self.train_dataset, Sized):
            check_enough_prompts(len(self.train_dataset), config)
        self.log_completions = False  # TRL's own table has no momentum completions, votes or entropies
        self.sampler = self._make_sampler()
        self.gradient_guard = FiniteGradients(self.accelerator)
        how = (lambda: (self.momentum_model, self.probe), self.gradient_guard, config.momentum_schedule)
        self.momentum_update = MomentumUpdate(self._start_run, *how, self.log_metric)
        self.run_files = RunFiles(lambda text: self.tell(text))
        self.collapse_watch = CollapseWatch(config.on_collapse)
        self.number_watch = NumberWatch()
        first = (self.gradient_guard, self.momentum_update)
        for callback in (*first, self.run_files, self.collapse_watch, self.number_watch, self.saves):
            self.add_callback(callback)

    def log_metric(self, name: str, value: float) -> None:
        """Add a training metric to the next row that is logged."""
        self._metrics["train"][name].append(value)

    # --- one batch, in order ---

    def _generate_and_score_completions(self, inputs: list[dict]) -> dict:
        """Take one batch from its prompts to advantages and masks, blind to the gold answers; log it."""
        is_training = self.model.training
        num_policy = self.num_generations if is_training else self.num_generations_eval
        groups = inputs[::num_policy]
        self.batch = batch = Batch(
            is_training,
            num_policy,
            num_momentum=self.args.num_momentum_generations if is_training and self.momentum_model is not None else 0,
            prompts=[row["prompt"] for row in groups],
            gold=[row.get(self.gold_column) for row in groups],
        )
        blind_inputs = [{name: value for name, value in row.items() if name != self.gold_column} for row in inputs]
        # TRL has no momentum model to take the KL's reference from, and computes it for rows that are not trained on
        is_reference_ours = self.args.kl_anchor == "momentum" or self._skips_rows or not is_training
        with replaced(self, "beta", 0.0) if is_reference_ours else nullcontext():
            output = super()._generate_and_score_completions(blind_inputs)  # calls the next three methods
        if is_training:
            self._mask_loss(batch, output)
            if is_reference_ours and self.beta != 0:
                output["ref_per_token_logps"] = self._anchor_log_probs(output)
        self._log_batch(batch, output["advantages"])
        return output

    def _generate(self, prompts: list) -> tuple:
        """Keep the prompts as TRL asks them, with their images; sample and decode as TRL does."""
        self.batch.asked = prompts[:: self.batch.num_policy]
        return super()._generate(prompts)

    @noted(WHILE_SAMPLING)
    def _generate_single_turn(
        self, prompt_ids: list, images: Any, multimodal_fields: dict, num_generations: int, *_: Any
    ) -> tuple[list[list[int]], Any]:
        """Sample from both models; TRL continues with the policy's completions."""
        batch, policy = self.batch, PromptRows(prompt_ids, images, multimodal_fields, num_generations)
        momentum = self._tokenized(batch.asked, batch.num_momentum) if self._needs_momentum(batch) else None
        batch.policy, batch.momentum = self.sampler.sample(policy, momentum)
        return batch.policy.completion_ids, batch.policy.log_probs

    def _needs_momentum(self, batch: Batch) -> bool:
        if not batch.num_momentum or self.args.label_source != "frozen":
            return batch.num_momentum > 0
        # the initial model votes once on each prompt; on all processes or on none, since sampling waits for the others
        is_new = [prompt not in self.label_memory for prompt in batch.asked]
        return bool(gather(torch.tensor(is_new, device=self.accelerator.device)).any())

    def _calculate_rewards(self, inputs: list[dict], prompts: list, completions: list, *ids: Any) -> Tensor:
        """Vote, then let TRL collect the rewards, of which the vote's is the first.

        Rows that are not trained on become nan, which TRL leaves out of mean and std, with advantage 0.
        """
        batch, started = self.batch, time.perf_counter()
        batch.policy = replace(batch.policy, completions=completions)
        if batch.momentum is not None:
            batch.momentum = self._decoded(batch.momentum, prompts[0])
        known = self._known_labels(batch)
        voters = [(batch.policy, batch.num_policy)]
        if batch.momentum is not None and known is None:
            voters.append((batch.momentum, batch.num_momentum))
        # held-out groups are the policy's alone, and are not trained on
        method = {name: getattr(self.args, name) for name in METHOD_FIELDS} if batch.is_training else {}
        batch.labels = label(voters, self.answer_fn, self.equivalence, known, **method)
        if batch.is_training:
            batch.visits = self.label_memory.visit(batch.asked, batch.labels.texts, self.equivalence)
        batch.label_seconds = time.perf_counter() - started
        rewards = super()._calculate_rewards(inputs, prompts, completions, *ids)
        check_rewards(rewards, self.reward_func_names)
        if batch.is_training:
            rewards[~gather(batch.labels.groups.loss_mask.flatten().to(rewards.device))] = torch.nan
        return rewards

    def _known_labels(self, batch: Batch) -> FixedLabels | None:
        """The labels that nobody in the group votes for: gold ones, or those of the initial model."""
        if not batch.is_training or self.args.label_source not in KNOWN_LABEL_SOURCES:
            return None
        if self.args.label_source == "gold":
            return FixedLabels(batch.gold, self.gold_scorer)
        fresh: list[str | None] = [None] * len(batch.asked)
        if batch.momentum is not None:
            fresh = label([(batch.momentum, batch.num_momentum)], self.answer_fn, self.equivalence).texts
        memory, pairs = self.label_memory, zip(batch.asked, fresh, strict=True)
        labels = [memory[prompt].label if prompt in memory else new for prompt, new in pairs]
        return FixedLabels(labels, partial(equivalent_to_gold, equivalence=self.equivalence))

    def _vote_reward(self, **_: Any) -> list[float]:
        """The reward function that TRL calls: what the vote makes of each policy completion."""
        return self.batch.labels.groups.reward[:, : self.batch.num_policy].flatten().tolist()

    _vote_reward.__name__ = "vote"  # TRL logs a reward under its function's name

    def _mask_loss(self, batch: Batch, output: dict) -> None:
        """Take the rows and tokens that are not trained on out of the loss, and out of the count it is divided by."""
        weights = flip_weights(batch.visits, self.args.label_flip_patience).to(self.accelerator.device)
        output["advantages"] = output["advantages"] * weights.repeat_interleave(batch.num_policy)
        spans = None
        if self.args.mask_answer_span:
            answers = [answer for group in batch.labels.answers for answer in group[: batch.num_policy]]
            rows = zip(batch.policy.completion_ids, answers, strict=True)
            spans = [answer_tokens(ids, answer, self.answer_fn, self.processing_class) for ids, answer in rows]
        # `completion_mask` is also the attention mask; TRL's `tool_mask` is in the loss and the KL alone.
        learnt = mask(batch.labels, output["completion_ids"].shape[1], spans).to(self.accelerator.device)
        output["tool_mask"] = learnt * output.get("tool_mask", 1)
        output["num_items_in_batch"] = gather((output["completion_mask"] * output["tool_mask"]).sum()).sum()
        if self._skips_rows and skips_zero_advantage(self.args):
            # after the count: the loss is divided by their tokens all the same
            output["tool_mask"] = output["tool_mask"] * (output["advantages"] != 0)[:, None]

    def _anchor_log_probs(self, output: dict) -> Tensor:
        """Log-probabilities of the completions' tokens under the model that the KL holds the policy to, (B, T).

        0 in rows that do not go through the model.
        """
        config = self.args
        size, num_tokens = output["completion_ids"].shape
        rows = rows_to_compute(output) if self._skips_rows else torch.arange(size)
        kept = take_rows(output, rows)
        anchor: AbstractContextManager = nullcontext()
        if config.kl_anchor == "momentum" and self.momentum_model is not None:
            anchor = self.momentum_model.in_place_of_policy()
        elif config.kl_anchor == "initial" and self.ref_model is None:
            # as TRL has it: the base, or a copy of the adapter that training began with
            policy = self.accelerator.unwrap_model(self.model)
            anchor = trl_utils.use_adapter(policy, "ref" if "ref" in policy.peft_config else None)
        no_checkpointing = disable_gradient_checkpointing(self.model, config.gradient_checkpointing_kwargs)
        with torch.no_grad(), no_checkpointing, anchor:
            computed, _, _ = self._get_per_token_logps_and_entropies(
                self.model if self.ref_model is None else self.ref_model,
                torch.cat([kept["prompt_ids"], kept["completion_ids"]], dim=1),
                torch.cat([kept["prompt_mask"], kept["completion_mask"]], dim=1),
                num_tokens,
                batch_size=config.per_device_train_batch_size,
            )
        log_probs = computed.new_zeros(size, num_tokens)
        log_probs[rows] = computed
        return log_probs

    def _log_batch(self, batch: Batch, advantages: Tensor) -> None:
        """Log the vote, and compare the gold answers with it, now that all that is trained on is fixed."""
        mode, score = ("train", self.gold_scorer) if batch.is_training else ("eval", self.eval_gold_scorer)
        verdicts = gold_verdicts(batch.labels, batch.gold, score)
        metrics = batch_metrics(batch, verdicts, self.args.label_flip_patience, self.accelerator.device)
        for name, value in metrics.items():
            self._metrics[mode][name].append(value)
        if batch.is_training and self.args.log_completions:
            first_group = self.args.process_index * len(batch.prompts)
            rows = completion_rows(batch, advantages.tolist(), verdicts, first_group)
            self.run_files.completion_rows = gather_object(rows)

    def compute_loss(self, model: nn.Module, inputs: dict, *args: Any, **kwargs: Any) -> Tensor:
        """Compute the loss as TRL does, from the rows that are trained on where the others are skipped.

        An evaluation has none: it samples, and spends no passes on log-probabilities.
        """
        if not self.model.training:
            return torch.zeros((), device=self.accelerator.device)
        if self._skips_rows:
            rows = rows_to_compute(inputs)
            self.log_metric(names.ROWS_SKIPPED, 1 - len(rows) / len(inputs["completion_ids"]))
            inputs = take_rows(inputs, rows)
        return self.gradient_guard.see_loss(super().compute_loss(model, inputs, *args, **kwargs))

    @property
    def _skips_rows(self) -> bool:
        # every token is in a router's loss, and images are not counted by rows
        return self.args.skip_zero_advantage is not False and not (self.aux_loss_enabled or self._is_vlm)

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Score as TRL does, each distinct prompt once where that is asked for."""
        bare_model = self._model_with_logits(model)
        if self.args.share_prompts != "false" and not (self._is_vlm or kwargs.get("compute_aux_loss")):
            model = score_once(model, bare_model, input_ids.shape[1], logits_to_keep, keeps_prompts=self.keeps_prompts)
        with fitted_fused_head(bare_model.config.get_text_config().vocab_size, input_ids[:, -logits_to_keep:]):
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )

    def _make_sampler(self) -> Sampler:
        """What samples from both models, or from the policy alone while there is no momentum model."""
        config, trls = self.args, super()._generate_single_turn

        def generate(rows: PromptRows) -> tuple[list[list[int]], list | None]:
            return trls(rows.ids, rows.images, rows.fields, rows.num_per_prompt)

        common = (generate, self.momentum_model, config.momentum_temperature or self.temperature)
        if self.use_vllm:
            return VLLMSampler(*common, self.vllm_generation, config, partial(setattr, self, "_last_loaded_step", -1))
        model = self._model_with_logits(self.model)
        needs_certainty = config.reward == "self_certainty"
        recorder = EntropyRecorder(self.temperature, config.entropy_source, with_self_certainty=needs_certainty)
        transformers = (*common, model, recorder, self.generation_config, self.generation_kwargs)
        shares = samples_with_shared_prompts(config, model) and not self._is_vlm
        pair = None if self._is_vlm or config.label_source == "frozen" else self.momentum_model
        if pair is not None and (layers := paired_layers(model, pair)):
            return TwoAdapterSampler(*transformers, shares, layers)
        return TransformersSampler(*transformers, shares)

    def _model_with_logits(self, model: Any) -> Any:
        model = self.accelerator.unwrap_model(model)
        return model.get_base_model() if is_peft_model(model) else model

    def _tokenized(self, prompts: list, num_per_prompt: int) -> PromptRows:
        repeated = [prompt for prompt in prompts for _ in range(num_per_prompt)]
        ids, images, fields = self._tokenize_prompts(repeated)
        return PromptRows(ids, images, fields, num_per_prompt)

    def _decoded(self, rollouts: Rollouts, prompt: Any) -> Rollouts:
        return decoded(rollouts, self.processing_class, is_chat=isinstance(prompt, list))

    def _start_run(self) -> None:
        self.start_momentum_model()
        self.start_probe()
        self.restore_loop()

    def start_momentum_model(self) -> None:
        """Start the momentum model, if one is needed, at the policy; or it and the labels as a checkpoint has them."""
        if self._checkpoint is not None:
            self.label_memory.load(Path(self._checkpoint))
        if has_momentum_model(self.args):
            m = 1.0 if self.args.label_source == "frozen" else self.args.momentum
            policy = self.accelerator.unwrap_model(self.model)
            self.momentum_model = MomentumModel(policy, m, on_cpu=self.args.momentum_cpu_offload)
            if self._checkpoint is not None:
                self.momentum_model.load(Path(self._checkpoint))
        self.sampler = self._make_sampler()

    def start_probe(self) -> None:
        """Let the initial model answer the probe's prompts; or take its answers from the run that is resumed."""
        config, num_prompts = self.args, num_probe_prompts(self.args)
        if not num_prompts or not isinstance(self.train_dataset, Sized):
            return
        score = partial(self._get_per_token_logps_and_entropies, batch_size=config.per_device_train_batch_size)
        log_probs_of = partial(mean_log_probs, self.model, score, self.processing_class.pad_token_id)
        directories = [] if self._checkpoint is None else [Path(config.output_dir), Path(self._checkpoint).parent]
        if (rows := load_rows(*directories)) is None:
            self.model.train()  # as in training
            at_once = config.generation_batch_size // config.world_size  # no more than in training
            readers = (self._sample_policy, self.answer_fn, self.equivalence)
            is_quiet = config.disable_tqdm or not self.accelerator.is_main_process
            how = (at_once, *readers, log_probs_of)
            with own_random_state(config.seed + config.process_index, self.accelerator.device):
                rows = sample_probe(self.train_dataset, num_prompts, *how, is_quiet=is_quiet)
        if self.accelerator.is_main_process:
            save_rows(rows, Path(config.output_dir))
        self.probe = Probe(rows, log_probs_of)

    @noted(WHILE_SAMPLING)
    def _sample_policy(self, prompts: list, num_per_prompt: int) -> Rollouts:
        rollouts, _ = self.sampler.sample(self._tokenized(prompts, num_per_prompt))
        return self._decoded(rollouts, prompts[0])
