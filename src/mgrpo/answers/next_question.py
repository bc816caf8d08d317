"""Where a completion ends because a next question begins, which base models make up and answer."""

import re

_NEXT_QUESTION = re.compile(
    r"^[ \t#*]*+(?:Q|Question|Problem|Exercise|Human|User)[ \t]?\d{0,4}[ \t]?[:：]", re.MULTILINE
)


def parts_to_read(text: str) -> list[str]:
    """The text before the first line that begins with `Q:` or `Question 2:`, then the whole, if no answer is there.

    A text may begin with such a line itself. Without any, the whole alone.
    """
    for found in _NEXT_QUESTION.finditer(text):
        if found.start() and not text[: found.start()].isspace():
            return [text[: found.start()], text]
    return [text]
