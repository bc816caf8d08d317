"""Each prompt's label of the last time, across epochs: to see labels flip, and to keep a frozen model's."""

import hashlib
import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object

from mgrpo.answers.equivalence import number_answers
from mgrpo.errors import UserError
from mgrpo.runs.reading import read_as, read_json_object

FILE_NAME = "labels.json"
"""The memory in a checkpoint: an object of prompt keys, each with the fields of its `PromptHistory`."""


@dataclass(frozen=True)
class PromptHistory:
    """A prompt's last visit.

    Attributes:
        label: its label as text, None where nobody voted.
        num_flips: flips in a row up to then.
        is_flip: whether the label was another than the visit before; None at the first visit.
    """

    label: str | None
    num_flips: int = 0
    is_flip: bool | None = None


def key_of(prompt: Any) -> str:
    """A short key for a prompt, text or messages."""
    text = prompt if isinstance(prompt, str) else json.dumps(prompt, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class LabelMemory:
    """Labels by prompt. All processes hold the same memory."""

    def __init__(self) -> None:
        self._seen: dict[str, PromptHistory] = {}

    def __contains__(self, prompt: Any) -> bool:
        """Whether a prompt was seen."""
        return key_of(prompt) in self._seen

    def __getitem__(self, prompt: Any) -> PromptHistory:
        """A prompt's last visit."""
        return self._seen[key_of(prompt)]

    def visit(self, prompts: list[Any], labels: list[str | None], equivalence: str) -> list[PromptHistory]:
        """Remember the labels that all processes' prompts have this time; to be called on all.

        Args:
            prompts: of this process.
            labels: theirs; None (nobody voted) is no flip, and the last label is kept.
            equivalence: when two labels are the same.

        Returns:
            What each visit adds up to.
        """
        keys = [key_of(prompt) for prompt in prompts]
        before = [self._seen.get(key, PromptHistory(None)) for key in keys]
        pairs = [[last.label, label] for last, label in zip(before, labels, strict=True)]
        ids = number_answers(pairs, equivalence).ids
        visits = [_next(last, label, x == y) for last, label, (x, y) in zip(before, labels, ids, strict=True)]
        self._seen |= dict(gather_object(list(zip(keys, visits, strict=True))))
        return visits

    def save(self, directory: Path) -> None:
        """Write it to `directory`."""
        rows = {key: [seen.label, seen.num_flips, seen.is_flip] for key, seen in self._seen.items()}
        (directory / FILE_NAME).write_text(json.dumps(rows), encoding="utf-8")

    def load(self, directory: Path) -> None:
        """Take it from a checkpoint's `directory`.

        Raises:
            UserError: if it is not there, or cannot be read.
        """
        path = directory / FILE_NAME
        try:
            names = [field.name for field in fields(PromptHistory)]
            rows = {key: dict(zip(names, row, strict=True)) for key, row in read_json_object(path).items()}
            self._seen = read_as(dict[str, PromptHistory], rows)
        except (FileNotFoundError, ValueError, TypeError) as error:
            raise UserError(
                f"{path} cannot be read ({type(error).__name__}), so labels of earlier epochs are lost; resume from "
                "another checkpoint."
            ) from error


def _next(last: PromptHistory, label: str | None, is_same: bool) -> PromptHistory:
    if last.label is None:
        return PromptHistory(label)
    if label is None:
        return last
    return PromptHistory(label, 0 if is_same else last.num_flips + 1, not is_same)
