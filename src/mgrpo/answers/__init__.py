"""From a completion's text to its answer, and from answers to ids that can be voted on. Knows no trainer.

extract.py      the answer in a completion's text, by extractors by name
boxes.py, last_number.py, choice_letter.py   three of them
user_functions.py   a user's own function
completions.py  the answers of many completions, by an extractor that may fail
equivalence.py  which answers are the same, as integer ids
form.py, read_form.py   what an answer is, read without computing: numbers, tuples, sets, words
tokens.py, units.py, latex.py   what read_form.py works with
mathematics.py  the equivalence `math`, on forms
expressions.py  SymPy and math-verify, in worker processes alone
worker.py, worker_process.py   the worker processes
canonical.py    canonical forms of lists, sets, grids and the like
"""

from mgrpo.answers.boxes import boxed
from mgrpo.answers.equivalence import EQUIVALENCES, answer_ids, equal_to, get_equivalence, number_answers
from mgrpo.answers.extract import EXTRACTORS, get_extractor
from mgrpo.answers.last_number import number
from mgrpo.answers.user_functions import import_function

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
