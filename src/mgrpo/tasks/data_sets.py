"""Data sets of questions: `file` and `hub` as they are, MATH and GSM8K with the way to ask and to read an answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mgrpo.answers.boxes import boxed
from mgrpo.answers.last_number import number
from mgrpo.tasks.read import find_column, read_columns, read_file, read_hub, required
from mgrpo.tasks.task import Columns, Task

BOX_TEMPLATE = "{prompt}\nPlease reason step by step, and put your final answer within \\boxed{}."
NUMBER_TEMPLATE = '{prompt}\nPlease reason step by step, and end with "#### " and the answer as a number.'


@dataclass(frozen=True)
class QuestionSet:
    """A data set of questions: called with what the registry passes, it reads them.

    Attributes:
        form: how the task is written where its place has to be named: `file:PATH`.
        source: the place where none is named, and its configuration there; None: one has to be named.
        read: reads a place; its keywords are `split` and `dataset_config`.
        questions: usual names of the column with the questions.
        gold: usual names of the column with the gold answers, and how each one's value is read.
        asked: the template and the readers of a `Task`.
    """

    form: str = ""
    source: tuple[str, str | None] | None = None
    read: Callable[..., Columns] = read_columns
    questions: Sequence[str] = ("prompt",)
    gold: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    asked: Mapping[str, str] = field(default_factory=dict)

    def __call__(
        self,
        argument: str | None,
        *,
        split: str,
        size: int | None,
        seed: int,
        dataset_config: str | None = None,
        prompt_column: str | None = None,
        answer_column: str | None = None,
    ) -> Task:
        """The questions, and the gold answers if there are any.

        Raises:
            UserError: if the data cannot be found or read, or lack a column.
        """
        if self.source is None or argument:
            place = required(argument, self.form)
        else:
            place, dataset_config = self.source[0], dataset_config or self.source[1]
        columns = self.read(place, split=split, dataset_config=dataset_config)
        asked = (prompt_column, self.questions, "prompt_column", place)
        wanted: dict[str, Sequence[Any]] = {"prompt": find_column(columns, *asked, taken=answer_column)}
        if answer_column is not None:
            question = prompt_column or next(name for name in self.questions if name in columns)
            values = find_column(columns, answer_column, (), "answer_column", place, taken=question)
            reader = next(iter(self.gold.values()), None)
            wanted["answer"] = values if reader is None else list(map(reader, values))
        elif (name := next((name for name in self.gold if name in columns), None)) is not None:
            wanted["answer"] = list(map(self.gold[name], columns[name]))
        return Task(wanted, **self.asked)  # type: ignore[arg-type]


file = QuestionSet("file:PATH", read=lambda place, **_: read_file(place))
"""A local file; it is one split, whatever that is called."""

hub = QuestionSet("hub:NAME", read=lambda place, *, split, dataset_config: read_hub(place, dataset_config, split))
"""A data set on the Hub."""

math = QuestionSet(
    source=("nlile/hendrycks-MATH-benchmark", None),
    questions=("problem", "question", "prompt"),
    gold={  # some mirrors keep the box around the answer; others have only the solution, whose last box it is in
        "answer": lambda value: (boxed(value) or value) if isinstance(value, str) else value,
        "solution": lambda value: boxed(value) if isinstance(value, str) else None,
    },
    asked={"prompt_template": BOX_TEMPLATE, "extractor": "boxed", "equivalence": "math"},
)
"""MATH or one of its mirrors, on the Hub or in a file."""

gsm8k = QuestionSet(
    source=("openai/gsm8k", "main"),
    questions=("question", "problem", "prompt"),
    # read as a completion is: the number after the last ####, else the last number
    gold={"answer": lambda value: None if value is None else number(str(value))},
    asked={"prompt_template": NUMBER_TEMPLATE, "extractor": "number", "equivalence": "number"},
)
"""GSM8K, on the Hub or in a file."""
