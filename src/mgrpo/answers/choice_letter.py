"""The extractor `choice`: the letter of a multiple-choice question that a completion settles on."""

import functools
import re

from mgrpo.answers.boxes import boxes, last
from mgrpo.answers.next_question import parts_to_read


def choice(text: str, options: str = "ABCDEFGHIJ") -> str | None:
    r"""Take a letter among the options offered, as a bare capital; None without one.

    `\boxed{B}`, `The answer is (b)`, `Answer: B` and `<answer>b</answer>` state it, in either case, and so does `B is
    the correct answer`; the last of them counts. Only without them, and in capitals: `(B)`, `B)`, `**B**`, `\text{B}`,
    `option B`, `B.` where a line begins or ends, and a last line `B`; again the last. The article of `A man`, the
    pronoun of `I think` and both letters of `A or B` are none of these. Letters after the beginning of a next question
    count only where there are none before.
    """
    return next((letter for part in parts_to_read(text) if (letter := _choice(part, options))), None)


def _choice(text: str, options: str) -> str | None:
    alternatives, in_box, statement, hint = _choice_patterns(options)
    text = alternatives.sub("...", text)
    in_boxes = (match for start, end in boxes(text) if (match := in_box.match(text, start, end)))
    stated = [match for match in (last(in_boxes), last(statement.finditer(text))) if match]
    if stated:
        match = max(stated, key=lambda match: match.start(match.lastindex or 0))
        return match[match.lastindex or 0].upper()
    lines = text.strip().splitlines()
    alone = re.fullmatch(rf"[\W_]*+([{options}])[\W_]*+", lines[-1] if lines else "")
    found = alone or last(hint.finditer(text))
    return found[found.lastindex or 0] if found else None


@functools.cache
def _choice_patterns(options: str) -> tuple[re.Pattern[str], ...]:
    """Patterns of several letters, of a box's content, of an answer that is stated, and of one that is hinted at."""
    either = options + options.lower()
    command = r"(?:(?:text|math)[a-z]{0,6}\W{1,4})?"
    # Not the `a` of `a man` and `a-helix`, the `I` of `I think` and `I'm`, the C of `C = 5`, nor one of `A or B`.
    ends = r"""(?! ['’-]?\w | \s{0,2}[=^+/] | \s{1,2}or\s )
        (?: (?<![AaIi]) | (?![ \t]{1,4}(?!(?:because|since|as|with|and|but)\b)\w) )"""
    in_box = rf"""\W{{0,4}} {command} (?i:(?:option|choice)\W{{1,3}})? ([{either}])
        (?: \s{{0,2}}[.:)}}\]](?!\w) | \W{{0,6}}\Z )"""
    letter = rf"\(?[{options}]\)?"
    alternatives = rf"(?<!\w)(?:{letter},?[ ]{{1,2}}){{1,26}}or[ ]{{1,2}}{letter}(?!\w)"
    statement = rf"""(?i: \b(?:answer | (?:correct|right|best)\s(?:option|choice)) (?:\s(?:choice|option|letter))?
        \W{{0,4}} (?:\bis\b|[:=：]) ) \W{{0,10}} (?i:(?:option|choice|letter)\W{{1,4}})? {command} ([{either}]) {ends}
        | (?:答案|选择?) [是为：:\s]{{0,4}} \W{{0,4}} ([{either}])(?![A-Za-z])
        | <answer> \W{{0,4}} ([{either}]) \W{{0,4}} </answer>
        | (?<![\w'’-])\(?([{options}])[)*_]{{0,3}}[ ]is[ ](?:the[ ])?(?:correct|right|best)\b"""
    hint = rf"""(?<![\w\\])\(\s?([{options}])\s?\)
        | \*\*\s?\(?([{options}])(?:\)|\*\*|\.(?=[\s*]))
        | \\(?:text|math)[a-z]{{0,6}}\{{\s?\(?([{options}])[).]?\s?\}}
        | \b(?i:option|choice|answer)\s\(?([{options}]){ends}
        | ^[^\w\n]{{0,4}}([{options}])[.)](?=[\s*]|\Z)
        | (?<![\w(.'’-])([{options}])\)(?![\w)])
        | (?<![\w.'’-])(?!I)([{options}])\.(?=[^\w\n]{{0,4}}$)"""
    flags = re.VERBOSE | re.MULTILINE
    verbose = (in_box, statement, hint)
    return re.compile(alternatives), *(re.compile(pattern, flags) for pattern in verbose)
