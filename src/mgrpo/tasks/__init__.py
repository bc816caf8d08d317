"""What is asked: tasks by name, as prompts with the way to ask them, to read an answer and to score it.

    task.py           a task
    registry.py       tasks by name: those that are built in, those of other packages, and your own
    data_sets.py      `file`, `hub`, MATH and GSM8K
    choice.py         multiple choice: GPQA, MMLU, MMLU-Pro
    read.py           local files and the Hub, as columns
    arithmetic.py     one- and two-digit arithmetic, for a real chat model (standard library alone)
    reasoning_gym.py  the generators of the package reasoning-gym; with it what is known of their answers
                      and what runs in worker processes (_worker)
    split.py          which split a generated prompt belongs to
    chat.py           chats in the forms that data sets hold them
    load.py           a task into prompts
    check.py          prompts against a model's tokenizer

Nothing heavy is imported here, so that the command line can list tasks without paying for `datasets`.
"""

from mgrpo.tasks.task import Task

__all__ = ["Task"]
