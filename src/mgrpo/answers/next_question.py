"""Where a completion ends because a next question begins, which base models make up and answer."""

import re

_NEXT_QUESTION = re.compile(
    r"^[ \t#*]*+(?:Q|Question|Problem|Exercise|Human|User)[ \t]?\d{0,4}[ \t]?[:：]", re.MULTILINE
)


def before_next_question(text: str) -> str:
    """The text before the first line that begins with `Q:` or `Question 2:`; a text may begin with one itself."""
    for found in _NEXT_QUESTION.finditer(text):
        if not text[: found.start()].isspace() and found.start():
            return text[: found.start()]
    return text
