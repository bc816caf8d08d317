"""Random answers for the math equivalence, to find what crashes it, holds it up or leaves something behind.

python benchmarks/fuzz_answers.py [--inputs 10000] [--seed 0]

Half of them are expressions grown from a grammar; the others are rows of tokens, answers of MATH-500 and those of
tests/answers/hostile.py, with pieces dropped and put in. Each is numbered in a group of its own with two honest
answers, and once more together with its neighbours. The exit status is 1 if anything was found.
"""

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil

from mgrpo.answers import answer_ids, mathematics
from mgrpo.answers.mathematics import SECONDS_PER_ANSWER
from mgrpo.answers.worker import MAX_WORKERS, Failed, in_workers

sys.path.append(str(Path(__file__).parents[1] / "tests" / "answers"))
import hostile  # noqa: E402
import spellings  # noqa: E402

LIMIT = SECONDS_PER_ANSWER + 0.5
GUARD_SECONDS = 10
WARM_INPUTS = 1000  # then memory is looked at first
NEIGHBOURS = 5
HONEST = (r"\frac{\sqrt{2}}{2}", r"\sqrt{2}/2")


def inputs(chance: random.Random, honest: list[str]) -> Iterator[str]:
    corpus = [answer for answer in hostile.hostile_answers() if len(answer) < 1000]
    while True:
        for answers in (honest, corpus):
            yield hostile.grown(chance, chance.randrange(1, 5))
            yield hostile.mutated(chance.choice(answers), hostile.VOCABULARY, chance)
        yield hostile.grown(chance, chance.randrange(1, 5))
        yield "".join(chance.choices(hostile.VOCABULARY, k=chance.randrange(1, 25)))


def ring(*_: object) -> None:
    raise TimeoutError


def check(answers: list[str], found: dict[str, list[str]]) -> float:
    """Number some answers, and tell how long that took; the limit is one answer's."""
    in_workers("mgrpo.answers.expressions:fingerprints", [["2"]] * 8 * MAX_WORKERS)  # those that ended are replaced
    started = time.perf_counter()
    signal.alarm(GUARD_SECONDS)
    try:
        ids = answer_ids([[*answers, *HONEST]])[0]
        if ids[-1] != ids[-2]:
            found["honest answers apart"] += answers
    except TimeoutError:
        found[f"over {GUARD_SECONDS} s"].append(" ".join(answers))
    except Exception as error:
        found["crashes"].append(f"{type(error).__name__} {' '.join(answers)}")
    finally:
        signal.alarm(0)
    seconds = time.perf_counter() - started
    if seconds > LIMIT and len(answers) == 1:
        found[f"over {LIMIT} s"] += answers
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz the math equivalence.")
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    signal.signal(signal.SIGALRM, ring)

    found: dict[str, list[str]] = {
        name: [] for name in ("crashes", f"over {LIMIT} s", f"over {GUARD_SECONDS} s", "honest answers apart")
    }
    Path(hostile.FILES[1]).unlink(missing_ok=True)
    process, memory, slowest, failures = psutil.Process(), 0, (0.0, ""), Counter[str]()
    neighbours: list[str] = []
    with tempfile.TemporaryDirectory() as empty, contextlib.chdir(empty):
        started = time.perf_counter()
        for number, answer in zip(
            range(args.inputs), inputs(random.Random(args.seed), spellings.ANSWERS), strict=False
        ):
            if number == min(WARM_INPUTS, args.inputs - 1):
                memory = process.memory_info().rss
            slowest = max(slowest, (check([answer], found), answer))
            neighbours.append(answer)
            if len(neighbours) == NEIGHBOURS:
                check(neighbours, found)
                neighbours.clear()
        seconds = time.perf_counter() - started
        growth = process.memory_info().rss - memory
        files = [*os.listdir(empty), *(file for file in hostile.FILES if Path(file).exists())]
        children = process.children(recursive=True)
        strangers = [child for child in children if "mgrpo.answers.worker_process" not in child.cmdline()]

    num_parsed, num_pairs = len(mathematics._fingerprints), len(mathematics._verdicts)
    refused = []
    for texts, result in (*mathematics._fingerprints.items(), *mathematics._verdicts.items()):
        if isinstance(result, Failed):
            failures[result.reason.split(":")[0]] += 1
            refused += [f"{result.reason} {texts}"] if "refused" in result.reason else []
    found |= {"refused": refused, "files created": files, "children that are no workers": list(map(str, strangers))}

    print(f"inputs               {args.inputs} (seed {args.seed}) in {seconds:.0f} s")
    print(f"in worker processes  {num_parsed} expressions, {num_pairs} pairs of them")
    print(f"slowest call         {slowest[0]:.2f} s  {slowest[1][:80]!r}")
    print(f"of these failed      {dict(failures) or 'none'}")
    print(f"growth of memory     {growth / 2**20:.1f} MiB after the first {WARM_INPUTS} inputs")
    print(f"workers at the end   {len(children) - len(strangers)}")
    for name, examples in found.items():
        print(f"{name:20s} {len(examples)}")
        for example in examples[:10]:
            print(f"    {example[:150]!r}")
    sys.exit(any(found.values()))


if __name__ == "__main__":
    main()
