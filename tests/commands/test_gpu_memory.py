"""The plan's counts against the bytes of live tensors, and its estimates against measured peaks."""

import gc
import weakref
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
import torch
from peft import get_peft_model
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config, TrainerCallback
from trl import ModelConfig, get_peft_config
from trl.trainer import utils as trl_utils

from mgrpo.commands.gpu_memory import GIB, Setting, cache_bytes, plan, saved_by_layer
from mgrpo.commands.model_shape import Shape, read_shape
from mgrpo.models.load import load_config
from mgrpo.training.sampling.momentum_model import MomentumModel

ADAPTER = ModelConfig(use_peft=True, lora_target_modules="all-linear")
SMOLLM2_135M = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "tie_word_embeddings": True,
}
SETTING = Setting(
    gpus=1,
    gpu_memory=80 * GIB,
    sharding="ddp",
    dtype_bytes=4,
    mixed_precision=False,
    use_peft=False,
    has_momentum=True,
    has_reference=True,
    optim="adamw_torch",
    gradient_checkpointing=False,
    per_device_train_batch_size=2,
    num_sampled=24,
    num_voting=8,
    max_prompt_length=7,
    max_completion_length=14,
)


def needs(shape, setting):
    """Bytes of each item where it needs most, by name."""
    return {item.name: max(item.needs) for item in plan(shape, setting).items}


def storages(found):
    """Bytes of the memory that tensors lie in, by its address."""
    return {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in found}


def size_of(found):
    return sum(storages(found).values())


def live():
    gc.collect()
    return size_of(o for o in gc.get_objects() if isinstance(o, torch.Tensor))


def tensors_in(value):
    """The tensors in nested mappings and lists."""
    if isinstance(value, torch.Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for item in values for tensor in tensors_in(item)]


# What follows from a setting.


@pytest.mark.parametrize(
    ("sharding", "weight_shards", "optimizer_shards"),
    [("ddp", 1, 1), ("zero-2", 1, 4), ("zero-3", 4, 4), ("fsdp2", 4, 4)],
)
def test_what_is_split(sharding, weight_shards, optimizer_shards):
    found = replace(SETTING, gpus=4, sharding=sharding)
    assert (found.weight_shards, found.optimizer_shards) == (weight_shards, optimizer_shards)


@pytest.mark.parametrize(
    ("changed", "frozen", "trained", "compute", "residual"),
    [
        ({}, 4, 4, 4, 4),
        ({"mixed_precision": True}, 4, 4, 2, 4),  # autocast: the residual stream stays float32
        ({"dtype_bytes": 2}, 2, 2, 2, 2),
        ({"dtype_bytes": 2, "use_peft": True}, 2, 4, 2, 2),  # PEFT's adapters are float32
        ({"dtype_bytes": 2, "mixed_precision": True, "sharding": "fsdp2"}, 2, 4, 2, 2),
        ({"mixed_precision": True, "sharding": "zero-2"}, 2, 2, 2, 2),  # DeepSpeed casts all weights
    ],
)
def test_bytes_of_a_number(changed, frozen, trained, compute, residual):
    found = replace(SETTING, gpus=4, **changed)
    assert (found.frozen_bytes, found.trained_bytes) == (frozen, trained)
    assert (found.compute_bytes, found.residual_bytes) == (compute, residual)


def test_two_adapters_are_sampled_together_where_weights_are_whole():
    adapters = replace(SETTING, gpus=4, use_peft=True)
    assert adapters.samples_together and not replace(SETTING, gpus=4).samples_together
    assert not replace(adapters, sharding="fsdp2").samples_together
    assert not replace(adapters, has_momentum=False).samples_together


# Counts.


class Counted(TrainerCallback):
    """Bytes of gradients and of the optimizer's state, where a step has both."""

    def on_optimizer_step(self, args, state, control, model, optimizer, **_):
        shapes = {p.shape for p in model.parameters()}
        self.gradients = size_of(p.grad for p in model.parameters() if p.grad is not None)
        self.optimizer = size_of(
            t for t in tensors_in(list(optimizer.state.values())) if t.shape in shapes and t.dim() > 0
        )


@contextmanager
def keeping_caches(model, kept):
    """Within the block the caches that the model's forward passes return go to a list."""

    def keep(module, inputs, output):
        if getattr(output, "past_key_values", None) is not None:
            kept.append(output.past_key_values)

    handle = model.register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.parametrize("is_adapter", [False, True])
def test_a_run_of_the_embedded_model(make_trainer, is_adapter):
    options = {"peft_config": get_peft_config(ADAPTER)} if is_adapter else {}
    counted = Counted()
    trainer = make_trainer({"callbacks": [counted], **options}, max_steps=1, beta=0.01, probe_prompts=0)
    caches = []
    bare = trainer._model_with_logits(trainer.model)
    with keeping_caches(bare, caches):
        trainer.train()

    shape = read_shape(load_config("embedded"), ADAPTER)
    setting = replace(SETTING, use_peft=is_adapter)
    planned = needs(shape, setting)
    policy = planned["policy"] if not is_adapter else planned["policy, frozen base"] + planned["policy, adapter"]
    assert size_of(trainer.model.parameters()) == policy
    assert counted.gradients == planned["gradients"]
    assert counted.optimizer == planned["optimizer, adamw_torch"]
    assert (trainer.ref_model is None) == ("reference model" not in planned)
    if trainer.ref_model is not None:
        assert size_of(trainer.ref_model.parameters()) == planned["reference model"]
    own = storages(tensors_in(list(vars(trainer.momentum_model).values())))
    shared = storages(trainer.model.parameters())
    assert sum(own[address] for address in own.keys() - shared.keys()) == planned["momentum model, float32"]

    # 4 prompts: 24 rows of the policy, then 8 of the momentum model; two adapters' rows together
    cache = max(caches, key=lambda cache: cache.layers[0].keys.shape[0])
    rows, _, length, _ = cache.layers[0].keys.shape
    assert rows == (32 if is_adapter else 24)
    held = size_of(tensor for layer in cache.layers for tensor in (layer.keys, layer.values))
    assert held == rows * length * cache_bytes(shape, 8)
    assert planned["keys and values"] == rows * 21 * cache_bytes(shape, 8)


def test_the_size_of_smollm2():
    # as the Hub's page of HuggingFaceTB/SmolLM2-135M gives it
    assert read_shape(LlamaConfig(**SMOLLM2_135M), ModelConfig()).parameters == 134_515_008


@pytest.mark.parametrize("num_layers", [2, pytest.param(30, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("is_adapter", "dtype"), [(False, torch.bfloat16), (True, torch.float32)])
def test_smollm2_in_memory(is_adapter, dtype, num_layers):
    """The weights are random: their bytes are the same. All 30 layers allocate gigabytes, which takes 10 s."""
    vocab_size = SMOLLM2_135M["vocab_size"] if num_layers == 30 else 1000
    config = LlamaConfig(**{**SMOLLM2_135M, "num_hidden_layers": num_layers, "vocab_size": vocab_size})
    shape = read_shape(config, ADAPTER)
    setting = replace(SETTING, use_peft=is_adapter, dtype_bytes=dtype.itemsize)
    planned = needs(shape, setting)

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
        if is_adapter:
            model = get_peft_model(model, get_peft_config(ADAPTER))
    model.to_empty(device="cpu")
    model.tie_weights()
    policy = planned["policy"] if not is_adapter else planned["policy, frozen base"] + planned["policy, adapter"]
    assert size_of(model.parameters()) == policy

    trained = [p for p in model.parameters() if p.requires_grad]
    for p in trained:
        p.grad = torch.empty_like(p)
    assert size_of(p.grad for p in trained) == planned["gradients"]
    optimizer = torch.optim.AdamW(trained, lr=0.0, foreach=False)
    optimizer.step()
    states = [s[name] for s in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    assert size_of(states) == planned["optimizer, adamw_torch"]
    before = live()
    momentum = MomentumModel(model, 0.99)
    assert live() - before == planned["momentum model, float32"]
    if dtype == torch.bfloat16:
        before = live()
        with momentum.in_place_of_policy():
            assert live() - before == planned["momentum weights, rounded"]


def test_keys_and_values_have_the_type_of_the_residual_stream():
    config = Qwen3Config(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, head_dim=8)
    config.num_key_value_heads = 2
    model = AutoModelForCausalLM.from_config(config)
    ids = torch.zeros(3, 5, dtype=torch.long)
    shape = read_shape(config, ADAPTER)
    autocasts, halved = replace(SETTING, mixed_precision=True), replace(SETTING, dtype_bytes=2)
    for of_key_and_value, setting in ((8, SETTING), (8, autocasts), (4, halved)):
        autocast = torch.autocast("cpu", torch.bfloat16) if setting.mixed_precision else nullcontext()
        model.to(torch.bfloat16 if setting.dtype_bytes == 2 else torch.float32)
        with torch.no_grad(), autocast:
            cache = model(ids, use_cache=True).past_key_values
        held = size_of(tensor for layer in cache.layers for tensor in (layer.keys, layer.values))
        assert held == 3 * 5 * cache_bytes(shape, of_key_and_value)
        assert needs(shape, setting)["keys and values"] == 24 * 21 * cache_bytes(shape, of_key_and_value)


def test_fsdp2_shards_as_planned():
    """Eight processes of which there is one: it holds the first shard of each weight, rounded up."""
    from torch.distributed.fsdp import fully_shard
    from torch.testing._internal.distributed.fake_pg import FakeStore

    config = LlamaConfig(**{**SMOLLM2_135M, "num_hidden_layers": 2, "vocab_size": 1000})
    torch.distributed.init_process_group("fake", rank=0, world_size=8, store=FakeStore())
    try:
        model = AutoModelForCausalLM.from_config(config)
        mesh = torch.distributed.init_device_mesh("cpu", (8,))
        for module in (*model.model.layers, model):
            fully_shard(module, mesh=mesh)
        held = size_of(p.to_local() for p in model.parameters())
    finally:
        torch.distributed.destroy_process_group()
    setting = replace(SETTING, sharding="fsdp2", gpus=8)
    planned = needs(read_shape(config, ADAPTER), setting)
    assert held == pytest.approx(planned["policy"], rel=0.01)
    assert planned["momentum model, float32"] == planned["policy"]


# Estimates.


MEASURED = {
    "hidden_size": 128,
    "intermediate_size": 416,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 100,
}


class Peak(TorchDispatchMode):
    """The most bytes that tensors made within the block lived in at once."""

    def __init__(self):
        super().__init__()
        self.now = self.most = 0
        self._sizes = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        # made before the block, or views of it
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)}
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                address = storage._cdata
                if address not in given and address not in self._sizes:
                    self._sizes[address] = storage.nbytes()
                    self.now += storage.nbytes()
                    self.most = max(self.most, self.now)
                    weakref.finalize(storage, self._gone, address)
        return out

    def _gone(self, address):
        self.now -= self._sizes.pop(address, 0)


def learn(config, setting):
    """One forward and backward pass as TRL makes it; bytes saved for the backward pass, and the peak."""
    dtype = torch.bfloat16 if setting.dtype_bytes == 2 else torch.float32
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    trl_utils.add_fused_lm_head(model, temperature=1.1)
    model.train()
    if setting.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    ids = torch.zeros(setting.per_device_train_batch_size, setting.max_length, dtype=torch.long)
    own, saved = storages(model.parameters()), {}
    kept = []

    def pack(tensor):
        kept.append(tensor)
        saved.update(storages([tensor]))
        return tensor

    def forward():
        autocast = torch.autocast("cpu", torch.bfloat16) if setting.mixed_precision else nullcontext()
        with autocast:
            return model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids, fused_lm_head=True)

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    saved_bytes = sum(saved[address] for address in saved.keys() - own.keys())
    kept.clear()
    for p in model.parameters():  # gradients are there from the second pass on
        p.grad = torch.zeros_like(p)
    with Peak() as peak:
        forward().log_probs.mean().backward()
    return saved_bytes, peak.most


@pytest.mark.parametrize("precision", ["float32", "autocast", "bfloat16"])
@pytest.mark.parametrize("make_config", [Qwen3Config, LlamaConfig])
def test_what_a_layer_saves(make_config, precision):
    """The difference between four layers and two, which the ends of the model are not in."""
    setting = replace(
        SETTING,
        mixed_precision=precision == "autocast",
        dtype_bytes=2 if precision == "bfloat16" else 4,
        max_completion_length=57,
    )
    two, four = (
        learn(make_config(**MEASURED, num_hidden_layers=num_layers), setting)[0] / (2 * 64) for num_layers in (2, 4)
    )
    shape = read_shape(make_config(**MEASURED, num_hidden_layers=2), ADAPTER)
    copies = 2 * shape.layer / (2 * 64) if setting.autocasts else 0
    assert (four - two) / 2 == pytest.approx(saved_by_layer(shape, setting) + copies, rel=0.005)


@pytest.mark.parametrize("precision", ["float32", "autocast", "bfloat16"])
@pytest.mark.parametrize("gradient_checkpointing", [False, True])
def test_the_peak_of_learning(monkeypatch, precision, gradient_checkpointing):
    # on a CPU TRL's head makes some copies of a tile, which its kernel on a GPU does not
    monkeypatch.setattr(trl_utils, "_CHUNKED_LOGPROB_CHUNK_SIZE", 20)
    setting = replace(
        SETTING,
        mixed_precision=precision == "autocast",
        dtype_bytes=2 if precision == "bfloat16" else 4,
        gradient_checkpointing=gradient_checkpointing,
        max_completion_length=249,
    )
    config = Qwen3Config(**MEASURED, num_hidden_layers=6)
    _, measured = learn(config, setting)
    planned = needs(read_shape(config, ADAPTER), setting)
    names = ("activations", "logits, in tiles", "16-bit copies of weights")
    ratio = sum(planned.get(name, 0) for name in names) / measured
    assert 0.98 < ratio < 1.1


# Arithmetic, by hand.

TOY = {"parameters": 1_200_000_000, "adapter": 6_000_000, "embeddings": 200_000_000, "vocab_size": 100_000}
TOY |= {"hidden_size": 2000, "num_layers": 10, "num_heads": 20, "num_kv_heads": 5, "head_dim": 100}


@pytest.fixture
def toy():
    return Shape(**TOY, intermediate_size=8000)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        # float32 weights: 4 bytes each of policy, gradients, reference and momentum model, 8 of Adam
        (
            {},
            {
                "policy": 4.8,
                "gradients": 4.8,
                "reference model": 4.8,
                "momentum model, float32": 4.8,
                "optimizer": 9.6,
            },
        ),
        ({"gpus": 4, "mixed_precision": True}, {"policy": 4.8, "DDP's gradient buckets": 4.8, "optimizer": 9.6}),
        ({"dtype_bytes": 2}, {"policy": 2.4, "optimizer": 4.8, "momentum model, float32": 4.8}),
        (
            {"gpus": 4, "sharding": "fsdp2", "mixed_precision": True, "dtype_bytes": 2},
            {
                "policy": 1.2,
                "gradients": 1.2,
                "reference model": 0.6,
                "momentum model, float32": 1.2,
                "optimizer": 2.4,
            },
        ),
        (  # 16-bit weights whole; a quarter of 16-bit gradients, and of float32 weights and two states
            {"gpus": 4, "sharding": "zero-2", "mixed_precision": True},
            {
                "policy": 2.4,
                "gradients": 0.6,
                "reference model": 2.4,
                "momentum model, float32": 4.8,
                "optimizer": 3.6,
            },
        ),
        (
            {"gpus": 4, "sharding": "zero-3", "mixed_precision": True},
            {
                "policy": 0.6,
                "gradients": 0.6,
                "reference model": 0.6,
                "momentum model, float32": 1.2,
                "optimizer": 3.6,
            },
        ),
        (  # an adapter is float32, and its reference is the base
            {"use_peft": True, "dtype_bytes": 2, "mixed_precision": True},
            {"policy, frozen base": 2.4, "policy, adapter": 0.024, "optimizer": 0.048, "reference model": 0},
        ),
        # the embedding's 200 million stay in float32: 8 bytes; the other billion has two bytes and two scales
        ({"optim": "adamw_bnb_8bit"}, {"optimizer": 1.6 + 2 * (1 + 4 / 256)}),
        ({"optim": "sgd"}, {"optimizer": 0}),
        (
            {"dtype_bytes": 2, "momentum_cpu_offload": True},
            {"momentum model, float32": 0, "momentum weights, rounded": 0},
        ),
        ({"has_reference": False, "has_momentum": False}, {"reference model": 0, "momentum model, float32": 0}),
        # 10 layers x 5 heads x 100 x (key and value) x 4 bytes x 24 rows x 21 tokens
        ({}, {"keys and values": 10 * 5 * 100 * 2 * 4 * 24 * 21 / 1e9}),
        ({"sampler": "vllm server"}, {"keys and values": 0}),
    ],
)
def test_counts_in_gigabytes(toy, changed, expected):
    planned = needs(toy, replace(SETTING, **changed))
    planned = {name.partition(", adamw")[0].partition(", sgd")[0]: value for name, value in planned.items()}
    for name, gigabytes in expected.items():
        assert planned.get(name, 0) == pytest.approx(gigabytes * 1e9), name


@pytest.mark.parametrize(
    ("changed", "gigabytes"),
    # float32; and 16-bit weights beside it; shards stay on their GPUs
    [({}, 0), ({"momentum_cpu_offload": True}, 4.8), ({"momentum_cpu_offload": True, "dtype_bytes": 2}, 7.2)]
    + [({"momentum_cpu_offload": True, "gpus": 4, "sharding": "fsdp2"}, 0)],
)
def test_the_cpus_memory(toy, changed, gigabytes):
    assert plan(toy, replace(SETTING, **changed)).cpu_bytes == pytest.approx(gigabytes * 1e9)


def test_phases_are_not_added_up(toy):
    """Keys and values are gone when gradients come."""
    planned = plan(toy, SETTING)
    by_name = {item.name: item.needs for item in planned.items}
    assert by_name["keys and values"][2] == 0 and by_name["gradients"][:2] == (0, 0)
    assert planned.peak == max(planned.totals) < sum(max(item.needs) for item in planned.items)


def test_vllm_takes_what_it_is_given(toy):
    setting = replace(SETTING, sampler="vllm colocate", vllm_gpu_memory_utilization=0.25, gpu_memory=40 * GIB)
    planned = plan(toy, setting)
    assert needs(toy, setting)["vLLM, its weights included"] == 10 * GIB
    # what 2.4 GB of weights leave, by 10 x 5 x 100 x 2 x 2 bytes a token
    assert planned.vllm_tokens == pytest.approx((10 * GIB - 2.4e9) / 20_000)
    asleep = plan(toy, replace(setting, vllm_enable_sleep_mode=True))
    assert planned.totals[2] - asleep.totals[2] == 10 * GIB
    assert asleep.totals[:2] == planned.totals[:2]
    too_small = plan(toy, replace(setting, vllm_gpu_memory_utilization=0.05))
    assert "0.05) does not hold its weights and one sequence of 21 tokens" in too_small.problem


def test_whether_it_fits_and_what_is_largest(toy):
    """At the peak, learning: float32 weights of 4.8 GB; Adam's two states take 9.6."""
    tight = plan(toy, replace(SETTING, gpu_memory=24 * GIB, gpus=4))
    missing = (tight.peak - 24 * GIB) / GIB
    assert tight.problem == f"{missing:.1f} GiB a GPU are missing" and missing > 0
    first, *others = tight.largest
    assert first.name == "optimizer, adamw_torch"
    assert [item.needs[2] for item in others] == sorted((item.needs[2] for item in others), reverse=True)
    assert "keys and values" not in {item.name for item in tight.largest}  # they are freed before learning
    assert plan(toy, SETTING).problem is None
