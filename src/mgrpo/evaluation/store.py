"""Samples on disk as they come: a crash loses the batch under way and nothing else."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mgrpo.errors import UserError
from mgrpo.runs.files import SAMPLES_FILE, write_whole

SETTINGS_FILE = "settings.json"


@dataclass(frozen=True)
class Sample:
    """A sample of a question, judged.

    Attributes:
        question: its number from 0.
        number: of the sample among the question's, from 0.
        prompt: digest of the prompt's tokens, which tells the question from another one of its number.
        completion: what was sampled.
        num_tokens: in it, end-of-text included.
        is_finished: whether it came to its end by itself.
        answer: as it was read; None where there is none.
        is_right: whether it is.
        harness_right: the same by lm-evaluation-harness; None where that was not asked.
    """

    question: int
    number: int
    prompt: str
    completion: str
    num_tokens: int
    is_finished: bool
    answer: str | None
    is_right: bool
    harness_right: bool | None


class SampleStore:
    """The samples of one model on one benchmark.

    Args:
        directory: where they are; made when the first sample comes.
        settings: all that shapes a sample; samples of other settings are not mixed with.

    Attributes:
        samples: those that are there, by question and number.

    Raises:
        UserError: if the directory holds samples of other settings, or something else.
    """

    def __init__(self, directory: Path, settings: dict[str, Any]) -> None:
        self.directory = directory
        self._settings = json.loads(json.dumps(settings, default=str))
        self.samples: dict[tuple[int, int], Sample] = {}
        self._length = 0
        if (directory / SAMPLES_FILE).exists():
            self._check_settings()
            self._read()

    def append(self, samples: Sequence[Sample]) -> None:
        """Keep some more."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if not (self.directory / SAMPLES_FILE).exists():
            write_whole(self.directory / SETTINGS_FILE, json.dumps(self._settings, indent=1) + "\n")
        with (self.directory / SAMPLES_FILE).open("ab") as file:
            file.truncate(self._length)  # half a line of a run that was killed
            file.write("".join(json.dumps(asdict(sample)) + "\n" for sample in samples).encode())
            file.flush()
            self._length = file.tell()
        self.samples |= {(sample.question, sample.number): sample for sample in samples}

    def _check_settings(self) -> None:
        path = self.directory / SETTINGS_FILE
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            stored = None
        if not isinstance(stored, dict):
            raise UserError(
                f"{self.directory} holds samples, but its {SETTINGS_FILE} cannot be read, so it is not known how they "
                "were sampled; give another output_dir"
            )
        for name in dict.fromkeys([*self._settings, *stored]):
            if stored.get(name) != self._settings.get(name):
                raise UserError(
                    f"{self.directory} holds samples of other settings: {name} was {_short(stored.get(name))} and is "
                    f"{_short(self._settings.get(name))}; give another output_dir, or delete that directory"
                )

    def _read(self) -> None:
        content = (self.directory / SAMPLES_FILE).read_bytes()
        for line in content.splitlines(keepends=True):
            try:
                sample = Sample(**json.loads(line)) if line.endswith(b"\n") else None
            except (ValueError, TypeError):
                sample = None
            if sample is None:
                break
            self.samples[sample.question, sample.number] = sample
            self._length += len(line)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
