"""Runs that say where they are, and are killed there: the helper of test_kills.py.

A forked child trains as `mgrpo train` does and says each phase that it enters.
"""

import os
import selectors
import signal
import sys
import time
import warnings
from dataclasses import dataclass, field

DEADLINE = 120
"""Seconds that a child may be silent."""


@dataclass
class Ended:
    """A child that ended: its exit code, negative for a signal, and the phases it had entered, with their times."""

    code: int
    phases: list[tuple[float, str]] = field(default_factory=list)


def run(fork, fields, log, kill=None):
    """Train in a child; `kill` is a phase, how many times it is let begin before, and the seconds after it begins."""
    reading, writing = os.pipe()
    pid = fork(lambda: train(fields, lambda phase: os.write(writing, f"{phase}\n".encode())), log)
    os.close(writing)
    ended, text, due = Ended(0), b"", None
    with selectors.DefaultSelector() as selector, os.fdopen(reading, "rb", buffering=0) as phases:
        selector.register(phases, selectors.EVENT_READ)
        while selector.select(DEADLINE if due is None else max(0.0, due - time.monotonic())):
            if not (read := phases.read(1 << 16)):
                break
            *lines, text = (text + read).split(b"\n")
            for line in lines:
                ended.phases.append((time.monotonic(), line.decode()))
                if kill is not None and sum(name == kill[0] for _, name in ended.phases) == kill[1] + 1:
                    due, kill = time.monotonic() + kill[2], None
        else:
            os.kill(pid, signal.SIGKILL)
    ended.code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert ended.code != -signal.SIGKILL or due is not None, "the child was silent"
    return ended


def say_phases(say):
    """Let what a run calls say that it begins."""
    from mgrpo.commands import build_trainer, resume
    from mgrpo.commands import train as run
    from mgrpo.runs import checkpoints
    from mgrpo.runs import files as run_log
    from mgrpo.training import callbacks, trainer
    from mgrpo.training import collapse_callback as collapse_watch
    from mgrpo.training.checkpointing import loop_state
    from mgrpo.training.checkpointing import save as saving
    from mgrpo.training.sampling.sampler import Sampler

    def announced(owner, name, phase):
        function = getattr(owner, name)

        def wrapped(*args, **kwargs):
            say(phase)
            return function(*args, **kwargs)

        setattr(owner, name, wrapped)

    announced(resume, "find_start", "looking for a checkpoint")
    announced(build_trainer, "load_model", "loading the model")
    announced(run, "write_config", "writing the recipe")
    announced(trainer.MGRPOTrainer, "start_probe", "probing")
    announced(trainer.MGRPOTrainer, "evaluate", "evaluating")
    announced(trainer.MGRPOTrainer, "_generate_single_turn", "sampling")
    announced(Sampler, "sample_momentum", "sampling the momentum model")
    announced(trainer, "label", "labelling")
    announced(trainer.MGRPOTrainer, "compute_loss", "learning")
    announced(callbacks.FiniteGradients, "on_pre_optimizer_step", "stepping")
    announced(callbacks.MomentumUpdate, "on_step_end", "following")
    announced(run_log.MetricsWriter, "write", "logging")
    announced(callbacks, "write_completions", "writing completions")
    announced(checkpoints, "begin", "saving")
    announced(loop_state, "save", "saving the loop")
    announced(checkpoints, "complete", "completing a checkpoint")
    announced(checkpoints, "remove", "deleting a checkpoint")
    announced(saving.checkpoints, "rotate", "rotating")
    announced(collapse_watch, "append_event", "writing an alarm")
    announced(run, "roll_back", "rolling back")
    announced(run, "_save_final", "writing final")
    announced(run, "write_outcome", "completing final")


def train(fields, say):
    from mgrpo.commands.train import train
    from mgrpo.errors import UserError
    from mgrpo.recipes.recipe import load_recipe

    warnings.simplefilter("ignore")
    os.environ["TQDM_DISABLE"] = "1"
    say("starting")
    say_phases(say)
    try:
        stop = train(load_recipe(fields, "the test"))
    except UserError as error:
        print(f"mgrpo: {error}", file=sys.stderr)
        return 2
    return 0 if stop is None else stop.exit_code
