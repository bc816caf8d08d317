"""Samples on disk: `samples.jsonl`, appended by batch so that a crash loses only one, and their `settings.json`."""

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
    """A judged sample of a question, as one line of the file.

    Attributes:
        question: the question's number, from 0.
        number: the sample's number among the question's, from 0.
        prompt: digest of the prompt's tokens, which identifies the question.
        completion, num_tokens, is_finished: of the `Completion`.
        answer, is_right: of the `Verdict`.
        harness_right: whether lm-evaluation-harness finds it right; None if it did not score.
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
    """The samples of one model on one benchmark; `samples` are the existing ones by question and number.

    Args:
        directory: of the samples; created with the first one.
        settings: everything that a sample depends on; samples of other settings are refused.

    Raises:
        UserError: if the directory holds samples of other settings, or settings that cannot be read.
    """

    def __init__(self, directory: Path, settings: dict[str, Any]) -> None:
        self.directory = directory
        self._settings = json.loads(json.dumps(settings, default=str))
        self.samples: dict[tuple[int, int], Sample] = {}
        self._length = 0  # bytes of whole lines
        if (directory / SAMPLES_FILE).exists():
            self._check_settings()
            self._read_samples()

    def append(self, samples: Sequence[Sample]) -> None:
        """Write more samples."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if not (self.directory / SAMPLES_FILE).exists():
            write_whole(self.directory / SETTINGS_FILE, json.dumps(self._settings, indent=1) + "\n")
        with (self.directory / SAMPLES_FILE).open("ab") as file:
            file.truncate(self._length)  # half a line of a killed run
            file.write("".join(json.dumps(asdict(sample)) + "\n" for sample in samples).encode())
            file.flush()
            self._length = file.tell()
        self.samples |= {(sample.question, sample.number): sample for sample in samples}

    def _check_settings(self) -> None:
        stored = read_settings(self.directory)
        if stored is None:
            raise UserError(
                f"{self.directory} holds samples, but its {SETTINGS_FILE} cannot be read, so their settings are "
                "unknown; give another output_dir"
            )
        for name in dict.fromkeys([*self._settings, *stored]):
            was, now = stored.get(name), self._settings.get(name)
            if was != now:
                raise UserError(
                    f"{self.directory} holds samples of other settings: {name} was {json.dumps(was):.80} and is "
                    f"{json.dumps(now):.80}; give another output_dir, or delete that directory"
                )

    def _read_samples(self) -> None:
        for line in (self.directory / SAMPLES_FILE).read_bytes().splitlines(keepends=True):
            try:
                sample = Sample(**json.loads(line))
            except (ValueError, TypeError):
                break
            if not line.endswith(b"\n"):
                break
            self.samples[sample.question, sample.number] = sample
            self._length += len(line)


def read_settings(directory: Path) -> dict[str, Any] | None:
    """What the samples of a directory depend on; None if that cannot be read."""
    try:
        settings = json.loads((directory / SETTINGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return settings if isinstance(settings, dict) else None
