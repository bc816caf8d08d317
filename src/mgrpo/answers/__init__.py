"""From a completion's text to its answer, and from answers to ids that can be voted on. Knows no trainer.

extract.py      the answer in a completion's text
completions.py  the answers of many completions, by an extractor that may fail
equivalence.py  which answers are the same, as integer ids
tokens.py, latex.py, form.py   what an answer is, read without computing: numbers, tuples, sets, words
mathematics.py  the equivalence `math`, on forms
expressions.py  SymPy and math-verify, in worker processes alone
worker.py, worker_process.py   the worker processes
canonical.py    canonical forms of lists, sets, grids and the like
"""

from mgrpo.answers.equivalence import EQUIVALENCES, answer_ids, equal_to, get_equivalence, number_answers
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
    "number_answers",
]
