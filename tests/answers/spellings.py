"""Other spellings of MATH-500's answers, as language models write them, and near misses: alike, but different answers.

`spellings.jsonl` has a line for each of the 301 different answers. `around` (an answer with something around it) and
`within` are other spellings of it, `near_misses` are other answers, each under what was done to the answer. Left out
is what depends on the question: whether 52 may stand for 52_8, cm^3 for cm^2, a row of numbers for a column.
"""

import itertools
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from mgrpo.answers import answer_ids

Pairs = dict[str, list[tuple[str, str]]]
"""For each rule its pairs of an answer and another text."""

_LINES = [json.loads(line) for line in Path(__file__).with_suffix(".jsonl").read_text("utf-8").splitlines()]
ANSWERS: list[str] = [line["answer"] for line in _LINES]

# The classes of MATH-500's 301 different answers that hold more than one, by hand.
EQUAL = {
    frozenset(texts)
    for texts in (
        ("2 \\sqrt{5}", "2\\sqrt{5}"),
        ("\\frac{1}{4}", "\\frac14"),
        ("10,\\!080", "10080"),
        ("1,-2", "-2,1"),  # solutions without order; (-2,1) is a point, another answer
        ("x=5", "5"),
        # A unit may be left out. So 36 meets an angle and an amount of money; one question never has both.
        ("90^\\circ", "90"),
        ("120^\\circ", "120"),
        ("30^\\circ", "30"),
        ("36^\\circ", "36", "\\$36"),
        ("15\\mbox{ cm}^2", "15"),
    )
}
# 52_8 is 42, but to a question for digits in base 8 they are two answers: to merge them or not, both is right.
OTHER_BASES = {"52_8": "42", "40_9": "36", "204_5": "54"}


def load_answers(path: Path) -> list[str]:
    return [json.loads(line)["answer"] for line in path.read_text("utf-8").splitlines()]


def _texts(kind: str, every: int) -> Iterator[tuple[str, str, str]]:
    """Each n-th text of a kind (around, within or near_misses), with its answer and its rule."""
    texts = (
        (line["answer"], rule, other)
        for line in _LINES
        for rule, of_rule in line.get(kind, {}).items()
        for other in of_rule
    )
    return itertools.islice(texts, 0, None, every)


def pairs_of(kind: str, every: int = 1) -> Pairs:
    """Each n-th pair of one kind: around, within or near_misses."""
    pairs = defaultdict(list)
    for answer, rule, other in _texts(kind, every):
        pairs[rule].append((answer, other))
    return dict(pairs)


def judge(pairs: Pairs) -> dict[str, list[bool]]:
    """For each rule, whether the answers of each pair share an id in a group of their own."""
    groups = [list(pair) for of_rule in pairs.values() for pair in of_rule]
    verdicts = (ids[0] == ids[1] for ids in answer_ids(groups, "math"))
    return {rule: [next(verdicts) for _ in of_rule] for rule, of_rule in pairs.items()}


def texts_of(*kinds: str, every: int = 1) -> dict[str, list[str]]:
    """For each answer its texts of some kinds, each n-th of all answers' texts."""
    texts: dict[str, list[str]] = {answer: [] for answer in ANSWERS}
    for kind in kinds:
        for answer, _, other in _texts(kind, every):
            texts[answer].append(other)
    return texts


def spellings_of_answers(every: int = 1) -> dict[str, list[str]]:
    """For each answer itself and its spellings, each n-th of all answers'."""
    return {answer: [answer, *texts] for answer, texts in texts_of("around", "within", every=every).items()}


def merged(texts: dict[str, list[str]]) -> set[frozenset[str]]:
    """Which answers have texts that share an id, when all texts of all answers are one group."""
    owners = [answer for answer, of_answer in texts.items() for _ in of_answer]
    classes = defaultdict(set)
    for answer, number in zip(owners, answer_ids([[*itertools.chain(*texts.values())]], "math")[0], strict=True):
        classes[number].add(answer)
    return {frozenset(answers) for answers in classes.values() if len(answers) > 1}


def astray(every: int = 1) -> list[tuple[str, str]]:
    """The near misses that share an id with any spelling of their answer, each n-th of both, all in one group."""
    texts, misses = spellings_of_answers(every), texts_of("near_misses", every=every)
    groups = answer_ids([[*of_answer, *misses[answer]] for answer, of_answer in texts.items()], "math")
    return [
        (answer, miss)
        for (answer, of_answer), ids in zip(texts.items(), groups, strict=True)
        for miss, number in zip(misses[answer], ids[len(of_answer) :], strict=True)
        if number in ids[: len(of_answer)]
    ]


def wrong_classes(classes: set[frozenset[str]]) -> set[frozenset[str]]:
    """Where the classes of MATH-500's answers differ from `EQUAL`: merged wrongly, or missing."""
    mixed = {
        texts for texts in classes for answer, value in OTHER_BASES.items() if answer in texts and value not in texts
    }
    without = {texts - set(OTHER_BASES) for texts in classes}
    return mixed | ({texts for texts in without if len(texts) > 1} ^ EQUAL)


def share(verdicts: dict[str, list[bool]]) -> float:
    every = [verdict for of_rule in verdicts.values() for verdict in of_rule]
    return sum(every) / len(every)


def report(pairs: Pairs, verdicts: dict[str, list[bool]], expected: bool) -> str:
    """The pairs that came out otherwise than expected, by rule."""
    lines = []
    for rule, of_rule in pairs.items():
        wrong = [pair for pair, verdict in zip(of_rule, verdicts[rule], strict=True) if verdict != expected]
        lines += [f"{rule}: {len(wrong)} of {len(of_rule)}"] if wrong else []
        lines += [f"    {answer!r} and {other!r}" for answer, other in wrong]
    return "\n".join(lines)
