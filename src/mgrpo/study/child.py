"""One run of a study, in a process of its own.

Nothing heavy is imported here: a forked process has it all, and a fresh one is told its GPU before it imports torch.
"""

import os
import signal
import sys
import threading
import warnings
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from mgrpo.errors import EXIT_USER_ERROR, UserError
from mgrpo.guard.signals import SAME_WITHIN, StopSignals

PRELOADED = ["mgrpo.recipes.recipe", "mgrpo.commands.train"]


def run(fields: dict[str, Any], source: str, log: Path, gpu: str | None) -> None:
    """Train as `mgrpo train` does, and exit as it does; stdout and stderr go to the end of a log.

    Args:
        fields: a whole recipe.
        source: what to call it in a message.
        log: the log's path.
        gpu: the one GPU that is to be seen, or None.
    """
    with log.open("a") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    for name in (signal.SIGINT, signal.SIGUSR1):  # they reach every process; the study's own decides
        signal.signal(name, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    warnings.simplefilter("ignore", FutureWarning)

    # SIGTERM may come from the study and from whoever sent it to the study
    with StopSignals([signal.SIGTERM], same_within=SAME_WITHIN) as signals:
        _run(fields, source, signals)


def _run(fields: dict[str, Any], source: str, signals: StopSignals) -> None:
    from mgrpo.commands.train import train
    from mgrpo.recipes.recipe import load_recipe

    try:
        stop = train(load_recipe(fields, source), signals=signals)
    except UserError as error:
        print(f"mgrpo: {error}", file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    if stop is not None:
        print(f"mgrpo: stopped: {stop.reason}", file=sys.stderr)
        sys.exit(stop.exit_code)


def _end_with_parent() -> None:
    """A study that was killed leaves no run behind that would write into the next one's directory."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
