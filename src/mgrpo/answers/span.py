"""Which tokens of a completion are its answer."""

from bisect import bisect_left
from typing import Any

from mgrpo.answers.extract import Extractor


def answer_tokens(ids: list[int], answer: str | None, extractor: Extractor, tokenizer: Any) -> range:
    r"""Positions of the tokens that spell a completion's answer.

    That is the last place where the answer is written and without which another one would be read: of
    `\boxed{5}. So 15 apples` the 5 in the box. A token that holds a part of it belongs to it. Empty where there is no
    answer, or where the text does not spell it as the extractor gave it.
    """

    def text_of(num_tokens: int) -> str:
        return tokenizer.decode(ids[:num_tokens], skip_special_tokens=True, clean_up_tokenization_spaces=False)

    text = text_of(len(ids))
    start = _find(text, answer, extractor) if answer else -1
    if answer is None or start < 0:
        return range(0)
    end = start + len(answer)
    # The smallest number of tokens that is enough, where all above it are: by bisection.
    first = bisect_left(range(1, len(ids)), True, key=lambda num_tokens: len(text_of(num_tokens)) > start)
    # Not by length: of a character whose bytes are several tokens the first one decodes to one character too.
    last = bisect_left(range(1, len(ids)), True, key=lambda num_tokens: text_of(num_tokens)[:end] == text[:end])
    return range(first, last + 1)


def _find(text: str, answer: str, extractor: Extractor) -> int:
    """Where the answer is in a text: the last place if no single one decides, -1 if there is none."""
    start = last = text.rfind(answer)
    while start >= 0:
        try:
            read = extractor(text[:start] + text[start + len(answer) :])
        except Exception:  # the user's function may fail on what is left
            read = None
        if (read or "").strip() != answer:
            return start
        start = text.rfind(answer, 0, start + len(answer) - 1)
    return last
