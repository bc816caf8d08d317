"""Benchmarks of lm-evaluation-harness: its data loading, its prompts and its scoring, from its own configurations.

The package contains the configurations but not the data sets. They are downloaded from the Hub, or read from a local
copy with the same columns.
"""

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from mgrpo.errors import UserError, first_line
from mgrpo.tasks.task import Columns

LIBRARY = "lm-eval"
GATED = ("Idavidrein/gpqa",)
"""Data sets that the Hub gives access to on request."""
SPLITS = ("training_split", "validation_split", "test_split")

_logger = logging.getLogger("mgrpo.evaluation")


@dataclass(frozen=True)
class HarnessQuestion:
    """A question as the library has it.

    Attributes:
        document: its columns, after the library's own preparation.
        prompt: the library's prompt, zero-shot.
        target: the library's right answer.
        score: whether a completion is right by the library's own scoring; None if that runs code.
    """

    document: dict[str, Any]
    prompt: str
    target: str
    score: Callable[[str], bool] | None


def require_harness() -> str:
    """The library's version.

    Raises:
        UserError: if it is not installed.
    """
    if find_spec("lm_eval") is None:
        raise UserError('the benchmark needs lm-evaluation-harness, which is not installed: pip install "mgrpo[eval]"')
    return version("lm_eval")


def load_harness(
    configs: Sequence[str], columns: Columns | None, seed: int, *, metric: str | None, filter_name: str = "none"
) -> list[HarnessQuestion]:
    """Load the questions of one or several of the library's tasks, which take turns.

    Args:
        configs: paths of their files under the library's `tasks/`.
        columns: a local copy; None: the library downloads its own.
        seed: of what the library shuffles, such as the options of a question.
        metric: the library's metric; None: it runs code here, and is never used.
        filter_name: the library's filter whose output the metric is given.

    Raises:
        UserError: if the library is missing, or the data is not available or lacks a column.
    """
    require_harness()
    by_task = []
    with _quiet_library():
        for config in configs:
            task = _build(config, columns, runs_code=metric is None)
            if task is None:
                continue
            try:
                random.seed(seed)
                documents = list(task.eval_docs)
                by_task.append([_question(task, document, metric, filter_name) for document in documents])
            except (KeyError, AssertionError, TypeError, AttributeError) as error:
                raise _lacks_columns(task.config.dataset_path, error) from error
    if not by_task:
        raise UserError(f"the data has no question for {configs[0]} of lm-evaluation-harness; give one with questions")
    in_turn = chain.from_iterable(zip_longest(*by_task))
    return [question for question in in_turn if question is not None]


def _question(task: Any, document: dict[str, Any], metric: str | None, filter_name: str) -> HarnessQuestion:
    prompt = f"{task.config.description or ''}{task.doc_to_text(document)}"
    target = str(task.doc_to_target(document))

    def score(completion: str) -> bool:
        from lm_eval.api.instance import Instance

        instance = Instance("generate_until", document, ("", {}), 0, resps=[completion])
        task._instances = [instance]  # the library has no other way to apply its filters
        try:
            task.apply_filters()
            return bool(task.process_results(document, [instance.filtered_resps[filter_name]])[metric])
        except Exception as error:  # a completion can be any text, and the library does not expect all of it
            _logger.warning("%s cannot score a completion (%s), which counts as wrong there", LIBRARY, error)
            return False

    return HarnessQuestion(document, prompt, target, None if metric is None else score)


def _build(config: str, columns: Columns | None, *, runs_code: bool) -> Any:
    """One of the library's tasks; None if a local copy has no question for it, which the library cannot handle."""
    import lm_eval
    from datasets import Dataset, DatasetDict
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml

    # Importing the functions of a benchmark of programs would run code.
    settings = load_yaml(Path(lm_eval.__file__).parent / "tasks" / config, resolve_func=not runs_code)
    settings.pop("tag", None)
    settings |= {"num_fewshot": 0, "fewshot_split": None, "fewshot_config": None}
    if runs_code:
        settings |= {"metric_list": None, "filter_list": None, "unsafe_code": False}
    if columns is not None:
        try:
            local = Dataset.from_dict({name: list(values) for name, values in columns.items()})
        except Exception as error:  # pyarrow's
            raise UserError(f"the data has values of several kinds in one column ({first_line(error)})") from error
        prepare = settings.get("process_docs")
        with suppress(KeyError, TypeError, AttributeError):  # missing columns, which are reported below
            if prepare is not None and not len(prepare(local)):
                return None
        splits = {settings[split] for split in SPLITS if settings.get(split)}
        settings["custom_dataset"] = lambda **_: DatasetDict(dict.fromkeys(splits, local))
    try:
        return ConfigurableTask(config=settings)
    except Exception as error:  # datasets, huggingface_hub and the library raise types of their own
        name = settings["dataset_path"]
        if columns is not None:
            raise _lacks_columns(name, error) from error
        is_gated = name in GATED or "gated" in str(error).lower()
        gate = "it is gated: ask for access on its page and run `hf auth login`" if is_gated else "download it first"
        raise UserError(
            f"the data set {name!r} is not available from the Hub ({first_line(error)}); {gate}, on a machine with a "
            "network, or give a local copy with its columns by --data"
        ) from error


def _lacks_columns(data_set: str, error: Exception) -> UserError:
    return UserError(
        f"the data does not have the columns of {data_set} on the Hub, which lm-evaluation-harness reads "
        f"({type(error).__name__}: {first_line(error)}); give a copy with the same columns"
    )


@contextmanager
def _quiet_library() -> Iterator[None]:
    """Keeps Python's global random state, which the library shuffles with, and silences its bars and warnings."""
    import datasets

    logger, state = logging.getLogger("lm_eval"), random.getstate()
    level, shows_bars, caches = logger.level, datasets.is_progress_bar_enabled(), datasets.is_caching_enabled()
    logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    datasets.disable_caching()  # or the order of an earlier seed would come back
    try:
        yield
    finally:
        random.setstate(state)
        logger.setLevel(level)
        if shows_bars:
            datasets.enable_progress_bars()
        if caches:
            datasets.enable_caching()
