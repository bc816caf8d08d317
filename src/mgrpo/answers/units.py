r"""The words after a number: units do not count, `million` multiplies, other words are part of the answer.

`5 cm`, `5\text{ cm}^2` and `5 miles per hour` are 5; `5\text{ million}` is 5000000; `20\text{ loss}` stays what it is.
"""

import re

from mgrpo.answers.tokens import TEXT, WORD_COMMANDS, is_number

MAGNITUDES = {"dozen": 12, "hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PERCENT = ("%", "percent", "percentage")
_UNITS = frozenset(
    word
    for words in (
        # length, area, volume
        "inch inches in ft foot feet yd yard yards mi mile miles mm cm dm km millimeter millimeters centimeter",
        "centimeters meter meters metre metres kilometer kilometers kilometre kilometres centimetre centimetres",
        "square sq squared cubic cu cubed unit units acre acres hectare hectares ml liter liters litre litres",
        "milliliter milliliters gallon gallons quart quarts pint pints cup cups",
        # mass, time, speed, physics
        "mg kg gram grams kilogram kilograms oz ounce ounces lb lbs pound pounds ton tons tonne tonnes",
        "sec secs second seconds min mins minute minutes hr hrs hour hours day days week weeks month months year",
        "years decade decades century centuries mph kmh kph per newton newtons joule joules watt watts",
        "volt volts amp amps ampere amperes ohm ohms pascal pascals hz hertz mol moles kelvin celsius fahrenheit",
        # angles, money, counts
        "degree degrees deg radian radians rad cent cents dollar dollars usd euro euros eur yen rupees",
        "point points way ways time times people person persons student students item items piece pieces",
        "solution solutions digit digits",
    )
    for word in words.split()
)
_SYMBOLS = frozenset(("m", "s", "g", "h", "L", "l", "N", "J", "W", "V", "K", "C", "F", "ms", "kJ", "kW", "fl", "kN"))
"""Units that may be products, too. Without \\text they count in a quotient alone (5 m/s): 5 m may be a product."""
MIN_WORD = 4
"""Letters of a plain word that is no product of variables."""


def split_words(tokens: list[str]) -> tuple[list[str], int, str]:
    """Take the words after a value apart.

    Returns:
        The value's tokens (with `%` where the words say percent), the factor of its magnitude words, and the words
        that are neither magnitudes nor units: part of the answer.
    """
    tokens = _words_apart(tokens)
    start = _start_of_words(tokens)
    value = tokens[:start]
    if not any(is_number(token) or token == r"\pi" for token in value) or value[-1] in ("_", "^"):
        return tokens, 1, ""
    words = [token.removeprefix(TEXT) for token in tokens[start:] if token.startswith(TEXT) or token.isalpha()]
    factor = 1
    while words and (word := words[0].casefold().removesuffix("s")) in MAGNITUDES:
        factor *= MAGNITUDES[word]
        words = words[1:]
    for spelling in (["per", "cent"], *([word] for word in _PERCENT)):
        if [word.casefold() for word in words[: len(spelling)]] == spelling:
            value, words = [*value, "%"], words[len(spelling) :]
            break
    while words and _is_unit(words[0]):
        words = words[1:]
    return value, factor, " ".join(words)


def _words_apart(tokens: list[str]) -> list[str]:
    r"""A token for each word of a \text; `m / s` at the end as two such words."""
    apart: list[str] = []
    for token in tokens:
        if token.startswith(TEXT):
            without_powers = re.sub(r"\^\s*\{?\s*-?\d+\s*\}?", " ", token[1:])
            words = (word.strip(".,;:!*()").replace(".", "") for word in re.split(r"[\s/]+", without_powers))
            apart += [TEXT + word for word in words if word]
        else:
            apart.append(token)
    end = len(apart)
    if apart[-2:-1] == ["^"]:
        end -= 2
    elif apart[-4:-2] == ["^", "{"]:
        end -= 4
    if end > 3 and apart[end - 2] == "/" and {apart[end - 3], apart[end - 1]} <= _UNITS | _SYMBOLS:
        for i in (end - 3, end - 1):
            apart[i] = TEXT + apart[i]
    return apart


def _start_of_words(tokens: list[str]) -> int:
    """Where the words at the end of some tokens begin, with the powers and slashes between them."""
    start = len(tokens)
    while start > 1:
        if _is_word(tokens[start - 1]):
            start -= 1
        elif start > 3 and tokens[start - 2] == "^" and is_number(tokens[start - 1]) and _is_word(tokens[start - 3]):
            start -= 3
        elif tokens[start - 1] == "}" and (power := _power_of_word(tokens[:start])):
            start -= power
        elif tokens[start - 1] in ("/", r"\cdot") and start < len(tokens):
            start -= 1
        else:
            break
    return start


def _power_of_word(tokens: list[str]) -> int:
    """How many tokens `cm ^ { 2 }` or `s ^ { - 1 }` at the end are; 0: there is none."""
    for length in (5, 6):
        word, power, brace, *exponent = tokens[-length:-1] if len(tokens) > length else ("", "", "", "")
        if _is_word(word) and (power, brace) == ("^", "{") and "".join(exponent).lstrip("-").isdecimal():
            return length
    return 0


def _is_word(token: str) -> bool:
    if token.startswith(TEXT):
        return True
    is_plain_word = token.isascii() and token.isalpha() and token not in WORD_COMMANDS
    return is_plain_word and (len(token) >= MIN_WORD or token.casefold() in _UNITS)


def _is_unit(word: str) -> bool:
    return all(part in _SYMBOLS or part.casefold() in _UNITS for part in word.split("-"))
