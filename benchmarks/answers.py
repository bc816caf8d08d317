"""Time the comparison of answers against the plain way with math-verify, on the same groups, in one process.

MGRPO_TEST_DATA=DIRECTORY python benchmarks/answers.py    # DIRECTORY holds math500.jsonl

The plain way is what a trainer would write first: parse each different text of a group once, compare each completion
with one answer of each class found so far (`math_verify.verify`), stop at the first that is equal. Serial, no cache
beyond math-verify's own. Ours uses its worker processes. Cold: workers have started, and nothing is in any cache.
"""

import argparse
import json
import logging
import os
import random
import statistics
import time
from pathlib import Path

from math_verify import parse, verify

from mgrpo.answers import answer_ids, mathematics, worker

NUM_GROUPS, GROUP = 256, 32
NUM_WRONG = 8
"""Different wrong answers that a group draws from, the first ones more often."""
NONE_RATE = 0.05
REPEATS = 5


def respell(answer: str, rng: random.Random) -> str:
    """One of a few ways in which a model writes the same answer."""
    ways = (
        lambda text: text,
        lambda text: text,
        lambda text: text.replace(" ", ""),
        lambda text: text.replace(r"\frac", r"\dfrac"),
        lambda text: f"${text}$",
        lambda text: text.replace("(", r"\left(").replace(")", r"\right)") if r"\left" not in text else text,
    )
    return rng.choice(ways)(answer)


def realistic_groups(gold: list[str], rng: random.Random) -> list[list[str | None]]:
    """Groups as a model in training gives them: a right answer in several spellings, and some wrong ones."""
    groups = []
    for answer in rng.sample(gold, NUM_GROUPS):
        share = rng.uniform(0.2, 0.9)
        alike = [other for other in gold if other != answer and ("\\" in other) == ("\\" in answer)]
        wrong = rng.sample(alike, NUM_WRONG)
        weights = [1 / (rank + 1) for rank in range(NUM_WRONG)]
        group: list[str | None] = []
        for _ in range(GROUP):
            said = answer if rng.random() < share else rng.choices(wrong, weights)[0]
            group.append(None if rng.random() < NONE_RATE else respell(said, rng))
        groups.append(group)
    return groups


def plain(groups: list[list[str | None]]) -> list[list[int]]:
    """Ids by math-verify alone."""
    ids = []
    for group in groups:
        parsed = {text: parse(f"${text}$") for text in group if text is not None}
        classes: list[list] = []
        numbers = []
        for text in group:
            number = -1
            if text is not None:
                found = (i for i, first in enumerate(classes) if verify(first, parsed[text]))
                number = next(found, len(classes))
                if number == len(classes):
                    classes.append(parsed[text])
            numbers.append(number)
        ids.append(numbers)
    return ids


def seconds(call, *arguments) -> float:
    started = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num_plain", type=int, default=NUM_GROUPS, help="groups for the plain way, which is slow")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    lines = (Path(os.environ["MGRPO_TEST_DATA"]) / "math500.jsonl").read_text().splitlines()
    groups = realistic_groups([json.loads(line)["answer"] for line in lines], random.Random(arguments.seed))
    distinct = [len({text for text in group if text is not None}) for group in groups]
    print(f"{NUM_GROUPS} groups of {GROUP}, {statistics.mean(distinct):.1f} different texts in a group")

    cold, warm, start = [], [], []
    for _ in range(REPEATS):
        worker._close()  # the workers' caches go with them
        mathematics.clear_caches()
        start.append(seconds(answer_ids, [[f"x+{i}" for i in range(8)]], "math"))
        mathematics.clear_caches()
        cold.append(seconds(answer_ids, groups, "math"))
        warm.append(seconds(answer_ids, groups, "math"))
    plain(groups[:2])
    serial = seconds(plain, groups[: arguments.num_plain]) * NUM_GROUPS / arguments.num_plain
    for name, times in (("cold", cold), ("warm", warm)):
        time_ours = statistics.median(times)
        print(f"{name}: {serial / time_ours:.0f} times faster than the plain way ({1e3 * time_ours:.0f} ms)")
    print(f"the plain way: {serial:.1f} s; starting the workers, once a run: {statistics.median(start):.1f} s")


if __name__ == "__main__":
    main()
