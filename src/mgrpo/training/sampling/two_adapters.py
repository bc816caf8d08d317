"""Policy and momentum model sampled in one batch, where both are LoRA adapters over one base.

A row of the batch goes through one of the two. In each layer the rows are multiplied by both adapters' matrices, and a
mask takes out what is not their own, as many operations as with one adapter alone:

    y = W x + [B_q B_k] (mask * [A_q; A_k] x),    mask = alpha / r for the row's own adapter, 0 for the other

PEFT's mixed batches (`adapter_names`) slice the rows in each layer instead, which costs 1.1 (SmolLM2-135M) to 1.6 (the
embedded model) times one adapter's batch of the same rows. They refuse training mode, in which TRL samples, and need a
second adapter among the model's modules, where all that saves or wraps it would see it. Here the model keeps its one.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from peft.tuners.lora import Linear
from torch import Tensor, nn

from mgrpo.training.patches import replaced, watched
from mgrpo.training.sampling.momentum_model import MomentumModel
from mgrpo.training.sampling.sampler import PromptRows, Rollouts, TransformersSampler


@dataclass
class TwoAdapterSampler(TransformersSampler):
    """Samples both models in one batch, through the layers of `paired_layers`."""

    layers: list[Linear]

    def sample(self, policy: PromptRows, momentum: PromptRows | None = None) -> tuple[Rollouts, Rollouts | None]:
        """Sample the policy's rows and, in the same batch, the momentum model's."""
        if momentum is None:
            return super().sample(policy)
        assert self.momentum_model is not None
        scale = self.generation_config.temperature / self.momentum_temperature
        sizes = len(policy.ids), len(momentum.ids)
        both = both_adapters(self.model, self.layers, self.momentum_model, *sizes, scale)
        with replaced(self, "share_prompts", False):  # a pass has the rows that the masks are made for
            return self.sample_together(policy, momentum, both)


def paired_layers(model: nn.Module, momentum_model: MomentumModel) -> list[Linear]:
    """The LoRA layers whose two adapters can share a batch; none where they cannot.

    They cannot where the momentum model is more than one plain adapter on linear layers (DoRA, biases, embeddings,
    `modules_to_save`, quantized or sharded weights), or where a layer is handed something else than the batch's rows
    (a mixture's experts).
    """
    trained = momentum_model.pairs
    layers = [layer for layer in model.modules() if isinstance(layer, Linear) and _active(layer) in layer.lora_A]
    matrices = {matrix for layer in layers for matrix in _matrices(layer)}
    is_plain = (
        bool(layers)
        and all(type(layer) is Linear and not layer.lora_variant and not layer.merged for layer in layers)
        and matrices == {parameter for parameter, _ in trained}
        and not any(hasattr(parameter, "to_local") for parameter, _ in trained)
    )
    return layers if is_plain and _take_rows(model, layers) else []


@contextmanager
def both_adapters(
    model: nn.Module,
    layers: list[Linear],
    momentum_model: MomentumModel,
    num_policy: int,
    num_momentum: int,
    momentum_scale: float = 1.0,
) -> Iterator[None]:
    """Within the block `model` takes batches of `num_policy` rows for the policy, then `num_momentum` for the other.

    Args:
        model: the one whose output has the logits.
        layers: of `paired_layers`.
        momentum_model: the other.
        num_policy: rows, whatever their length.
        num_momentum: rows behind them.
        momentum_scale: factor on the logits of the momentum model's rows, for a temperature of their own.
    """
    momentum_weights = dict(momentum_model.pairs)

    def scale_logits(_: nn.Module, __: tuple, ___: dict, output: Any) -> None:
        logits = output.logits.float()  # as `generate` has them before it divides by its temperature
        logits[num_policy:] *= momentum_scale
        output.logits = logits

    with ExitStack() as around, torch.no_grad():
        if momentum_scale != 1:
            around.enter_context(watched(model, scale_logits))
        for layer in layers:
            a_q, b_q = _matrices(layer)
            a = torch.cat([a_q, momentum_weights[a_q].to(a_q)])
            b = torch.cat([b_q, momentum_weights[b_q].to(b_q)], dim=1)
            rank = len(a_q)
            mask = a.new_zeros(num_policy + num_momentum, 1, 2 * rank)
            mask[:num_policy, :, :rank] = mask[num_policy:, :, rank:] = layer.scaling[_active(layer)]
            around.enter_context(replaced(layer, "forward", _forward(layer, a, b, mask)))
        yield


def _forward(layer: Linear, a: Tensor, b: Tensor, mask: Tensor) -> Callable[..., Tensor]:
    dropout = layer.lora_dropout[_active(layer)]

    def forward(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        result = layer.base_layer(x, *args, **kwargs)
        hidden = F.linear(dropout(x.to(a.dtype)), a) * mask
        return (result + F.linear(hidden, b)).to(result.dtype)

    return forward


def _active(layer: Linear) -> str:
    return layer.active_adapters[0] if len(layer.active_adapters) == 1 else ""


def _matrices(layer: Linear) -> tuple[nn.Parameter, nn.Parameter]:
    return layer.lora_A[_active(layer)].weight, layer.lora_B[_active(layer)].weight


def _take_rows(model: nn.Module, layers: list[Linear]) -> bool:
    """Whether each layer is handed a batch as rows x tokens: not its tokens in a line, nor some of them."""
    shapes: list[tuple[int, ...]] = []
    tokens = torch.zeros(2, 3, dtype=torch.long, device=next(model.parameters()).device)
    was_training = model.training
    model.eval()  # no dropout, so no random numbers
    with ExitStack() as around, torch.no_grad():
        for layer in layers:
            hook = layer.register_forward_pre_hook(lambda _, args: shapes.append(tuple(args[0].shape[:-1])))
            around.callback(hook.remove)
        model(input_ids=tokens)
    model.train(was_training)
    return shapes == [tuple(tokens.shape)] * len(layers)
