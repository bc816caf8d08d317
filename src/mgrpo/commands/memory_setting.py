"""What decides about a run's memory, and what follows from it for the width of its numbers and its shards."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from mgrpo.commands.model_shape import Shape

GIB = 2**30
Sharding = Literal["ddp", "fsdp2", "zero-2", "zero-3"]
SHARDINGS: tuple[Sharding, ...] = ("ddp", "fsdp2", "zero-2", "zero-3")
Sampler = Literal["transformers", "vllm colocate", "vllm server"]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What decides about memory in a recipe and its launch. Attributes with a recipe field's name are that field.

    Attributes:
        gpus: how many there are, one process on each.
        gpu_memory: of each, bytes.
        sharding: how the processes share the model.
        dtype_bytes: of a weight as it is loaded.
        mixed_precision: whether products are computed in 16 bits (bf16, fp16).
        has_momentum: whether there is a momentum model.
        has_reference: whether there is a KL to the initial model.
        num_sampled: the policy's completions that a process samples at once.
        num_voting: the momentum model's.
        sampler: the engine that samples.
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
    sampler: Sampler = "transformers"
    vllm_gpu_memory_utilization: float = 0.3
    vllm_tensor_parallel_size: int = 1
    vllm_enable_sleep_mode: bool = False
    momentum_cpu_offload: bool = False

    @property
    def is_zero(self) -> bool:
        """Whether DeepSpeed trains."""
        return self.sharding in ("zero-2", "zero-3")

    @property
    def samples_together(self) -> bool:
        """Whether transformers samples both models in one batch: two adapters over one base."""
        return self.use_peft and self.has_momentum and self.weight_shards == 1

    @property
    def has_momentum_on_cpu(self) -> bool:
        """Whether the momentum model lies in the CPU's memory, which one in shards does not."""
        return self.has_momentum and self.momentum_cpu_offload and self.weight_shards == 1

    @property
    def weight_shards(self) -> int:
        """GPUs over which the weights, the reference's and the momentum model's are split."""
        return self.gpus if self.sharding in ("fsdp2", "zero-3") else 1

    @property
    def optimizer_shards(self) -> int:
        """GPUs over which gradients and the optimizer's state are split."""
        return 1 if self.sharding == "ddp" else self.gpus

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

    @property
    def vllm_bytes(self) -> float:
        """What a colocated vLLM is given of a GPU."""
        return self.vllm_gpu_memory_utilization * self.gpu_memory

    def trained(self, shape: "Shape") -> int:
        """Parameters that are trained."""
        return shape.adapter if self.use_peft else shape.parameters
