"""What a run's directory holds already. What is to be done there the run itself decides (commands/resume.py)."""

from dataclasses import dataclass, replace

import yaml

from mgrpo.commands.resume import described, differing_fields
from mgrpo.errors import UserError
from mgrpo.recipes.recipe import Recipe
from mgrpo.runs.checkpoints import checkpoints, fault_of
from mgrpo.runs.files import CONFIG_FILE, FINAL_DIRECTORY
from mgrpo.study.definition import StudyRun


@dataclass(frozen=True)
class RunState:
    """How far a run is.

    Attributes:
        is_finished: nothing is left to do.
        step: the optimizer step of the checkpoint that it can go on from; 0: it begins anew.
    """

    is_finished: bool = False
    step: int = 0


def find_state(run: StudyRun, recipe: Recipe) -> RunState:
    """Look at a run's directory; nothing is changed.

    Raises:
        UserError: if it holds a run with other settings.
    """
    config = run.directory / CONFIG_FILE
    if config.exists():
        stored = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
        seeds = {"seed": run.seed, "dataset_seed": run.seed}
        changed = differing_fields(replace(recipe, resolved=recipe.resolved | seeds), stored)
        if changed:
            raise UserError(
                f"{run.directory} holds a run with other settings than the study's ({described(changed)}); give "
                "another --output_dir, or remove that run."
            )
    if (run.directory / FINAL_DIRECTORY).exists():
        return RunState(is_finished=True)
    whole = (step for step, path in checkpoints(run.directory) if fault_of(path, with_checksums=False) is None)
    return RunState(step=next(whole, 0))
