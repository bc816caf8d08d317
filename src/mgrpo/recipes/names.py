"""The fields of a recipe as the sources of their dataclasses define them, whose import takes seconds (torch)."""

import ast
from collections.abc import Collection, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mgrpo.errors import UserError
from mgrpo.options import NONE_WORDS, Option, Range, nearest, read_value

CLASSES = {
    "DataArguments": "mgrpo/recipes/fields.py",
    "MGRPOConfig": "mgrpo/training/config.py",
    "GRPOConfig": "trl/trainer/grpo_config.py",
    "_BaseConfig": "trl/trainer/base_config.py",
    "TrainingArguments": "transformers/training_args.py",
    "ModelConfig": "trl/trainer/model_config.py",
}
"""The dataclasses that define fields, bases included, and their files."""

ALIASES = {
    "task": "dataset dataset_name dataset_path dataset_name_or_path train_dataset train_file train_files",
    "dataset_train_split": "dataset_split train_split",
    "eval_dataset_split": "dataset_test_split test_split eval_split",
    "eval_task": "eval_dataset eval_dataset_name test_dataset validation_file val_files",
    "dataset_size": "max_train_samples max_samples num_samples",
    "eval_dataset_size": "max_eval_samples",
    "dataset_seed": "shuffle_seed",
    "dataset_config": "dataset_config_name subset",
    "prompt_column": "dataset_text_field prompt_key text_column question_column",
    "answer_column": "label_column solution_column response_key",
    "system_prompt": "system_message",
    "prompt_template": "template chat_template",
    "reward_funcs": "reward_func reward_function reward_functions reward_model reward_model_name_or_path",
    "model_name_or_path": "model model_id model_name model_path base_model pretrained_model_name_or_path",
    "model_revision": "revision",
    "dtype": "torch_dtype",
    "attn_implementation": "use_flash_attention_2 flash_attn flash_attention",
    "resume": "overwrite_output_dir resume_training",
    "use_cpu": "no_cuda cpu",
    "output_dir": "out_dir save_dir checkpoint_dir",
    "report_to": "logging_dir log_with wandb",
    "project": "wandb_project",
    "run_name": "wandb_name experiment_name",
    "save_strategy": "save_freq",
    "eval_strategy": "evaluation_strategy",
    "eval_steps": "test_freq",
    "warmup_steps": "warmup_ratio lr_warmup_steps num_warmup_steps",
    "learning_rate": "lr",
    "lr_scheduler_type": "lr_scheduler scheduler",
    "optim": "optimizer",
    "max_steps": "num_steps num_train_steps max_train_steps total_steps total_episodes",
    "num_train_epochs": "epochs num_epochs total_epochs",
    "per_device_train_batch_size": "batch_size train_batch_size micro_batch_size per_gpu_train_batch_size",
    "per_device_eval_batch_size": "eval_batch_size per_gpu_eval_batch_size",
    "beta": "kl_coef kl_coeff kl_loss_coef kl_beta init_kl_coef",
    "epsilon": "cliprange clip_range clip_ratio",
    "epsilon_high": "clip_ratio_high",
    "num_generations": "num_return_sequences group_size rollout_n num_rollouts",
    "max_completion_length": "max_new_tokens max_tokens max_response_length response_length",
    "max_prompt_length": "max_seq_length max_seq_len max_length max_input_length",
    "num_iterations": "num_ppo_epochs ppo_epochs",
    "momentum": "ema ema_decay momentum_decay",
    "num_momentum_generations": "num_ema_generations num_voters",
    "iqr_multiplier": "iqr_k entropy_filter",
    "lora_r": "lora_rank",
    "lora_target_modules": "target_modules lora_target",
    "use_peft": "use_lora peft lora",
}
"""Fields, and what TRL, transformers or another trainer calls them, now or in the past."""


@cache
def _definitions() -> dict[str, tuple[ast.AnnAssign, ast.Module]]:
    """The definitions of all fields of a recipe by name, each with its file; of several classes' the first one's."""
    found: dict[str, tuple[ast.AnnAssign, ast.Module]] = {}
    for class_, file in CLASSES.items():
        package, _, rest = file.partition("/")
        origin = find_spec(package).origin  # type: ignore[union-attr]
        tree = ast.parse((Path(str(origin)).parent / rest).read_text(encoding="utf-8"))
        body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_)
        for node in body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id[0] != "_":
                found.setdefault(node.target.id, (node, tree))
    return found


def field_names() -> frozenset[str]:
    """The names of all fields of a recipe."""
    return frozenset(_definitions())


@cache
def _plain_option(name: str) -> Option | None:
    """A number, a switch or a choice as the text of its definition has it; None for any other field.

    It only serves to refuse a typo at once; the whole recipe is checked later.
    """
    node, tree = _definitions()[name]
    kind = ast.unparse(node.annotation).replace("| None", "").strip()
    given = node.value.args[2:] if isinstance(node.value, ast.Call) else []
    try:
        choices = _evaluated(given[0], tree) if given else None
        if kind.startswith("Literal["):
            kind, choices = "str", ast.literal_eval(f"({kind.removeprefix('Literal[').removesuffix(']')},)")
    except ValueError:  # imported from a module that takes seconds
        return None
    types = {"int": int, "float": float, "bool": bool, "str": str}
    if kind not in types or (kind == "str" and choices is None):
        return None
    is_optional = "| None" in ast.unparse(node.annotation)
    return Option(default=..., types=(types[kind],), is_optional=is_optional, choices=choices, help="")


def _evaluated(node: ast.expr, tree: ast.Module) -> Any:
    """The value of a literal, a range of numbers, or a constant of the file that is one."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "Range":
        return Range(**{str(limit.arg): ast.literal_eval(limit.value) for limit in node.keywords})
    if isinstance(node, ast.Name):
        constants = [of for of in tree.body if isinstance(of, ast.Assign) and ast.unparse(of.targets[0]) == node.id]
        if not constants:
            raise ValueError(node.id)
        return _evaluated(constants[0].value, tree)
    return ast.literal_eval(node)


def check_names(given: Mapping[Any, Any], source: str, known: Collection[str] | None = None) -> None:
    """Refuse names that are no field, and of a recipe's also numbers, switches and choices that are none.

    Args:
        given: fields and their values.
        source: where they were set, for the message.
        known: all fields; None: those of a recipe.

    Raises:
        UserError: for the first such name, with the field that was probably meant, or value.
    """
    is_recipe = known is None
    known = field_names() if known is None else known
    for name, value in given.items():
        if name in known or name == "env":
            is_said = is_recipe and name != "env" and value is not None and value not in NONE_WORDS
            if is_said and (expected := _plain_option(name)) is not None:
                read_value(name, value, {name: expected}, source)
            continue
        word = str(name).replace("-", "_")
        alias = next((field for field, names in ALIASES.items() if word in names.split() and field in known), None)
        hint = f"did you mean {alias}?" if alias else nearest(word, known)
        if isinstance(value, dict):
            hint = "a recipe is flat: write the fields below it without indentation, one `field: value` a line."
        raise UserError(f"{source} sets {name}, but there is no such field; {hint or '`mgrpo fields` lists them.'}")
