r"""Where our verdicts and lm-evaluation-harness's differ, on the same completions of MATH-500.

    pip install --no-deps --target antlr411 antlr4-python3-runtime==4.11.0
    mgrpo evaluate smollm2 --benchmarks math500 --data DIRECTORY --k 1 --max_tokens 256 --output_dir OUT
    python benchmarks/eval_agreement.py OUT/math500 --data DIRECTORY/math500.jsonl --antlr antlr411
    python benchmarks/eval_agreement.py --data DIRECTORY/math500.jsonl --antlr antlr411

Without samples, two completions are made for each question: one ends with its right answer, in a box and in minerva's
sentence, and one with the right answer of the question behind it.

The library has three verdicts: `hendrycks_math500` compares texts, `minerva_math500` compares by SymPy what follows
"Final Answer: The final answer is", and by math-verify what math-verify finds. The last two want ANTLR 4.11, and
math-verify 0.9 is here with 4.13; so they run in a process of their own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from mgrpo.evaluation.benchmarks import OF_HARNESS, load_benchmark
from mgrpo.evaluation.harness import load_harness
from mgrpo.evaluation.protocols import SamplingSettings
from mgrpo.tasks.read import read_columns

MINERVA = ("minerva_math/minerva_math500.yaml",)
VERDICTS = ("ours", "hendrycks", "minerva", "math_verify")


def score_by_minerva(data, samples):
    """The library's verdicts by SymPy and by math-verify on each sample; for a process with ANTLR 4.11."""
    columns = OF_HARNESS["math500"].prepare(read_columns(data, split="test", dataset_config=None))
    by_metric = [load_harness(MINERVA, columns, 0, metric=metric) for metric in ("exact_match", "math_verify")]
    return [[questions[row].score(completion) for questions in by_metric] for row, completion in samples]


def make_completions(gold):
    """Each right answer after its own question, and after the one before it."""
    text = "So it is $\\boxed{{{0}}}$.\nFinal Answer: The final answer is ${0}$. I hope it is correct."
    own = [(row, text.format(answer)) for row, answer in enumerate(gold)]
    return own + [(row, text.format(gold[(row + 1) % len(gold)])) for row in range(len(gold))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", nargs="?", type=Path, help="a benchmark's directory of an evaluation")
    parser.add_argument("--data", required=True, help="a copy of MATH-500, the one that was evaluated")
    parser.add_argument("--antlr", help="directory with ANTLR 4.11")
    parser.add_argument("--score", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.score:
        print(json.dumps(score_by_minerva(arguments.data, json.loads(arguments.score.read_text()))))
        return
    benchmark = load_benchmark("math500", SamplingSettings(), data=arguments.data)
    gold = benchmark.task.columns["answer"]
    if arguments.samples:
        stored = map(json.loads, (arguments.samples / "samples.jsonl").read_text().splitlines())
        samples = [(sample["question"], sample["completion"]) for sample in stored]
    else:
        samples = make_completions(gold)
    report(samples, gold, verdicts_on(samples, benchmark, arguments))


def verdicts_on(samples, benchmark, arguments):
    """A mapping from each of `VERDICTS` to whether it finds a sample right, and our answer, for each sample."""
    ours = benchmark.judge(
        [text for _, text in samples], [benchmark.task.columns["answer"][row] for row, _ in samples]
    )
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(samples, file)
        file.flush()
        paths = filter(None, (arguments.antlr, os.environ.get("PYTHONPATH")))
        command = [sys.executable, __file__, "--data", arguments.data, "--score", file.name]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found = []
    for (row, text), verdict, minerva in zip(samples, ours, json.loads(done.stdout), strict=True):
        hendrycks = benchmark.harness[row].score(text)
        right = dict(zip(VERDICTS, (verdict.is_right, hendrycks, *minerva), strict=True))
        found.append((right, verdict.answer))
    return found


def report(samples, gold, found):
    print(f"{len(samples)} completions, {sum(answer is not None for _, answer in found)} with a box")
    for name in VERDICTS:
        print(f"right by {name}: {sum(right[name] for right, _ in found)}")
    for name in VERDICTS[1:]:
        counts = Counter((right["ours"], right[name]) for right, _ in found)
        print(f"ours and {name}: both right {counts[True, True]}, both wrong {counts[False, False]}, ", end="")
        print(f"right by ours alone {counts[True, False]}, by {name} alone {counts[False, True]}")
    for (row, text), (right, answer) in zip(samples, found, strict=True):
        if right["ours"] != right["minerva"] or right["ours"] != right["math_verify"]:
            names = ", ".join(name for name in VERDICTS if right[name])
            print(f"question {row}: right by {names or 'none'}; gold {gold[row]!r}, answer {answer!r}")
            if answer is None:
                print("    ..." + " ".join(text[-200:].split()))


if __name__ == "__main__":
    main()
