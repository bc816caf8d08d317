"""How often the math equivalence is right on the answers of MATH-500 and AMC 2023, rule by rule.

MGRPO_TEST_DATA=DIRECTORY python benchmarks/answers_accuracy.py [--math_verify]

The directory holds math500.jsonl and amc23.jsonl with a field `answer` a line. The rules are in
tests/answers/variants.py. With --math_verify the same pairs are judged by math-verify alone, in both directions.
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
import variants  # noqa: E402


def math_verify_alone(left: str, right: str) -> bool:
    from math_verify import parse, verify

    parsed = [_parsed(parse, text) for text in (left, right)]
    return verify(*parsed) or verify(*reversed(parsed))


@cache
def _parsed(parse, text: str):
    return parse(text if "$" in text or "\\(" in text or "\\[" in text or "boxed" in text else f"${text}$")


def show(title: str, rules: variants.Rules, golds: list[str], expected: bool) -> None:
    pairs = variants.pairs_of(rules, golds)
    started = time.perf_counter()
    if "--math_verify" in sys.argv:
        verdicts = {name: [math_verify_alone(*pair) for pair in of_rule] for name, of_rule in pairs.items()}
    else:
        verdicts = variants.judge(pairs)
    seconds = time.perf_counter() - started
    num_pairs = sum(map(len, pairs.values()))
    print(f"\n== {title}: {variants.share(verdicts):.2%} of {num_pairs} pairs share an id ({seconds:.0f} s)")
    for name, of_rule in verdicts.items():
        print(f"{sum(of_rule):5d} of {len(of_rule):4d}  {name}")
    wrong = variants.report(pairs, verdicts, expected)
    print(f"-- wrong:\n{wrong}" if wrong else "-- none wrong")


def show_sets(classes: Iterable[frozenset[str]]) -> None:
    print("\n".join("    " + "    ".join(texts) for texts in sorted(map(sorted, classes))) or "    none")


def main() -> None:
    if not (directory := os.environ.get("MGRPO_TEST_DATA")):
        sys.exit("MGRPO_TEST_DATA is not set; name a directory with math500.jsonl and amc23.jsonl.")
    logging.disable(logging.WARNING)  # math-verify's
    golds = variants.load_answers("math500.jsonl", directory)
    show("around an answer (all should)", variants.SURROUNDINGS, golds, expected=True)
    show("other spellings (all should)", variants.SPELLINGS, golds, expected=True)
    show("near misses (none should)", variants.NEAR_MISSES, golds, expected=False)
    if "--math_verify" in sys.argv:
        pairs = [pair for pair in combinations(dict.fromkeys(golds), 2) if math_verify_alone(*pair)]
        print("\n== MATH-500: pairs of different gold answers that are equal")
        show_sets(map(frozenset, pairs))
        return

    different = {gold: [gold] for gold in golds}
    classes = variants.merged(different)
    print(f"\n== MATH-500: of {len(different)} different texts, those in one class")
    show_sets(classes)
    print("-- of these wrong, or missing:")
    show_sets(variants.wrong_classes(classes))
    print("-- wrong, or missing, with all their spellings in one group:")
    show_sets(variants.wrong_classes(variants.merged(variants.spellings_of(golds))))
    print("-- near misses that meet a spelling:")
    show_sets(map(frozenset, variants.astray(golds)))

    amc = variants.load_answers("amc23.jsonl", directory)
    with_whole = {text: [text] for gold in amc for text in (gold, gold.removesuffix(".0"))}
    classes = variants.merged(with_whole)
    expected = {frozenset((gold, gold.removesuffix(".0"))) for gold in amc}
    print(f"\n== AMC 2023: {len(classes & expected)} of {len(expected)} meet the integer they are; wrong, or missing:")
    show_sets(classes ^ expected)


if __name__ == "__main__":
    main()
