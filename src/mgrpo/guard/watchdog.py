"""A run in which nothing moves any more ends, and leaves the stacks of its threads.

An engine that waits for a GPU that fell off the bus, a data loader on a file server that does not answer: neither
raises, and the machine is paid for until somebody checks. Python's faulthandler ends such a process from a thread that
needs neither the main thread nor the interpreter's lock.
"""

import faulthandler
import time
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

STDERR = 2


class Watchdog(TrainerCallback):
    """Ends the process when nothing has moved for some minutes; a movement is a step, a batch, a pass of the model.

    The stacks of all threads go to stderr; the exit code is 1.

    Args:
        minutes: how long nothing may move.
    """

    def __init__(self, minutes: float) -> None:
        self._seconds = minutes * 60
        self._armed_at = float("-inf")

    def follow(self, model: nn.Module) -> None:
        """Count each forward pass as a movement: sampling thousands of tokens is one call of transformers."""
        model.register_forward_pre_hook(self.arm)

    def arm(self, *_: Any) -> None:
        """Count the minutes from now on; each time starts a thread, so at most once a second."""
        now = time.monotonic()
        if now - self._armed_at > min(1.0, self._seconds / 10):
            self._armed_at = now
            faulthandler.dump_traceback_later(self._seconds, exit=True, file=STDERR)

    def on_event(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Count whatever the trainer reports as a movement."""
        self.arm()

    on_train_begin = on_step_begin = on_substep_end = on_step_end = on_prediction_step = on_event
    on_evaluate = on_save = on_log = on_train_end = on_event
