"""The extractor `number`: a completion's last number."""

import re
import unicodedata

from mgrpo.answers.boxes import last
from mgrpo.answers.next_question import parts_to_read

# In 1,2345 there is no thousands separator, and none is searched for after the first comma: that would be quadratic.
_TEN_TO_THE = r"(?:\\times|\\cdot|[×·*])[ ]?10(?:\^|\*\*)"
_SPACES = " \u00a0\u2009\u202f"
_UNSIGNED = rf"""(?:
    (?: (?<!\d[.,])[1-9]\d{{0,2}}(?:,\d{{3}})++(?!\d|,\d)(?:\.\d++)?+
      | (?<![\d.,])(?<!\d[{_SPACES}])[1-9]\d{{0,2}}(?:[{_SPACES}]\d{{3}})++(?!\d|[{_SPACES},]\d)(?:\.\d++)?+
      | \d++(?:\.\d++)?+
      | (?<![\w.])\.\d++ )
    (?: [eE][-+]?\d++(?!\w) | [ ]?{_TEN_TO_THE}(?:\{{[-+]?\d++\}}|[-+]?\d++) )?+
)"""
# A minus directly after a digit, letter or bracket subtracts: the last number of 5-3 is 3.
_NUMBER = re.compile(
    rf"""(?P<sign> (?<![\w)\]}}%])- | (?<![\w)\]}}%$])-\$ )?
    (?: \\[dtc]?frac[ ]?(?:\{{[ ]?(?P<top>-?{_UNSIGNED})[ ]?\}}|(?P<top_digit>\d))
            [ ]?(?:\{{[ ]?(?P<bottom>{_UNSIGNED})[ ]?\}}|(?P<bottom_digit>\d))
      | (?P<plain>{_UNSIGNED}(?:/-?{_UNSIGNED})*+) )
    (?P<percent>[ ]?%)?+""",
    re.VERBOSE,
)
_HEADING = re.compile(r"[.:)]\s*+\w")
_SPELLINGS = {"\\!": "", "{,}": ",", "\\,": ",", "\\%": "%", "\\$": "$", "−": "-"}


def number(text: str) -> str | None:
    r"""Take the last number: '-1234.5', '3/4', '50%', '1.5e-3'; None without one.

    The number of the last line that has it as `#### 42` comes first. Thousands separators (`,`, `{,}`, `\,`, a space)
    are taken out, `\frac{3}{4}` becomes 3/4 and `1.5 \times 10^{-3}` 1.5e-3. A mixed number is none: `2 1/2` gives
    1/2. Numbers after the beginning of a next question count only where there are none before.
    """
    for spelling, plain in _SPELLINGS.items():
        text = text.replace(spelling, plain)
    for part in parts_to_read(text):
        if found := _marked_number(part) or last(_NUMBER.finditer(part)):
            return _plain_number(found)
    return None


def _marked_number(text: str) -> re.Match[str] | None:
    """The number of the last line with `#### 42`; a heading such as `#### 2. Add them` is none."""
    for text_line in reversed(text.splitlines()):
        _, mark, rest = text_line.rpartition("####")
        if mark:
            rest = rest.replace("\\(", "").lstrip(" \t$*(")
            found = _NUMBER.match(rest)
            if found and not _HEADING.match(rest, found.end()):
                return found
    return None


def _plain_number(found: re.Match[str]) -> str:
    sign = "-" if found["sign"] else ""
    if found["plain"]:
        parts = found["plain"].split("/")
    else:
        parts = [found["top"] or found["top_digit"], found["bottom"] or found["bottom_digit"]]
    if len(parts) > 2:  # a date
        sign, parts = "", parts[-1:]
    if sign and parts[0].startswith("-"):
        sign, parts[0] = "", parts[0][1:]
    answer = re.sub(rf"[,{_SPACES}]", "", "/".join(parts))
    answer = re.sub(_TEN_TO_THE + r"\{?([-+]?\d++)\}?", r"e\1", answer).lower().replace("e+", "e")
    if not answer.isascii():  # other scripts' digits
        answer = "".join(str(unicodedata.decimal(character, character)) for character in answer)
    return sign + answer + ("%" if found["percent"] else "")
