"""The starts by name: task, size and warm-up of each (standard library alone).

`embedded` is the shipped checkpoint; the others are built on their first use (`cache.py`).
"""

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice

from mgrpo.embedded.problem import DEMONSTRATION_NOISE, stream_problems
from mgrpo.embedded.task import PROBLEMS
from mgrpo.errors import UserError, did_you_mean

EMBEDDED = "embedded"
SHIPPED = "chains"
HEAD_DIM = 16


@dataclass(frozen=True, slots=True)
class Size:
    """A Qwen3's measures; heads have 16 dimensions, and every head keys and values of its own."""

    num_layers: int
    num_heads: int
    intermediate_size: int
    # transformers' usual 0.02 is meant for widths of thousands
    initializer_range: float = 0.05


# By the number of their parameters.
SIZES = {
    "50k": Size(num_layers=2, num_heads=3, intermediate_size=112),
    "103k": Size(num_layers=2, num_heads=4, intermediate_size=176),
    "200k": Size(num_layers=2, num_heads=6, intermediate_size=224),
    "1m": Size(num_layers=3, num_heads=10, intermediate_size=448),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """How a start is made: a supervised warm-up on noisy demonstrations of the train split.

    Attributes:
        task: A key of `PROBLEMS`.
        num_steps: Optimizer steps of AdamW.
        batch_size: Demonstrations per step.
        learning_rate: The highest.
        num_rate_warmup_steps: Steps over which the rate rises; it falls linearly from the first step to the last.
        final_rate_share: What is left of the rate at the end.
        noise: Probability of a slip at each step of a demonstration.
        guessing: Probability, for problems of 1, 2, ... steps, that a demonstration leaves out the last step and
            guesses: it answers with a slip of the state before. Empty: none does.
        minutes: How long it takes on one CPU core, roughly.
    """

    task: str
    size: Size = SIZES["103k"]
    num_steps: int = 900
    batch_size: int = 256
    learning_rate: float = 3e-3
    num_rate_warmup_steps: int = 100
    final_rate_share: float = 0.05
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    max_grad_norm: float = 1.0
    noise: float = DEMONSTRATION_NOISE
    guessing: tuple[float, ...] = ()
    minutes: int = 2

    def demonstrations(self, seed: int) -> Iterator[tuple[str, str]]:
        """Yield prompts with noisy completions, without end; they depend on the seed alone."""
        rng = random.Random(f"noise {seed}")
        for problem in stream_problems(PROBLEMS[self.task], seed=seed, split="train"):
            states = list(problem.noisy_states(rng, noise=self.noise))
            if self.guessing and rng.random() < self.guessing[len(problem.steps) - 1]:
                states.pop()
                completion = problem.write_completion(states, answer=problem.slip(states[-1], rng))
            else:
                completion = problem.write_completion(states)
            yield problem.prompt, completion

    @property
    def key(self) -> str:
        """A checksum of the settings and the first demonstrations."""
        settings = asdict(self)
        del settings["minutes"]
        first = list(islice(self.demonstrations(seed=0), self.batch_size))
        return hashlib.sha256(json.dumps([settings, first]).encode()).hexdigest()[:12]


# A larger model needs fewer steps until half of its samples are right; a million parameters want a lower rate.
# Behind each: greedy accuracy, pass@1 and maj@16 at temperature 1, on 256 held-out problems.
STARTS = {
    SHIPPED: Start(task="chains"),  # .82 .54 .78
    "chains-50k": Start(task="chains", size=SIZES["50k"], num_steps=1000),  # .82 .51 .77
    "chains-200k": Start(task="chains", size=SIZES["200k"], num_steps=550),  # .80 .49 .74
    "chains-1m": Start(task="chains", size=SIZES["1m"], num_steps=475, learning_rate=2e-3, minutes=6),  # .80 .53 .76
    # Greedy, it guesses the last step of nearly all chains of 4 and 5. It can work them: 600 steps on right answers
    # lift greedy accuracy to .82. Its vote is right for half of the chains of 4 and 29% of those of 5; in a run, the
    # labels of the frozen start are right for 64% of all prompts, those of lagged voters for 82% in the end.
    "chains-headroom": Start(task="chains", guessing=(0, 0.2, 0.35, 0.55, 0.69)),  # .53 .39 .65
    "swaps": Start(task="swaps", num_steps=680),  # .80 .52 .74
    "swaps-50k": Start(task="swaps", size=SIZES["50k"], num_steps=780),  # .78 .50 .74
    "swaps-200k": Start(task="swaps", size=SIZES["200k"], num_steps=370),  # .81 .51 .73
}
"""Name behind `embedded:` -> how it is made."""


def is_embedded(model: str) -> bool:
    """Whether a model's name is that of a start."""
    return model.partition(":")[0] == EMBEDDED


def start_name(model: str) -> str:
    """The start that a model's name stands for: `embedded` alone is the shipped one.

    Raises:
        UserError: If there is no such start.
    """
    name = model.partition(":")[2] if ":" in model else SHIPPED
    if name not in STARTS:
        known = ", ".join([EMBEDDED, *(f"{EMBEDDED}:{known}" for known in STARTS)])
        raise UserError(
            f"there is no model {model!r}{did_you_mean(name, STARTS, f'{EMBEDDED}:')}; choose one of {known}"
        )
    return name
