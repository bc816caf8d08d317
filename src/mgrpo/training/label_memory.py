"""Each prompt's label of the last time, across epochs: to see labels flip, and to keep a frozen model's."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgrpo.errors import UserError

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
    """Labels by prompt. All processes hold the same one: what one of them saw is told to all."""

    def __init__(self) -> None:
        self._seen: dict[str, PromptHistory] = {}

    def __contains__(self, key: str) -> bool:
        """Whether a prompt was seen."""
        return key in self._seen

    def __getitem__(self, key: str) -> PromptHistory:
        """A prompt's last visit."""
        return self._seen[key]

    def visit(self, key: str, label: str | None, is_same: bool) -> PromptHistory:
        """What a visit adds up to; nothing is remembered yet.

        Args:
            key: of the prompt.
            label: this time's; None (nobody voted) is no flip, and leaves the last label standing.
            is_same: whether it equals the last label.
        """
        before = self._seen.get(key)
        if before is None or before.label is None:
            return PromptHistory(label)
        if label is None:
            return before
        return PromptHistory(label, 0 if is_same else before.num_flips + 1, not is_same)

    def remember(self, visits: list[tuple[str, PromptHistory]]) -> None:
        """Take in the visits of all processes."""
        self._seen |= dict(visits)

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
            rows = json.loads(path.read_text(encoding="utf-8"))
            self._seen = {key: PromptHistory(*row) for key, row in rows.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise UserError(
                f"{path} cannot be read ({type(error).__name__}), so labels of earlier epochs are lost; resume from "
                "another checkpoint."
            ) from error
