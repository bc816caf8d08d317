"""From a completion's text to its answer, and from answers to ids that can be voted on. Knows no trainer."""

from mgrpo.answers.equivalence import EQUIVALENCES, answer_ids, equal_to, get_equivalence
from mgrpo.answers.extract import EXTRACTORS, boxed, get_extractor, import_function, number

__all__ = [
    "EQUIVALENCES",
    "EXTRACTORS",
    "answer_ids",
    "boxed",
    "equal_to",
    "get_equivalence",
    "get_extractor",
    "import_function",
    "number",
]
