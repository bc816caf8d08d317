"""How often the math equivalence is right on the answers of MATH-500 and AMC 2023, rule by rule.

MGRPO_TEST_DATA=DIRECTORY python benchmarks/answers_accuracy.py [--math_verify]

The directory holds amc23.jsonl with a field `answer` a line; tests/answers/spellings.jsonl has MATH-500's answers with
spellings and near misses. With --math_verify the same pairs are judged by math-verify alone, in both directions.
"""

import logging
import os
import sys
import time
from collections.abc import Iterable
from functools import cache
from itertools import combinations
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests" / "answers"))
import spellings  # noqa: E402


def math_verify_alone(left: str, right: str) -> bool:
    from math_verify import parse, verify

    parsed = [_parsed(parse, text) for text in (left, right)]
    return verify(*parsed) or verify(*reversed(parsed))


@cache
def _parsed(parse, text: str):
    return parse(text if "$" in text or "\\(" in text or "\\[" in text or "boxed" in text else f"${text}$")


def show(title: str, kind: str, expected: bool) -> None:
    pairs = spellings.pairs_of(kind)
    started = time.perf_counter()
    if "--math_verify" in sys.argv:
        verdicts = {name: [math_verify_alone(*pair) for pair in of_rule] for name, of_rule in pairs.items()}
    else:
        verdicts = spellings.judge(pairs)
    seconds = time.perf_counter() - started
    num_pairs = sum(map(len, pairs.values()))
    print(f"\n== {title}: {spellings.share(verdicts):.2%} of {num_pairs} pairs share an id ({seconds:.0f} s)")
    for name, of_rule in verdicts.items():
        print(f"{sum(of_rule):5d} of {len(of_rule):4d}  {name}")
    wrong = spellings.report(pairs, verdicts, expected)
    print(f"-- wrong:\n{wrong}" if wrong else "-- none wrong")


def show_sets(classes: Iterable[frozenset[str]]) -> None:
    print("\n".join("    " + "    ".join(texts) for texts in sorted(map(sorted, classes))) or "    none")


def main() -> None:
    if not (directory := os.environ.get("MGRPO_TEST_DATA")):
        sys.exit("MGRPO_TEST_DATA is not set; name a directory with amc23.jsonl.")
    logging.disable(logging.WARNING)  # math-verify's
    show("around an answer (all should)", "around", expected=True)
    show("other spellings (all should)", "within", expected=True)
    show("near misses (none should)", "near_misses", expected=False)
    if "--math_verify" in sys.argv:
        pairs = [pair for pair in combinations(spellings.ANSWERS, 2) if math_verify_alone(*pair)]
        print("\n== MATH-500: pairs of different gold answers that are equal")
        show_sets(map(frozenset, pairs))
        return

    different = {answer: [answer] for answer in spellings.ANSWERS}
    classes = spellings.merged(different)
    print(f"\n== MATH-500: of {len(different)} different texts, those in one class")
    show_sets(classes)
    print("-- of these wrong, or missing:")
    show_sets(spellings.wrong_classes(classes))
    print("-- wrong, or missing, with all their spellings in one group:")
    show_sets(spellings.wrong_classes(spellings.merged(spellings.spellings_of_answers())))
    print("-- near misses that meet a spelling:")
    show_sets(map(frozenset, spellings.astray()))

    amc = spellings.load_answers(Path(directory) / "amc23.jsonl")
    with_whole = {text: [text] for gold in amc for text in (gold, gold.removesuffix(".0"))}
    classes = spellings.merged(with_whole)
    expected = {frozenset((gold, gold.removesuffix(".0"))) for gold in amc}
    print(f"\n== AMC 2023: {len(classes & expected)} of {len(expected)} meet the integer they are; wrong, or missing:")
    show_sets(classes ^ expected)


if __name__ == "__main__":
    main()
