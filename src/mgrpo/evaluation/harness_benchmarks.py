"""The benchmarks taken from lm-evaluation-harness: its configurations, and how `mgrpo.answers` reads the answers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from mgrpo.answers import boxed, number
from mgrpo.tasks.load import PLACEHOLDER
from mgrpo.tasks.math import TEMPLATE as BOX_TEMPLATE
from mgrpo.tasks.task import Columns


@dataclass(frozen=True)
class HarnessSpec:
    """How a benchmark is taken from the library.

    Attributes:
        summary: what it is.
        configs: paths under the library's `tasks/`.
        extractor: how an answer is read.
        equivalence: when two answers are equal.
        question: the column that is asked; None: the library's own prompt.
        template: text around the question.
        read_gold: reads the gold answer out of the library's target.
        filter_name: the library's filter whose output its metric is given.
        prepare: puts a local copy's columns into the form that the library reads.
    """

    summary: str
    configs: tuple[str, ...]
    extractor: str
    equivalence: str
    question: str | None = None
    template: str = PLACEHOLDER
    read_gold: Callable[[str], str | None] = str.strip
    filter_name: str = "none"
    prepare: Callable[[Columns], Columns] = dict


def _with_solution(columns: Columns) -> Columns:
    """For copies of MATH-500 without solutions: the library reads the answer out of the box of a solution."""
    if "solution" in columns or "answer" not in columns:
        return columns
    return {**columns, "solution": [f"\\boxed{{{boxed(str(a)) or a}}}" for a in columns["answer"]]}


def _capitalized(columns: Columns) -> Columns:
    """For copies of AIME 2024 with the column names of the other years."""
    return {name.capitalize() if name in ("problem", "answer") else name: values for name, values in columns.items()}


def _letter(target: str) -> str:
    return target.strip().strip("()")


_SUBJECTS = (
    *("biology", "business", "chemistry", "computer_science", "economics", "engineering", "health", "history"),
    *("law", "math", "other", "philosophy", "physics", "psychology"),
)
_boxed = partial(HarnessSpec, template=BOX_TEMPLATE, extractor="boxed", equivalence="math")
_gpqa = partial(
    HarnessSpec, read_gold=_letter, extractor="choice:ABCD", equivalence="choice", filter_name="flexible-extract"
)

OF_HARNESS: dict[str, HarnessSpec] = {
    "math500": _boxed(
        "500 problems of MATH", ("hendrycks_math/hendrycks_math500.yaml",), question="problem", prepare=_with_solution
    ),
    "aime24": _boxed("AIME 2024, 30 problems", ("aime/aime24.yaml",), question="Problem", prepare=_capitalized),
    "aime25": _boxed("AIME 2025, 30 problems", ("aime/aime25.yaml",), question="problem"),
    "gpqa_diamond": _gpqa("GPQA diamond, 198 questions", ("gpqa/cot_zeroshot/gpqa_diamond_cot_zeroshot.yaml",)),
    "gpqa_main": _gpqa("GPQA main, 448 questions", ("gpqa/cot_zeroshot/gpqa_main_cot_zeroshot.yaml",)),
    "mmlu_pro": HarnessSpec(
        "MMLU-Pro, 12,032 questions of 14 subjects in turn",
        tuple(f"mmlu_pro/mmlu_pro_{subject}.yaml" for subject in _SUBJECTS),
        extractor="choice:ABCDEFGHIJ",
        equivalence="choice",
        filter_name="custom-extract",
    ),
    "gsm8k": HarnessSpec(
        "GSM8K, 1,319 word problems",
        ("gsm8k/gsm8k-cot-zeroshot.yaml",),
        read_gold=number,
        extractor="number",
        equivalence="number",
        filter_name="flexible-extract",
    ),
}
"""The benchmarks by name."""
