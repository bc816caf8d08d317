"""Answers that a mathematics parser might compute on for minutes. They are compared as text instead."""

import re

MAX_LENGTH = 512
"""In characters: a parser's time grows with them, and no answer is so long."""
MAX_DEPTH = 20
"""Open brackets: 250 of them keep math-verify's parser busy until its own timeout, 5 s."""
MAX_EXPONENT_DIGITS = 4

_FUNCTIONS = re.compile(r"\\(?:sum|prod|i*int|lim)(?![a-z])|\\[dt]?binom.*\d{5}|(?:\d{4}|[)}\]!])\s*!")
_TOKENS = re.compile(r"\^|[({\[]|[)}\]]|\d+|\\?[A-Za-z]+|\S")


def is_costly(answer: str) -> bool:
    r"""Whether an answer is too much for a parser.

    It is if it is long or deep, has a power in an exponent or a power of a power (9^{9^9}, e^{x^2}), an exponent with
    a number of more than 4 digits, the factorial of a large number, or a sum, product, integral or limit.
    """
    if len(answer) > MAX_LENGTH or _FUNCTIONS.search(answer):
        return True
    depth_of_exponent: list[bool] = []  # for each open bracket: is it, or is it inside, an exponent
    had_power: list[bool] = []  # for each open bracket: was there a power before it, in the bracket around it
    is_exponent = False  # the next token is the exponent of what ended last
    ended_with_power = False  # what ended last has a power in it
    has_power = False  # the innermost open bracket has one so far
    previous = ""
    for token in _TOKENS.findall(answer.replace("**", "^")):
        in_exponent = is_exponent or (bool(depth_of_exponent) and depth_of_exponent[-1])
        if token == "^":
            if in_exponent or ended_with_power:
                return True
            is_exponent = True
        elif token in "({[":
            if len(had_power) == MAX_DEPTH:
                return True
            depth_of_exponent.append(in_exponent)
            had_power.append(has_power)
            has_power = previous == "}" and token == "{" and ended_with_power  # \frac{9^9}{1}^9
            is_exponent = ended_with_power = False
        elif token in ")}]":
            before = had_power.pop() if had_power else False
            was_exponent = depth_of_exponent.pop() if depth_of_exponent else False
            ended_with_power = has_power or was_exponent
            has_power = before or ended_with_power
            is_exponent = False
        elif token in "+-" and is_exponent:
            pass  # 2^-3
        else:
            if in_exponent and token.isdigit() and len(token) > MAX_EXPONENT_DIGITS:
                return True
            ended_with_power, is_exponent = is_exponent, False
            has_power = has_power or ended_with_power
        previous = token
    return False
