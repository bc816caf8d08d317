"""`mgrpo tasks` and `mgrpo tasks reasoning_gym`: what there is to train on. Nothing heavy is imported here."""

import shutil
import textwrap


def list_tasks() -> None:
    """Print the tasks, installed packages' included."""
    from mgrpo.tasks.registry import SUMMARIES, installed_tasks

    installed = {name: f"of an installed package: {point.value}" for name, point in installed_tasks().items()}
    print_table({**SUMMARIES, **installed, "module:function": "your own: docs/how-to/own-task.md"})
    print("\n`mgrpo tasks show NAME --model_name_or_path MODEL` shows a task's prompts as that model will see them.")


def list_generators() -> None:
    """Print the generators of reasoning-gym, and which of them a majority can vote on."""
    from mgrpo.tasks.reasoning_gym import GENERATORS

    notes = {name: form.note if form.votable else f"no vote; {form.note}" for name, form in GENERATORS.items()}
    print_table({f"reasoning_gym:{name}": note for name, note in notes.items()})
    print("\nno vote: a prompt has many right answers, so that a majority of them means little.")


def print_table(rows: dict[str, str]) -> None:
    """Print rows of two columns, as wide as the terminal."""
    width = max(map(len, rows)) + 2
    wrap = textwrap.TextWrapper(shutil.get_terminal_size().columns, subsequent_indent=" " * width)
    for left, right in rows.items():
        print(wrap.fill(f"{left:{width}}{right}"))
