"""Runs that say where they are, and are killed there: the helper of test_kills.py.

Run as a program it is a warm parent: it imports what a run needs once, and forks a child for each line of its input, a
recipe in JSON. The child trains as `mgrpo train` does and says each phase that it enters.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

DEADLINE = 120
"""Seconds that a child may be silent."""


@dataclass
class Ended:
    """A child that ended: its exit code, negative for a signal, and the phases it had entered, with their times."""

    code: int
    phases: list[tuple[float, str]] = field(default_factory=list)


class WarmParent:
    """The program above, and who talks to it."""

    def __enter__(self):
        source = str(Path(__file__).parents[2] / "src")
        env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": source, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
        command = [sys.executable, __file__]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._process.stdout, selectors.EVENT_READ)
        self._text = b""
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(DEADLINE)
        self._process.stdout.close()
        self._selector.close()

    def run(self, fields, log, kill=None):
        """Train; `kill` is a phase, how many times it is let begin before, and the seconds after its beginning."""
        self._process.stdin.write(json.dumps({"fields": fields, "log": str(log)}).encode() + b"\n")
        self._process.stdin.flush()
        ended, pid, due = Ended(0), None, None
        while True:
            line = self._line(due)
            if line is None:
                os.kill(pid, signal.SIGKILL)
                due = None
                continue
            word, _, rest = line.partition(" ")
            if word == "pid":
                pid = int(rest)
            elif word == "exit":
                ended.code = int(rest)
                return ended
            else:
                ended.phases.append((time.monotonic(), rest))
                if kill is not None and sum(name == kill[0] for _, name in ended.phases) == kill[1] + 1:
                    due, kill = time.monotonic() + kill[2], None

    def _line(self, due):
        """The next line, or None when it is time to kill."""
        deadline = time.monotonic() + DEADLINE
        while b"\n" not in self._text:
            now = time.monotonic()
            if due is not None and now >= due:
                return None
            assert now < deadline, "a child is silent"
            if self._selector.select((deadline if due is None else due) - now):
                read = os.read(self._process.stdout.fileno(), 1 << 16)
                assert read, "the warm parent is gone"
                self._text += read
        line, _, self._text = self._text.partition(b"\n")
        return line.decode()


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
    announced(resume, "write_outcome", "completing final")


def train(fields, log, say):
    from mgrpo.commands.train import train
    from mgrpo.errors import UserError
    from mgrpo.recipes.recipe import load_recipe

    with open(log, "a") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    say("starting")
    say_phases(say)
    try:
        stop = train(load_recipe(fields, "the test"))
    except UserError as error:
        print(f"mgrpo: {error}", file=sys.stderr)
        return 2
    return 0 if stop is None else stop.exit_code


def main():
    import warnings

    import mgrpo.commands.train  # noqa: F401

    warnings.simplefilter("ignore")
    out = os.dup(1)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 1
            with contextlib.suppress(SystemExit):
                import traceback

                try:
                    code = train(**order, say=lambda phase: os.write(out, f"phase {phase}\n".encode()))
                    sys.stdout.flush()
                    sys.stderr.flush()
                except BaseException:
                    traceback.print_exc()
                    sys.stderr.flush()
            os._exit(code)
        os.write(out, f"pid {pid}\n".encode())
        _, status = os.waitpid(pid, 0)
        os.write(out, f"exit {os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)  # the interpreter takes seconds to end


if __name__ == "__main__":
    main()
