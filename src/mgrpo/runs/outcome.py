"""How a run ended, in words, as an exit code and as a file."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from mgrpo.runs.files import FINAL_DIRECTORY
from mgrpo.runs.reading import read_as, read_json_object

OUTCOME_FILE = "outcome.json"
"""In `final/`."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended, for good or until it is resumed.

    Attributes:
        step: the optimizer step of the models in `final/`: the last one or, with `load_best_model_at_end`, the best.
        reason: why it stopped before its last step; None: it did not.
        exit_code: what the command ends with.
    """

    step: int = 0
    reason: str | None = None
    exit_code: int = 0


def write_outcome(directory: Path, outcome: Outcome) -> None:
    """Write into a `final/` how the run ended."""
    (directory / OUTCOME_FILE).write_text(json.dumps(asdict(outcome)) + "\n", encoding="utf-8")


def read_outcome(run_directory: Path) -> Outcome:
    """How a finished run ended."""
    try:
        outcome: Outcome = read_as(Outcome, read_json_object(run_directory / FINAL_DIRECTORY / OUTCOME_FILE))
        return outcome
    except (FileNotFoundError, ValueError):  # an older version's
        return Outcome()
