"""Check prompts against the tokenizer of the model that they are for."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from mgrpo.errors import UserError, first_line
from mgrpo.tasks.load import Prompt, last_text

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase


def check_prompts(
    dataset: "Dataset",
    tokenizer: "PreTrainedTokenizerBase",
    *,
    max_prompt_length: int | None,
    on_bad_prompt: Literal["drop", "refuse"],
    chat_template_kwargs: Mapping[str, Any] | None = None,
    room: int | None = None,
) -> tuple["Dataset", dict[str, int]]:
    """Drop or refuse the prompts that no model can be trained on.

    Args:
        dataset: What `load_prompts` returned.
        tokenizer: Its chat template, generation prompt included, counts towards the length of a conversation.
        max_prompt_length: Longest prompt, in tokens; None checks no length.
        on_bad_prompt: `"drop"` leaves bad prompts out, `"refuse"` stops at the first one.
        chat_template_kwargs: What the chat template is given in addition to the messages.
        room: Tokens that the model's context leaves a prompt, which none may be longer than either; None: any.

    Returns:
        The data set without them, and how many were `"empty"` (blank, null or no text) and `"too_long"`.

    Raises:
        UserError: If a prompt is refused, none is left, the tokenizer cannot encode one, or it has no chat template
            for conversations.
    """
    prompts: list[Prompt] = list(dataset["prompt"])
    # The tokenizer runs even without a limit: a prompt it cannot encode would fail hours later, inside a rollout.
    lengths = [None if ids is None else len(ids) for ids in encode_prompts(prompts, tokenizer, chat_template_kwargs)]
    empty = [row for row, length in enumerate(lengths) if length is None]
    if empty and on_bad_prompt == "refuse":
        raise UserError(
            f"the prompt in row {empty[0]} (counted from 0) is empty (length 0), and {len(empty)} are in all; "
            "fill it in, or set on_bad_prompt: drop"
        )
    limit, limit_name = float("inf") if max_prompt_length is None else max_prompt_length, "max_prompt_length"
    if room is not None and room < limit:
        limit, limit_name = room, "what max_completion_length leaves of the model's context"
    too_long = [row for row, length in enumerate(lengths) if length is not None and length > limit]
    if too_long and on_bad_prompt == "refuse":
        row = too_long[0]
        raise UserError(
            f"the prompt in row {row} (counted from 0), {_excerpt(prompts[row])}, has {lengths[row]} tokens and "
            f"{limit_name} is {limit}; raise the limit, or set on_bad_prompt: drop"
        )
    kept = [row for row, length in enumerate(lengths) if length is not None and length <= limit]
    if not kept:
        filled = [length for length in lengths if length is not None]
        shortest = f", the shortest of {min(filled)} tokens" if filled else ""
        raise UserError(
            f"no prompt of {len(prompts)} is left: {len(empty)} are empty or no text, {len(too_long)} are longer than "
            f"{limit_name} ({limit}){shortest}; check prompt_column or raise the limit"
        )
    counts = {"empty": len(empty), "too_long": len(too_long)}
    return (dataset.select(kept) if len(kept) < len(prompts) else dataset), counts


def encode_prompts(
    prompts: Sequence[Prompt],
    tokenizer: "PreTrainedTokenizerBase",
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> list[list[int] | None]:
    """The token ids of each prompt as the model will see it; None where it is empty.

    Raises:
        UserError: If the tokenizer cannot encode one, or it has no chat template for conversations.
    """
    if any(isinstance(prompt, list) for prompt in prompts) and not tokenizer.chat_template:
        raise UserError(
            f"the tokenizer of {tokenizer.name_or_path or 'this model'} has no chat template; "
            "set conversational: false or choose a model tuned for chat"
        )

    def encode(batch: list[Prompt]) -> list[list[int]]:
        if not batch:
            return []
        if isinstance(batch[0], str):
            return tokenizer(batch)["input_ids"]
        return tokenizer.apply_chat_template(
            batch, add_generation_prompt=True, tokenize=True, return_dict=True, **(chat_template_kwargs or {})
        )["input_ids"]

    filled = [row for row, prompt in enumerate(prompts) if last_text(prompt).strip()]
    try:
        encoded = encode([prompts[row] for row in filled])
    except Exception:  # `tokenizers` and chat templates raise types of their own; the loop below finds the row
        for row in filled:
            try:
                encode([prompts[row]])
            except Exception as error:
                raise UserError(
                    f"the tokenizer cannot encode the prompt in row {row} (counted from 0), {_excerpt(prompts[row])} "
                    f"({first_line(error)}); choose prompts made for this model, or another model"
                ) from error
        raise
    ids_of_row = dict(zip(filled, encoded, strict=True))
    return [ids_of_row.get(row) for row in range(len(prompts))]


def _excerpt(prompt: Prompt) -> str:
    text = " ".join(last_text(prompt).split())
    return repr(text if len(text) <= 40 else text[:40] + "...")
