r"""Units after a number, which do not count: `5 cm`, `5\text{ cm}^2`, `5 miles per hour`."""

from mgrpo.answers.tokens import TEXT, is_number

# Not a unit: `3 \text{ or more}` is not 3.
_QUALIFYING_WORDS = frozenset(
    ("or", "and", "not", "more", "less", "than", "least", "most", "if", "is", "except", "mod")
)
# Dropped after a number. One letter is a unit in \text{...} alone: 5 m may be a product.
_UNITS = frozenset(
    word
    for words in (
        "degree degrees deg percent percentage cent cents dollar dollars unit units inch inches in ft feet foot yard",
        "yards mile miles mi cm mm km meter meters metre metres kilometer kilometers centimeter centimeters kg mg",
        "gram grams lb lbs oz pound pounds ounce ounces sec secs second seconds min mins minute minutes hr hrs hour",
        "hours day days week weeks month months year years mph kmh liter liters litre litres ml gallon gallons",
        "square sq cubic cu USD usd points point way ways people students times radians radian rad per",
    )
    for word in words.split()
)


def without_unit(tokens: list[str]) -> list[str]:
    r"""Drop a unit after a value: any `\text{...}`, or a word that is a known unit, with its exponent."""
    kept = tokens
    while len(kept) > 1:
        end = len(kept)
        if end > 2 and kept[-2] == "^" and kept[-1] in ("2", "3"):
            end -= 2
        elif end > 4 and kept[-4:-2] == ["^", "{"] and kept[-2] in ("2", "3"):
            end -= 4
        last = kept[end - 1]
        is_unit = last in _UNITS or (last.startswith(TEXT) and "_" not in kept[end - 3 : end - 1])
        is_unit = is_unit and _is_numeric(kept[: end - 1]) and _QUALIFYING_WORDS.isdisjoint(last[1:].split())
        if end == len(kept) and last in ("percent", "percentage", f"{TEXT}percent"):
            return [*kept[: end - 1], "%"]
        if not is_unit or end < 2:
            break
        kept = kept[: end - 1]
        while len(kept) > 1 and kept[-1] in ("/", "^"):
            kept = kept[:-1]
    return kept


def _is_numeric(tokens: list[str]) -> bool:
    return any(is_number(token) or token == r"\pi" for token in tokens)
