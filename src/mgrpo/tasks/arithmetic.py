"""One- and two-digit arithmetic, such as `7 + 45 =`, for a real chat model.

The bare equation, so that a template can put it where it helps: recipes/smollm2-arithmetic.yaml begins the answer with
it. At temperature 1 SmolLM2-135M is then right one time in five; asked `What is 7 + 45?`, one time in forty.
"""

import operator
import random
from itertools import product

from mgrpo.errors import UserError
from mgrpo.tasks.read import DEFAULT_TASK_SIZE
from mgrpo.tasks.split import check_split, split_of
from mgrpo.tasks.task import Task

OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
# Operands by their number of digits: drawn from 0..99 at once, only 1 question in 100 would have two small operands.
OPERANDS = (range(10), range(10, 100))


def arithmetic(*, split: str, size: int | None, seed: int) -> Task:
    """`size` distinct questions (None: 1000); the same seed and split give the same ones on any machine.

    Operation and digits of each operand are equally likely, until the small ones (100 questions) run out. A longer
    list of the same seed begins with the shorter one. No question is ever in both splits (see `split_of`).

    Raises:
        UserError: if there is no such split, or fewer questions in it.
    """
    check_split(split, "arithmetic")
    num = DEFAULT_TASK_SIZE if size is None else size
    rng = random.Random(f"{split} {seed}")
    strata = []
    for symbol, left, right in product(OPERATIONS, OPERANDS, OPERANDS):
        rows = ((f"{a} {symbol} {b} =", str(OPERATIONS[symbol](a, b))) for a in left for b in right)
        questions = [row for row in rows if split_of(row[0]) == split]
        rng.shuffle(questions)
        strata.append(questions)
    num_available = sum(map(len, strata))
    if not 0 <= num <= num_available:
        raise UserError(f"size={num}: the {split} split of arithmetic has {num_available} questions; ask for fewer")
    drawn: list[tuple[str, str]] = []
    while len(drawn) < num:
        stratum = rng.choice(strata)
        drawn.append(stratum.pop())
        if not stratum:
            strata.remove(stratum)
    columns = {"prompt": [prompt for prompt, _ in drawn], "answer": [answer for _, answer in drawn]}
    return Task(columns, extractor="number", equivalence="number")
