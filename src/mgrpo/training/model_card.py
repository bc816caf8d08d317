"""The model card of a run: what was trained, on which task, and by which method."""

import re
from importlib.metadata import version
from pathlib import Path

import mgrpo
from mgrpo.training.config import MGRPOConfig, has_momentum_model

CARD_FILE = "README.md"

HUB_NAMES = {"smollm2": "HuggingFaceTB/SmolLM2-135M-Instruct"}
"""Names on the Hub of models that have another one here."""

LABELS = {
    "joined": "the majority answer of the policy and the momentum model",
    "policy": "the majority answer of the policy",
    "momentum": "the majority answer of the momentum model",
    "frozen": "the majority answer of the initial model",
    "gold": "ground truth",
}

TEMPLATE = """\
---
library_name: {library}
{base_model}tags:
- generated_from_trainer
- grpo
- mgrpo
- trl
---

# {name}

{base}, trained with {method}, by `mgrpo` {mgrpo} on [TRL](https://github.com/huggingface/trl) {trl}.

| | |
|---|---|
| base model | {base} |
{weights}| task | {task} |
| labels | {labels} (`label_source: {label_source}`) |
| reward | `{reward}` |
| completions per prompt | {num_generations} from the policy, {num_momentum_generations} from the momentum model |
| momentum | {momentum} |
| entropy filter | {filter} |
| learning rate | {learning_rate:g} |
| KL coefficient | {beta:g} |

## Citation

```bibtex
@misc{{bai2025mgrpo,
  title  = {{{{M-GRPO}}: Stabilizing Self-Supervised Reinforcement Learning for Large Language Models
            with Momentum-Anchored Policy Optimization}},
  author = {{Bai, Bizhe and Wu, Hongming and Ye, Peng and Chen, Tao}},
  year   = {{2025}},
  eprint = {{2512.13070}},
  archivePrefix = {{arXiv}},
}}
```
"""


def model_card(
    config: MGRPOConfig,
    name: str,
    model: str | None,
    task: str | None,
    *,
    is_adapter: bool,
    weights: str | None = None,
) -> str:
    """The card of a trained model, with the metadata that the Hub reads. It holds no path of this machine.

    Args:
        config: how it was trained.
        name: what the card calls it.
        model: what training began with: a name on the Hub, a built-in name, or a path.
        task: as a recipe names it; None: a data set of the caller's.
        is_adapter: whether it is a LoRA adapter.
        weights: which of the run's they are, where the card is of one model alone.
    """
    hub_name = _hub_name(model)
    base = _local_name(model) if hub_name is None else f"[{hub_name}](https://huggingface.co/{hub_name})"
    has_filter = config.iqr_multiplier is not None
    return TEMPLATE.format(
        **{field: getattr(config, field) for field in ("label_source", "reward", "learning_rate", "beta")},
        num_generations=config.num_generations,
        num_momentum_generations=config.num_momentum_generations,
        name=name,
        library="peft" if is_adapter else "transformers",
        base_model="" if hub_name is None else f"base_model: {hub_name}\n",
        base=base,
        weights="" if weights is None else f"| weights | {weights} |\n",
        task="a data set of the caller" if task is None else f"`{_without_path(task)}`",
        method=_method(config),
        labels=LABELS[config.label_source],
        momentum=f"{config.momentum:g}" if has_momentum_model(config) else "no momentum model",
        filter=f"IQR, multiplier {config.iqr_multiplier:g}" if has_filter else "none",
        mgrpo=mgrpo.__version__,
        trl=version("trl"),
    )


def _method(config: MGRPOConfig) -> str:
    paper = "M-GRPO ([arXiv 2512.13070](https://arxiv.org/abs/2512.13070))"
    if config.label_source == "gold":
        return f"GRPO on ground truth, a baseline of {paper}"
    if config.label_source == "joined" and config.num_momentum_generations > 0 and config.reward == "match":
        return paper + ("" if config.iqr_multiplier is not None else ", without its entropy filter")
    return f"a label-free variant of {paper}"


def _hub_name(model: str | None) -> str | None:
    name = HUB_NAMES.get(model or "", model or "")
    return name if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name) and not Path(name).exists() else None


def _local_name(model: str | None) -> str:
    """The last two parts of a path, since a run's model lies in `RUN/final`."""
    return "a model of the caller" if model is None else f"`{'/'.join(Path(model).parts[-2:])}`"


def _without_path(task: str) -> str:
    kind, _, argument = task.partition(":")
    return f"{kind}:{Path(argument).name}" if kind == "file" or Path(argument).suffix else task
