"""A task of your own. In this directory: `mgrpo tasks show own_task:clock`, and in a recipe `task: own_task:clock`."""

import random

from mgrpo.tasks import Task
from mgrpo.tasks.split import split_of


def clock(*, split: str, size: int | None, seed: int, hours: int = 12) -> Task:
    """What a clock shows some hours later. `hours` is an option: `task_options: {hours: 24}`."""
    rows = []
    for now in range(1, hours + 1):
        for later in range(1, 101):
            prompt = f"A clock with {hours} hours shows {now}. What does it show {later} hours later?"
            if split_of(prompt) == split:  # each prompt is in one split alone
                rows.append((prompt, str((now + later - 1) % hours + 1)))
    random.Random(seed).shuffle(rows)
    columns = {"prompt": [prompt for prompt, _ in rows[:size]], "answer": [answer for _, answer in rows[:size]]}
    return Task(columns, prompt_template="{prompt} End with the number.", extractor="number", equivalence="number")
