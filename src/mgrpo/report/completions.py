"""Tables of completions as the page shows them: prompt by prompt, and as many as fit into a file."""

import gzip
import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgrpo.errors import UserError
from mgrpo.runs.reading import read_table

TYPES = {
    **dict.fromkeys(("prompt", "completion", "answer", "pseudo_label", "model", "right_answer"), "string"),
    **dict.fromkeys(("group", "answer_id", "num_tokens"), "int64"),
    **dict.fromkeys(("entropy", "fence", "reward", "advantage"), "float64"),
    **dict.fromkeys(("kept", "is_match", "is_tie", "is_right"), "bool"),
}
"""Of a table's columns; it may have others."""
WRONG_LABEL, UNLABELLED, TIE, DROPPED = 1, 2, 4, 8
"""What the page filters groups by, as bits."""
COLUMNS = ("model", "answer", "num_tokens", "entropy", "kept", "reward", "advantage", "is_right")
"""Of a table, that the page takes as they are."""
SHARED_COLUMNS = ("right_answer", "fence", "is_tie")
"""With one value in a whole group."""
NO_ANSWER = -1
DIGITS = 4
"""Significant ones of entropies, rewards and advantages."""
CHUNK_BYTES = 500_000
"""Of JSON text that the page unpacks at once: some 10 ms."""
LEAST_STEPS = 40
"""So many are kept before long texts are cut."""
CUTS = (8000, 4000, 2000, 1000, 500, 250, 125)
"""Characters to which texts are cut in turn, till the steps fit."""

Group = dict[str, Any]


@dataclass(frozen=True)
class Summary:
    """What is known about a table without looking at a text: the flags of each group, and two entropies.

    A tenth of the policy's completions have less than `entropy_low`, a tenth more than `entropy_high`, in nats per
    token; None where they were not recorded.
    """

    flags: list[int]
    entropy_low: float | None
    entropy_high: float | None


@dataclass(frozen=True)
class Embedded:
    """Completions that go into the file: chunks of compressed JSON, and the steps in each.

    Texts of more than `cut` characters were cut; None: all are whole.
    """

    steps: list[list[int]]
    chunks: list[bytes]
    cut: int | None


def read_groups(path: Path) -> list[Group] | None:
    """Read the groups of a table; None if it is not whole, or no table of completions."""
    try:
        table = read_table(path, TYPES)
    except (FileNotFoundError, UserError):
        return None
    if not table.get("prompt") or "completion" not in table:
        return None
    return [_group(table, position, start, end) for position, (start, end) in enumerate(_bounds(table))]


def _bounds(table: dict[str, list[Any]]) -> list[tuple[int, int]]:
    """Where each group begins and ends. Older runs did not number them: the policy's completions come first."""
    if "group" in table:
        marks: list[Any] = table["group"]
        is_first = [now != before for before, now in zip(marks, marks[1:], strict=False)]
    else:
        marks = list(zip(table["prompt"], table.get("model") or table["prompt"], strict=True))
        is_first = [
            now[0] != before[0] or (before[1], now[1]) == ("momentum", "policy")
            for before, now in zip(marks, marks[1:], strict=False)
        ]
    starts = [0, *(i for i, first in enumerate(is_first, start=1) if first)]
    return list(zip(starts, [*starts[1:], len(table["prompt"])], strict=True))


def _group(table: dict[str, list[Any]], position: int, start: int, end: int) -> Group:
    part = {name: column[start:end] for name, column in table.items()}
    label = part["pseudo_label"][0] if "pseudo_label" in part else None
    answers = part.get("answer") or [None] * (end - start)
    group: Group = {
        "index": part["group"][0] if "group" in part else position,
        "prompt": part["prompt"][0] or "",
        "label": label,
        "text": [text or "" for text in part["completion"]],
        "answer_id": part.get("answer_id") or _number(answers),
        "is_match": part.get("is_match") or [label is not None and answer == label for answer in answers],
    }
    group |= {name: rounded(part[name][0]) for name in SHARED_COLUMNS if name in part}
    group |= {name: [rounded(value) for value in part[name]] for name in COLUMNS if name in part}
    verdicts = zip(group["is_match"], group.get("is_right", []), strict=False)
    # None where no completion agrees with the label, or it is not known whether they are right.
    group["label_is_right"] = next((right for is_match, right in verdicts if is_match), None)
    is_flagged = {
        WRONG_LABEL: group["label_is_right"] is False,
        UNLABELLED: label is None,
        TIE: bool(group.get("is_tie")),
        DROPPED: not all(group.get("kept", [])),
    }
    group["flags"] = sum(bit for bit, flagged in is_flagged.items() if flagged)
    return group


def _number(answers: Sequence[str | None]) -> list[int]:
    """Ids of answers: equal texts have equal ids."""
    first = {answer: number for number, answer in enumerate(dict.fromkeys(a for a in answers if a is not None))}
    return [NO_ANSWER if answer is None else first[answer] for answer in answers]


def rounded(value: Any, digits: int = DIGITS) -> Any:
    """A float with so many significant digits, None where it is not finite; anything else as it is."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def summarize(groups: Sequence[Group]) -> Summary:
    """What the page must know about a step before its completions are shown."""
    entropies = [
        entropy
        for group in groups
        for model, entropy in zip(group.get("model", []), group.get("entropy", []), strict=False)
        if model == "policy" and entropy is not None
    ]
    low, *_, high = statistics.quantiles(entropies, n=10, method="inclusive") if len(entropies) > 1 else (None, None)
    return Summary([group["flags"] for group in groups], low, high)


def summarize_table(path: Path) -> Summary | None:
    """The summary of a table; None if it is not whole."""
    groups = read_groups(path)
    return None if groups is None else summarize(groups)


def summarize_tables(
    tables: dict[int, Path], summarize_table: Callable[[Path], Summary | None] = summarize_table
) -> dict[int, Summary]:
    """The summaries of tables by their steps; one that is not whole is left out."""
    summaries = {step: summarize_table(path) for step, path in tables.items()}
    return {step: summary for step, summary in summaries.items() if summary is not None}


def step_text(step: int, groups: Sequence[Group], cut: int | None = None) -> str:
    """A step's groups as JSON; ASCII, so that whatever a model wrote survives."""
    if cut is not None:
        groups = [
            {**group, "prompt": _cut(group["prompt"], cut), "text": [_cut(text, cut) for text in group["text"]]}
            for group in groups
        ]
    return json.dumps({"step": step, "groups": groups}, separators=(",", ":"), default=str, allow_nan=False)


def _cut(text: str, length: int) -> Any:
    """A long text's two ends: the question or beginning is at the front, the answer at the back."""
    if len(text) <= length:
        return text
    half = length // 2
    return {"head": text[:half], "left_out": len(text) - 2 * half, "tail": text[-half:]}


def embed(steps: Sequence[int], read: Callable[[int], list[Group]], budget: int) -> Embedded:
    """Take as many steps as fit, evenly, the first and the last among them; where these are few, long texts are cut.

    Args:
        steps: ascending.
        read: reads a step's groups.
        budget: of all chunks, in bytes.
    """

    def sizes(steps: Sequence[int], cut: int | None = None) -> dict[int, int]:
        return {step: len(compress(step_text(step, read(step), cut))) for step in steps}

    chosen, cut = _that_fit(sizes(steps), budget), None
    if len(chosen) < min(LEAST_STEPS, len(steps)):
        candidates = thin(steps, LEAST_STEPS)
        for cut in CUTS:
            chosen = _that_fit(sizes(candidates, cut), budget)
            if chosen == candidates:
                break

    chunks: list[dict[int, str]] = []
    filled = CHUNK_BYTES
    for step in chosen:
        text = step_text(step, read(step), cut)
        if filled + len(text) > CHUNK_BYTES:
            chunks.append({})
            filled = 0
        chunks[-1][step] = text
        filled += len(text)
    return Embedded([list(texts) for texts in chunks], [compress(f"[{','.join(c.values())}]") for c in chunks], cut)


def _that_fit(sizes: dict[int, int], budget: int) -> list[int]:
    """As many steps, evenly, as their sizes allow."""
    thinned = (thin(list(sizes), num_kept) for num_kept in range(len(sizes), 0, -1))
    return next((kept for kept in thinned if sum(sizes[step] for step in kept) <= budget), [])


def thin(steps: Sequence[int], num_kept: int) -> list[int]:
    """So many steps (at least 1), evenly, the first and the last among them; a single one is the last."""
    if num_kept >= len(steps):
        return list(steps)
    if num_kept == 1:
        return [steps[-1]]
    return [steps[round(i * (len(steps) - 1) / (num_kept - 1))] for i in range(num_kept)]


def compress(text: str) -> bytes:
    """As the page unpacks it; the same text gives the same bytes."""
    return gzip.compress(text.encode("utf-8"), compresslevel=6, mtime=0)
