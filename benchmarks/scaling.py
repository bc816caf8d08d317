"""The memory table of docs/how-to/scaling.md, from the calculator behind `mgrpo plan`.

    python benchmarks/scaling.py        write it into the document

A test asks that what is committed is what this script writes.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

from transformers import Qwen3Config
from trl import ModelConfig

from mgrpo.commands.gpu_memory import GIB, Plan, Setting, plan
from mgrpo.commands.model_shape import Shape, read_shape

DOCUMENT = Path(__file__).parents[1] / "docs" / "how-to" / "scaling.md"
BEGIN, END = "<!-- python benchmarks/scaling.py writes what follows -->\n", "<!-- up to here -->\n"

# hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, tie_word_embeddings of the config.json of
# Qwen/Qwen3-*B on the Hub. All have 8 heads with keys and values, heads of 128 and 151,936 tokens.
QWEN3 = {
    "0.6B": (1024, 3072, 28, 16, True),
    "1.7B": (2048, 6144, 28, 16, True),
    "4B": (2560, 9728, 36, 32, True),
    "8B": (4096, 12288, 36, 32, False),
    "14B": (5120, 17408, 40, 40, False),
    "32B": (5120, 25600, 64, 64, False),
}
PAPER = Setting(
    gpus=8,
    gpu_memory=80 * GIB,
    sharding="fsdp2",
    dtype_bytes=4,
    mixed_precision=True,
    use_peft=False,
    has_momentum=True,
    has_reference=True,
    optim="adamw_torch_fused",
    gradient_checkpointing=True,
    per_device_train_batch_size=2,
    num_sampled=24,
    num_voting=8,
    max_prompt_length=1024,
    max_completion_length=3072,
    sampler="vllm colocate",
    vllm_gpu_memory_utilization=0.25,
)
"""recipes/qwen3-4b-math.yaml, sharded by FSDP2."""
ADAPTER = ModelConfig(use_peft=True, lora_target_modules="all-linear")
COLUMNS = {
    "policy": ("policy",),
    "gradients": ("gradients",),
    "optimizer": ("optimizer, adamw_torch_fused",),
    "reference": ("reference model",),
    "momentum": ("momentum model, float32",),
    "activations": ("activations", "logits, in tiles", "gathered layers"),
}
LAUNCHES = {
    "1 GPU, LoRA": {"gpus": 1, "sharding": "ddp", "use_peft": True, "dtype_bytes": 2, "has_reference": False},
    "1 GPU": {"gpus": 1, "sharding": "ddp"},
    "8, DDP": {"sharding": "ddp"},
    "8, ZeRO-2": {"sharding": "zero-2"},
    "8, ZeRO-3": {"sharding": "zero-3"},
    "8, FSDP2": {},
    "16, FSDP2": {"gpus": 16},
}


@cache
def shape_of(size: str) -> Shape:
    """A Qwen3's measures."""
    hidden_size, intermediate_size, num_layers, num_heads, is_tied = QWEN3[size]
    config = Qwen3Config(
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=8,
        head_dim=128,
        vocab_size=151_936,
        tie_word_embeddings=is_tied,
    )
    return read_shape(config, ADAPTER)


def table(lines: list[list[str]]) -> str:
    """A Markdown table; numbers stand to the right."""
    head, *body = lines
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *body))


def parts(shapes: dict[str, Shape]) -> str:
    """What each part takes of the GPU, sharded over 8."""
    lines = [["Qwen3", "parameters", *COLUMNS, "keys and values of 1,000 tokens"]]
    for size, shape in shapes.items():
        needs = {item.name: max(item.needs) for item in plan(shape, PAPER).items}
        cells = [f"{sum(needs[name] for name in names) / GIB:.1f}" for names in COLUMNS.values()]
        cache = 1000 * shape.num_layers * shape.num_kv_heads * shape.head_dim * 2 * 2
        lines.append([size, f"{shape.parameters / 1e9:.2f} billion", *cells, f"{cache / GIB:.2f}"])
    return table(lines)


def launches(shapes: dict[str, Shape]) -> str:
    """What is needed at the peak, with vLLM on GPUs of its own, and whether it also fits with vLLM beside it."""
    lines = [["Qwen3", *LAUNCHES]]
    for size, shape in shapes.items():
        lines.append([size, *(_verdict(shape, replace(PAPER, **launch)) for launch in LAUNCHES.values())])
    return table(lines)


def _verdict(shape: Shape, setting: Setting) -> str:
    alone = plan(shape, replace(setting, sampler="vllm server"))
    beside = plan(shape, replace(setting, vllm_enable_sleep_mode=True))
    needed = f"{alone.peak / GIB:.0f}"
    if not _fits(alone):
        return f"({needed})"
    return f"**{needed}**" if _fits(beside) else needed


def _fits(planned: Plan) -> bool:
    return planned.problem is None


def write() -> str:
    """The document with its tables made anew."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    shapes = {size: shape_of(size) for size in QWEN3}
    middle = (
        "GiB on each of 8 GPUs, FSDP2, float32 weights and bfloat16 products, micro batches of 2 x 4,096 tokens:\n\n"
        f"{parts(shapes)}\n"
        "GiB on each GPU where most is needed, vLLM on GPUs of its own. **Bold**: fits 80 GiB with vLLM on the same "
        "GPUs too\n(`vllm_enable_sleep_mode: true`, a quarter of each). (In brackets): does not fit 80 GiB.\n\n"
        f"{launches(shapes)}"
    )
    return f"{before}{BEGIN}\n{middle}\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(write(), encoding="utf-8")
    print(DOCUMENT)
