"""A recipe's data: its task, asked and read as the recipe says."""

from datasets import Dataset

from mgrpo.answers import get_equivalence, get_extractor
from mgrpo.recipes.recipe import DataArguments
from mgrpo.tasks.load import load_prompts
from mgrpo.tasks.task import Task


def load_data(data: DataArguments, name: str, split: str, size: int | None) -> tuple[Task, Dataset]:
    """Load a recipe's training task or its held-out one, and its prompts.

    Args:
        data: the recipe's fields; those that are None leave the task unchanged.
        name: the task's.
        split: which split of it.
        size: number of prompts; None: all.

    Raises:
        UserError: if the task, an extractor or an equivalence does not exist or does not fit the rest.
    """
    # Before what may be a long download.
    if data.answer_extractor is not None:
        get_extractor(data.answer_extractor)
    if data.answer_equivalence is not None:
        get_equivalence(data.answer_equivalence)
    task, dataset = load_prompts(
        name,
        split=split,
        size=size,
        seed=data.dataset_seed,
        options=data.task_options if name == data.task else None,
        dataset_config=data.dataset_config,
        prompt_column=data.prompt_column,
        answer_column=data.answer_column,
        prompt_template=data.prompt_template,
        system_prompt=data.system_prompt,
        conversational=data.conversational,
        extractor=data.answer_extractor,
        equivalence=data.answer_equivalence,
    )
    get_extractor(task.extractor)
    get_equivalence(task.equivalence)
    return task, dataset
