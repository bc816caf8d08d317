"""How much memory a run needs on each GPU: arithmetic, with the standard library alone.

Weights, gradients, optimizer, reference and momentum model, and the keys and values of sampling are counted; tests
compare them with the bytes of live tensors. Activations, logits and what a sharding engine gathers are estimates, and
vLLM takes what it is given. docs/how-to/scaling.md says how far the estimates are off.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from mgrpo.commands.model_shape import Shape

GIB = 2**30
Sharding = Literal["ddp", "fsdp2", "zero-2", "zero-3"]
SHARDINGS: tuple[Sharding, ...] = ("ddp", "fsdp2", "zero-2", "zero-3")
PHASES = ("policy samples", "momentum samples", "learning")
"""When memory is needed. The policy's and the momentum model's completions are sampled one after the other."""

RESERVED = 3 * GIB
"""CUDA's context, NCCL's buffers, fragmentation: assumed."""
HEAD_ROWS, HEAD_COLUMNS = 4096, 32768
"""Most tokens and vocabulary entries of which TRL's fused head holds the logits at once."""
ZERO_BUCKET, ZERO_LIVE = 5e8, 1e9
"""DeepSpeed's defaults, in parameters: reduce_bucket_size, and stage3_max_live_parameters."""
BLOCK_SCALES = 4 / 256
"""Bytes a parameter of the float32 scales in an 8-bit optimizer state: one for each 256 parameters."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What decides about memory in a recipe and its launch. Attributes with a recipe field's name are that field.

    Attributes:
        gpus: how many there are, one process on each.
        gpu_memory: of each, bytes.
        dtype_bytes: of a weight as it is loaded.
        mixed_precision: whether products are computed in 16 bits (bf16, fp16).
        has_reference: whether there is a KL to the initial model.
        num_sampled: the policy's completions that a process samples at once.
        num_voting: the momentum model's.
    """

    gpus: int
    gpu_memory: float
    sharding: Sharding
    dtype_bytes: int
    mixed_precision: bool
    use_peft: bool
    has_momentum: bool
    has_reference: bool
    optim: str
    gradient_checkpointing: bool
    per_device_train_batch_size: int
    num_sampled: int
    num_voting: int
    max_prompt_length: int
    max_completion_length: int
    sampler: Literal["transformers", "vllm colocate", "vllm server"] = "transformers"
    vllm_gpu_memory_utilization: float = 0.3
    vllm_tensor_parallel_size: int = 1
    vllm_enable_sleep_mode: bool = False
    momentum_cpu_offload: bool = False

    @property
    def is_zero(self) -> bool:
        """Whether DeepSpeed trains."""
        return self.sharding in ("zero-2", "zero-3")

    @property
    def weight_shards(self) -> int:
        """GPUs over which the weights, the reference's and the momentum model's are split."""
        return self.gpus if self.sharding in ("fsdp2", "zero-3") else 1

    @property
    def optimizer_shards(self) -> int:
        """GPUs over which gradients and the optimizer's state are split."""
        return 1 if self.sharding == "ddp" else self.gpus

    @property
    def samples_together(self) -> bool:
        """Whether transformers samples both models in one batch: two adapters over one base."""
        return self.use_peft and self.has_momentum and self.weight_shards == 1

    @property
    def has_momentum_on_cpu(self) -> bool:
        """Whether the momentum model lies in the CPU's memory, which one in shards does not."""
        return self.has_momentum and self.momentum_cpu_offload and self.weight_shards == 1

    @property
    def frozen_bytes(self) -> int:
        """Of a weight that is not trained: the reference's, an adapter's base. DeepSpeed casts what it is given."""
        return 2 if self.is_zero and self.mixed_precision else self.dtype_bytes

    @property
    def trained_bytes(self) -> int:
        """Of a weight that is trained. PEFT keeps adapters in float32, and accelerate's FSDP2 what it mixes."""
        is_kept_whole = self.use_peft or (self.sharding == "fsdp2" and self.mixed_precision)
        return 4 if is_kept_whole and not self.is_zero else self.frozen_bytes

    @property
    def compute_bytes(self) -> int:
        """Of what matrix products read and write."""
        return 2 if self.mixed_precision else self.dtype_bytes

    @property
    def autocasts(self) -> bool:
        """Whether float32 weights are cast, product by product: the residual stream then stays float32."""
        return self.sharding == "ddp" and self.mixed_precision and self.dtype_bytes == 4

    @property
    def residual_bytes(self) -> int:
        """Of the residual stream between layers."""
        return 4 if self.autocasts else self.compute_bytes

    @property
    def max_length(self) -> int:
        """Tokens of the longest sequence."""
        return self.max_prompt_length + self.max_completion_length

    def trained(self, shape: "Shape") -> int:
        """Parameters that are trained."""
        return shape.adapter if self.use_peft else shape.parameters


class Item(NamedTuple):
    """One thing that takes memory: bytes on each GPU in each of `PHASES`, counted (exact) or estimated."""

    name: str
    shards: int  # GPUs over which it is split
    needs: tuple[float, float, float]
    is_exact: bool = False


@dataclass(frozen=True)
class Plan:
    """What a setting needs on each GPU."""

    shape: "Shape"
    setting: Setting
    items: tuple[Item, ...]

    @property
    def totals(self) -> tuple[float, ...]:
        """Bytes in each of `PHASES`."""
        return tuple(sum(needs) for needs in zip(*(item.needs for item in self.items), strict=True))

    @property
    def peak(self) -> float:
        """Bytes where most is needed."""
        return max(self.totals)

    @property
    def vllm_tokens(self) -> float:
        """Tokens whose keys and values a colocated vLLM holds at once; negative: not even its weights fit."""
        setting = self.setting
        given = setting.vllm_gpu_memory_utilization * setting.gpu_memory
        left = given - 2 * self.shape.parameters / setting.vllm_tensor_parallel_size
        return left / (cache_bytes(self.shape, 4) / setting.vllm_tensor_parallel_size)

    @property
    def cpu_bytes(self) -> float:
        """Bytes of the CPU's memory that each process takes for the momentum model, where it lies there."""
        setting = self.setting
        if not setting.has_momentum_on_cpu:
            return 0
        # 16-bit weights are also rounded there when they change places with the policy's
        return (4 if setting.trained_bytes == 4 else 4 + setting.trained_bytes) * setting.trained(self.shape)

    @property
    def largest(self) -> list[Item]:
        """The items of the phase that needs most, the largest first."""
        phase = self.totals.index(self.peak)
        return sorted((item for item in self.items if item.needs[phase]), key=lambda item: -item.needs[phase])

    @property
    def problem(self) -> str | None:
        """Why it cannot run, or None."""
        setting = self.setting
        if setting.sampler == "vllm colocate" and self.vllm_tokens < setting.max_length:
            return (
                f"vLLM's share of a GPU (vllm_gpu_memory_utilization: {setting.vllm_gpu_memory_utilization}) does not "
                f"hold its weights and one sequence of {setting.max_length} tokens"
            )
        if self.peak > setting.gpu_memory:
            return f"{(self.peak - setting.gpu_memory) / GIB:.1f} GiB a GPU are missing"
        return None


def plan(shape: "Shape", setting: Setting) -> Plan:
    """What a setting needs on each GPU."""
    items = (*_kept_items(shape, setting), *_sampling_items(shape, setting), *_learning_items(shape, setting))
    return Plan(shape, setting, tuple(item for item in items if any(item.needs)))


def _always(needed: float) -> tuple[float, float, float]:
    return needed, needed, needed


def _kept_items(shape: "Shape", setting: Setting) -> Iterator[Item]:
    shards, optimizer_shards, trained = setting.weight_shards, setting.optimizer_shards, setting.trained(shape)
    frozen_bytes, trained_bytes = setting.frozen_bytes * shape.parameters, setting.trained_bytes * trained
    if setting.use_peft:
        yield Item("policy, frozen base", shards, _always(frozen_bytes / shards), True)
    name = "policy, adapter" if setting.use_peft else "policy"
    yield Item(name, shards, _always(trained_bytes / shards), True)
    optimizer = _optimizer_bytes(shape, setting) / optimizer_shards
    yield Item(f"optimizer, {setting.optim}", optimizer_shards, _always(optimizer), "8bit" not in setting.optim)
    if setting.has_reference and not setting.use_peft:  # an adapter's reference is its base
        yield Item("reference model", shards, _always(frozen_bytes / shards), True)
    if setting.has_momentum and not setting.has_momentum_on_cpu:
        yield Item("momentum model, float32", shards, _always(4 * trained / shards), True)
        if setting.trained_bytes < 4:  # float32 weights are sampled from as they are
            yield Item("momentum weights, rounded", shards, (0, trained_bytes / shards, 0), True)
    if setting.sharding == "ddp" and setting.gpus > 1:
        yield Item("DDP's gradient buckets", 1, _always(trained_bytes))
    yield Item("CUDA, NCCL, fragmentation", 1, _always(RESERVED))


def _optimizer_bytes(shape: "Shape", setting: Setting) -> float:
    optim, trained = setting.optim, setting.trained(shape)
    num_states = 0 if "sgd" in optim or "adafactor" in optim else 1 if "lion" in optim or "rmsprop" in optim else 2
    main_copy = 4 * trained if setting.is_zero else 0  # the float32 weights that DeepSpeed steps
    if "8bit" in optim:
        in_full = 0 if setting.use_peft else shape.vocab_size * shape.hidden_size  # transformers leaves embeddings out
        return main_copy + num_states * (4 * in_full + (1 + BLOCK_SCALES) * (trained - in_full))
    return main_copy + num_states * (4 if setting.is_zero else setting.trained_bytes) * trained


def cache_bytes(shape: "Shape", of_key_and_value: int) -> float:
    """Of the keys and values of a token."""
    return shape.num_layers * shape.num_kv_heads * shape.head_dim * of_key_and_value


def _sampling_items(shape: "Shape", setting: Setting) -> Iterator[Item]:
    sampled, voting = setting.num_sampled, setting.num_voting if setting.has_momentum else 0
    if setting.samples_together:
        sampled = voting = sampled + voting
    if setting.sampler == "vllm colocate":
        given = setting.vllm_gpu_memory_utilization * setting.gpu_memory
        yield Item("vLLM, its weights included", 1, (given, given, 0 if setting.vllm_enable_sleep_mode else given))
    if setting.sampler != "transformers":
        return
    # rotary embeddings of a float32 stream make float32 keys, and transformers gives the values the keys' type
    for_each = cache_bytes(shape, 2 * setting.residual_bytes) * setting.max_length
    yield Item("keys and values", 1, (sampled * for_each, voting * for_each, 0), True)
    # gate, up and their product, while prompts are read; then float32 logits, divided, filtered, as probabilities
    widest = 3 * setting.compute_bytes * shape.intermediate_size + 4 * setting.residual_bytes * shape.hidden_size
    for_each = max(setting.max_prompt_length * widest, 4 * 4 * shape.vocab_size)
    yield Item("prompts' activations, logits", 1, (sampled * for_each, voting * for_each, 0))
    if setting.sharding == "zero-3":
        whole = setting.frozen_bytes * shape.parameters
        yield Item("gathered to sample", 1, (whole, whole if voting else 0, 0))


def saved_by_layer(shape: "Shape", setting: Setting) -> float:
    """Bytes that a decoder layer keeps of a token for its backward pass: RMSNorm, SDPA and a gated MLP.

    Of a norm, its input in float32, what it makes of it, and what the products after it read (in autocast each has a
    cast of its own); of attention queries, keys, values and output; of the MLP gate, its activation, up and product.
    """
    compute, hidden = setting.compute_bytes, shape.hidden_size
    queries, keys = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    norms = 26 if setting.autocasts else 24 if compute == 4 else 16
    saved = norms * hidden + compute * (2 * queries + 2 * keys + 4 * shape.intermediate_size) + 4 * shape.num_heads + 8
    if shape.has_query_norm:
        saved += (8 if compute == 4 else 6) * (queries + keys) + 4 * (shape.num_heads + shape.num_kv_heads)
    return saved


def _learning_items(shape: "Shape", setting: Setting) -> Iterator[Item]:
    trained, shards = setting.trained(shape), setting.optimizer_shards
    yield Item("gradients", shards, (0, 0, setting.trained_bytes * trained / shards), True)

    num_tokens = setting.per_device_train_batch_size * setting.max_length
    layer, between = saved_by_layer(shape, setting), setting.residual_bytes * shape.hidden_size
    kept = shape.num_layers * between + layer if setting.gradient_checkpointing else shape.num_layers * layer
    widest = setting.compute_bytes * shape.intermediate_size  # a gradient more than what it takes the place of
    yield Item("activations", 1, (0, 0, num_tokens * (kept + widest)))

    num_scored = setting.per_device_train_batch_size * setting.max_completion_length
    tile = min(num_scored, HEAD_ROWS) * min(shape.vocab_size, HEAD_COLUMNS) * 4
    head = shape.vocab_size * shape.hidden_size
    head_gradient = 0 if setting.use_peft else 4 * head  # float32, before it joins the others
    gathered_head = setting.trained_bytes * head if setting.sharding == "fsdp2" else 0
    hidden = 3 * 4 * num_tokens * shape.hidden_size
    yield Item("logits, in tiles", 1, (0, 0, tile + head_gradient + gathered_head + hidden))

    if setting.autocasts:
        copies = 2 * shape.layer * shape.num_layers
        if setting.gradient_checkpointing:  # all at the end of the forward pass, a layer's while that goes backward
            copies = max(2 * shape.layer, copies - num_tokens * (layer + widest))
        yield Item("16-bit copies of weights", 1, (0, 0, copies))
    if setting.sharding == "fsdp2":  # a layer, the next one, and the embeddings
        gathered = setting.compute_bytes * (2 * shape.layer + shape.embeddings)
        yield Item("gathered layers", 1, _always(gathered))
    if setting.is_zero:
        live = min(shape.parameters, ZERO_LIVE) if setting.sharding == "zero-3" else 0
        yield Item("DeepSpeed's buckets", 1, (0, 0, 2 * (min(trained, ZERO_BUCKET) + live)))
