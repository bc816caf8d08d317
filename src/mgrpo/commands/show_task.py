"""`mgrpo tasks show`: a task's prompts as a model will see them, and how its answers are read."""

import json
from typing import TYPE_CHECKING, Any

from mgrpo.errors import UserError
from mgrpo.models.load import load_tokenizer
from mgrpo.monitoring.display import visible
from mgrpo.recipes.fields import DataArguments
from mgrpo.recipes.recipe import load_data, load_fields, part_of, revision_of
from mgrpo.tasks.check import encode_prompts
from mgrpo.tasks.load import Prompt, last_text
from mgrpo.tasks.reasoning_gym import GENERATORS
from mgrpo.tasks.task import Task, is_known

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NUM_SHOWN = 5


def show_task(given: dict[str, Any], source: str, overrides: dict[str, Any]) -> None:
    """Print what the task of a recipe is, which need not be a whole one; arguments as for `load_fields`.

    Raises:
        UserError: if the task cannot be loaded, or the model's tokenizer cannot encode a prompt or a conversation, or
            no prompt is left.
    """
    fields = load_fields(given, source, overrides)
    data = part_of(DataArguments, fields, source)
    if not data.task:
        raise UserError(f"{source} does not set task; add it there, or pass --task NAME")
    tokenizer = None
    if fields["model_name_or_path"]:
        tokenizer = load_tokenizer(
            fields["model_name_or_path"],
            revision=revision_of(fields),
            trust_remote_code=fields["trust_remote_code"],
        )
    _show(data, tokenizer, fields["chat_template_kwargs"], is_held_out=False)
    if data.eval_task:
        print("\n=== held out")
        _show(data, tokenizer, fields["chat_template_kwargs"], is_held_out=True)


def _show(
    data: DataArguments,
    tokenizer: "PreTrainedTokenizerBase | None",
    template: dict[str, Any] | None,
    *,
    is_held_out: bool,
) -> None:
    name, split, size = data.task, data.dataset_train_split, data.dataset_size
    if is_held_out:
        name, split, size = data.eval_task, data.eval_dataset_split, data.eval_dataset_size
    assert name is not None
    task, dataset = load_data(data, name, split, size, is_held_out=is_held_out)
    seen = _as_seen(list(dataset["prompt"]), tokenizer, template)
    unit, limit = ("characters", None) if tokenizer is None else ("tokens", data.max_prompt_length)
    filled = {row: prompt for row, prompt in enumerate(seen) if prompt is not None}
    kept = {row: prompt for row, prompt in filled.items() if limit is None or prompt[1] <= limit}
    longest = f"; the longest has {max(length for _, length in filled.values())} {unit}" if filled else ""
    too_long = f"{len(filled) - len(kept)} longer than max_prompt_length: {limit}" if limit else "no max_prompt_length"

    answers = list(dataset["answer"]) if "answer" in dataset.column_names else [None] * len(seen)
    num_known = sum(map(is_known, answers))
    scored = "scored by the task" if task.score else f"compared by {task.equivalence}"
    lines = [
        f"task         {name}, {split} split",
        f"asked        {_way_of_asking(task, tokenizer)}",
        f"extractor    {task.extractor}",
        f"equivalence  {task.equivalence}",
        *_votable(name),
        f"gold         {f'{num_known} answers, {scored}; for measuring only' if num_known else 'none'}",
        f"prompts      {len(seen)}{longest}",
        f"dropped      {len(seen) - len(filled)} empty, {too_long}",
    ]
    for row in list(kept or filled)[:NUM_SHOWN]:
        text, length = filled[row]
        lines += ["", f"--- row {row}: {length} {unit}", visible(text, keep="\n\t")]
        if is_known(answers[row]):
            lines.append(f"--- gold answer, never seen by training: {visible(_one_line(answers[row]))}")
    print("\n".join(lines))
    if not kept:
        raise UserError(
            f"no prompt of {len(seen)} is left: {len(seen) - len(filled)} are empty or no text, {too_long}; check "
            "prompt_column or raise the limit"
        )


def _as_seen(
    prompts: list[Prompt], tokenizer: "PreTrainedTokenizerBase | None", chat_template_kwargs: dict[str, Any] | None
) -> list[tuple[str, int] | None]:
    """Each prompt and its length, in tokens or, without a tokenizer, characters; None where it is empty."""
    if tokenizer is None:
        texts = [_written_out(prompt) if last_text(prompt).strip() else None for prompt in prompts]
        return [None if text is None else (text, len(text)) for text in texts]
    return [
        None if ids is None else (tokenizer.decode(ids, clean_up_tokenization_spaces=False), len(ids))
        for ids in encode_prompts(prompts, tokenizer, chat_template_kwargs)
    ]


def _written_out(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(f"{m['role']}: {m['content']}" for m in prompt)


def _way_of_asking(task: Task, tokenizer: "PreTrainedTokenizerBase | None") -> str:
    how = "through the model's chat template" if task.conversational else "as plain text"
    if tokenizer is None:
        return f"{how}; --model_name_or_path MODEL shows it in the model's tokens"
    if tokenizer.chat_template and not task.conversational:
        return f"{how}; conversational: true asks through the model's chat template"
    return how


def _votable(name: str) -> list[str]:
    """Whether a majority of answers means something, where that is known."""
    kind, _, generator = name.partition(":")
    if kind != "reasoning_gym":
        return []
    form = GENERATORS[generator]
    return [f"vote         {'yes' if form.votable else 'no'}{f': {form.note}' if form.note else ''}"]


def _one_line(gold: Any) -> str:
    return gold if isinstance(gold, str) and "\n" not in gold else json.dumps(gold, ensure_ascii=False, default=str)
