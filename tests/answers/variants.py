r"""Other spellings of an answer, as language models write them, and near misses, which look alike and differ.

A rule is a function from a gold answer to other answers; it gives none where it does not apply. A spelling keeps the
value, a near miss never does. The rules know every form of answer that MATH-500 has, and no other. Left out is what
depends on the question: whether 52 may stand for 52_8, cm^3 for cm^2, a row of numbers for a column.
"""

import itertools
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

from mgrpo.answers import answer_ids

Rules = dict[str, Callable[[str], Iterable[str]]]
SURROUNDINGS: Rules = {}
SPELLINGS: Rules = {}
NEAR_MISSES: Rules = {}

EXPRESSIONS = ("integer", "number", "expression")

# The classes of MATH-500's 301 different answers that hold more than one, by hand.
EQUAL = {
    frozenset(texts)
    for texts in (
        ("2 \\sqrt{5}", "2\\sqrt{5}"),
        ("\\frac{1}{4}", "\\frac14"),
        ("10,\\!080", "10080"),
        ("1,-2", "-2,1"),  # solutions without order; (-2,1) is a point, another answer
        ("x=5", "5"),
        # A unit may be left out. So 36 meets an angle and an amount of money; one question never has both.
        ("90^\\circ", "90"),
        ("120^\\circ", "120"),
        ("30^\\circ", "30"),
        ("36^\\circ", "36", "\\$36"),
        ("15\\mbox{ cm}^2", "15"),
    )
}
# 52_8 is 42, but to a question for digits in base 8 they are two answers: to merge them or not, both is right.
OTHER_BASES = {"52_8": "42", "40_9": "36", "204_5": "54"}

# What a fraction holds: braces nest once, as in \frac{3\sqrt{3}}{4}.
CONTENT = r"((?:[^{}]|\{[^{}]*\})+)"
FRACTION = rf"\\d?frac\{{{CONTENT}\}}\{{{CONTENT}\}}"
THOUSANDS = r"\d{1,3}(?:,(?:\\!\s*)?\d{3})+"
NUMBER = r"(-?)(?:(\d+\.?\d*|\.\d+)|(\d*)\s*\\d?frac\{(-?\d+)\}\{(\d+)\})"
BASE = r"(\d+)_\{?(\d)\}?"
INTERVAL = r"([(\[])\s*([^,()\[\]]+?)\s*,\s*([^,()\[\]]+?)\s*([)\]])"
TOKEN = r"\\(?:text|mbox|begin|end)\{[^}]*\}|\\[A-Za-z]+|\\.|\d+|\S"
IMPLICIT_PRODUCT = r"(?<=\d)\s*(?=[a-zA-Z]|\\pi|\\sqrt)|(?<=\))\s*(?=\()"


def rule_of(rules):
    """Adds a function to the rules, under its name."""

    def add(function):
        rules[function.__name__.replace("_", " ")] = function
        return function

    return add


surrounding, spelling, near_miss = rule_of(SURROUNDINGS), rule_of(SPELLINGS), rule_of(NEAR_MISSES)


def rewrite(name, pattern, *replacements, kinds=None):
    """Adds the spelling that puts a replacement in the place of each match, once for each replacement."""

    def rule(gold):
        text = braced(gold)
        if (kinds is None or kind(gold) in kinds) and re.search(pattern, text):
            for replacement in replacements:
                yield re.sub(pattern, replacement, text)

    SPELLINGS[name] = rule


# What is measured.


def load_answers(name: str, directory: str) -> list[str]:
    return [json.loads(line)["answer"] for line in (Path(directory) / name).read_text("utf-8").splitlines()]


def pairs_of(rules: Rules, golds: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """For each rule its pairs of a gold and another answer. What several rules give counts once."""
    pairs = defaultdict(list)
    for gold in dict.fromkeys(golds):
        seen = {gold}
        for name, rule in rules.items():
            for other in rule(gold):
                if other not in seen:
                    seen.add(other)
                    pairs[name].append((gold, other))
    return dict(pairs)


def judge(pairs: dict[str, list[tuple[str, str]]]) -> dict[str, list[bool]]:
    """For each rule, whether the answers of each pair share an id in a group of their own."""
    groups = [list(pair) for of_rule in pairs.values() for pair in of_rule]
    verdicts = (ids[0] == ids[1] for ids in answer_ids(groups, "math"))
    return {name: [next(verdicts) for _ in of_rule] for name, of_rule in pairs.items()}


def spellings_of(golds: Iterable[str]) -> dict[str, list[str]]:
    """Each gold answer, and behind it what the rules spell it as."""
    texts = {gold: [gold] for gold in golds}
    for rules in (SURROUNDINGS, SPELLINGS):
        for gold, other in itertools.chain(*pairs_of(rules, golds).values()):
            texts[gold].append(other)
    return texts


def merged(texts: dict[str, list[str]]) -> set[frozenset[str]]:
    """Which golds have texts that share an id, when all texts of all golds stand in one group."""
    owners = [gold for gold, of_gold in texts.items() for _ in of_gold]
    classes = defaultdict(set)
    for gold, number in zip(owners, answer_ids([[*itertools.chain(*texts.values())]], "math")[0], strict=True):
        classes[number].add(gold)
    return {frozenset(golds) for golds in classes.values() if len(golds) > 1}


def astray(golds: Iterable[str]) -> list[tuple[str, str]]:
    """The near misses that share an id with any spelling of their gold, all in one group."""
    texts, misses = spellings_of(golds), defaultdict(list)
    for gold, miss in itertools.chain(*pairs_of(NEAR_MISSES, golds).values()):
        misses[gold].append(miss)
    groups = answer_ids([[*of_gold, *misses[gold]] for gold, of_gold in texts.items()], "math")
    return [
        (gold, miss)
        for (gold, of_gold), ids in zip(texts.items(), groups, strict=True)
        for miss, number in zip(misses[gold], ids[len(of_gold) :], strict=True)
        if number in ids[: len(of_gold)]
    ]


def wrong_classes(classes: set[frozenset[str]]) -> set[frozenset[str]]:
    """Where the classes of MATH-500's answers differ from `EQUAL`: merged wrongly, or missing."""
    mixed = {texts for texts in classes for gold, value in OTHER_BASES.items() if gold in texts and value not in texts}
    without = {texts - set(OTHER_BASES) for texts in classes}
    return mixed | ({texts for texts in without if len(texts) > 1} ^ EQUAL)


def share(verdicts: dict[str, list[bool]]) -> float:
    every = [verdict for of_rule in verdicts.values() for verdict in of_rule]
    return sum(every) / len(every)


def report(pairs: dict[str, list[tuple[str, str]]], verdicts: dict[str, list[bool]], expected: bool) -> str:
    """The pairs that came out otherwise than expected, by rule."""
    lines = []
    for name, of_rule in pairs.items():
        wrong = [pair for pair, verdict in zip(of_rule, verdicts[name], strict=True) if verdict != expected]
        lines += [f"{name}: {len(wrong)} of {len(of_rule)}"] if wrong else []
        lines += [f"    {gold!r} and {other!r}" for gold, other in wrong]
    return "\n".join(lines)


# Reading a gold answer.


def braced(text):
    r"""All arguments in braces, \frac9{19} as \frac{9}{19}; \left and \right left out."""
    text = re.sub(r"\\(?:left|right)\b\s*", "", text)
    text = re.sub(r"(\\d?frac)\s*(\d)", r"\1{\2}", text)
    text = re.sub(rf"(\\d?frac\{{{CONTENT}\}})\s*(\d)", r"\1{\3}", text)
    return re.sub(r"\\sqrt\s*(\d)", r"\\sqrt{\1}", text)


def number_of(text):
    """The value of a decimal, with thousands separators or without, a fraction or a mixed number; else None."""
    if re.fullmatch(THOUSANDS, text):
        return Fraction(re.sub(r"\D", "", text))
    if not (match := re.fullmatch(NUMBER, braced(text))):
        return None
    sign, decimal, whole, numerator, denominator = match.groups()
    value = Fraction(decimal) if decimal else Fraction(whole or 0) + Fraction(int(numerator), int(denominator))
    return -value if sign else value


def decimal(value):
    """A terminating decimal of at most 8 places; an empty text where there is none."""
    scaled = abs(value) * 10**8
    if scaled.denominator != 1:
        return ""
    whole, places = divmod(int(scaled), 10**8)
    return ("-" if value < 0 else "") + f"{whole}.{places:08d}".rstrip("0").rstrip(".")


def measure(gold):
    """The number and the unit of an answer with a unit; else None."""
    if gold.startswith("\\$"):
        return gold[2:], "dollars"
    if match := re.fullmatch(r"(.+?)\s*(?:\^\\circ|\\(?:text|mbox)\{ (\w+)\}(?:\^2)?)", gold):
        return match[1], match[2] or "degrees"
    return None


def kind(gold):
    tests = {
        "integer": re.fullmatch(r"-?\d+", gold),
        "number": number_of(gold) is not None,
        "word": re.fullmatch(r"\\text\{\w+\}", gold),
        "choice": re.fullmatch(r"\\text\{\(\w\)\}", gold),
        "measure": measure(gold),
        "matrix": "pmatrix" in gold,
        "equation": "=" in gold,
        "base": re.fullmatch(BASE, gold),
        "interval": re.search(r"infty|cup|\]|^\(-\\sqrt", gold),
        "tuple": re.fullmatch(r"\([^()]*,[^()]*\)", braced(gold)),
        "solutions": re.search(r",|\\pm", gold),
        "expression": True,
    }
    return next(name for name, holds in tests.items() if holds)


def variables(gold):
    return sorted(set(re.findall(r"(?<![a-z\\])[a-hj-zA-Z](?![a-z])", gold)))


def is_constant(gold):
    return kind(gold) in EXPRESSIONS and not variables(gold)


def entries(gold):
    return [entry.strip() for entry in braced(gold)[1:-1].split(",")]


def solutions(gold):
    r"""The members of a list without order; a \pm b are two."""
    parts = []
    for part in gold.removeprefix("\\{").removesuffix("\\}").split(","):
        parts += [part.replace("\\pm", sign).strip() for sign in "+-"] if "\\pm" in part else [part.strip()]
    return parts


def rows(gold):
    inside = re.sub(r"\\(?:begin|end)\{pmatrix\}", "", gold)
    return [[entry.strip() for entry in row.split("&")] for row in inside.split("\\\\")]


def matrix(of_rows, environment="pmatrix", between=" & ", after=r" \\ "):
    return rf"\begin{{{environment}}} {after.join(between.join(row) for row in of_rows)} \end{{{environment}}}"


def terms(text):
    """The terms of a sum, with their signs."""
    parts, depth = [""], 0
    for token in re.findall(TOKEN, braced(text)):
        depth += (token in "({[") - (token in ")}]")
        if token in "+-" and depth == 0 and parts != [""]:
            parts.append("")
        parts[-1] += (" " if re.search(r"\\[a-z]+$", parts[-1]) and token[0].isalpha() else "") + token
    return parts


def total(parts, space):
    first, *rest = parts
    return first.removeprefix("+") + "".join(
        f"{space}{sign}{space}{term}" for sign, term in ((p[0], p[1:]) if p[0] in "+-" else ("+", p) for p in rest)
    )


def plain(text, times=""):
    r"""As typed without LaTeX: \frac{3\sqrt{3}}{4} as 3sqrt(3)/4."""

    def divided(match):
        return "/".join(f"({part})" if re.search(r"[-+]", part[1:]) else part for part in match.groups())

    text = re.sub(IMPLICIT_PRODUCT, times, re.sub(FRACTION, divided, braced(text)))
    text = re.sub(r"\\sqrt\{([^{}]*)\}", r"sqrt(\1)", text)
    return re.sub(r"\\(pi|in|cot)\b", r"\1", text).replace(r"\infty", "infinity").replace(r"\cup", "U")


# Around any answer.


@surrounding
def dollar_signs(gold):
    yield f"${gold}$"


@surrounding
def latex_delimiters(gold):
    yield rf"\({gold}\)"
    yield rf"\[{gold}\]"


@surrounding
def full_stop(gold):
    yield f"{gold}."


@surrounding
def stop_behind_dollar_signs(gold):
    yield f"${gold}$."


@surrounding
def bold(gold):
    yield f"**{gold[6:-1]}**" if kind(gold) in ("word", "choice") else f"**{gold}**"


@surrounding
def boxed(gold):
    yield rf"\boxed{{{gold}}}"


@surrounding
def display_style(gold):
    if kind(gold) not in ("word", "choice"):
        yield rf"\displaystyle {gold}"


@surrounding
def blanks(gold):
    yield f" {gold}\n"
    yield rf"\, {gold} \,"


@surrounding
def braces(gold):
    yield f"{{{gold}}}"


# Spacing and brackets.


@spelling
def no_spaces(gold):
    tight = ""
    for token in re.findall(TOKEN, gold):
        tight += (" " if re.search(r"\\[A-Za-z]+$", tight) and token[0].isalpha() else "") + token
    yield tight


@spelling
def more_spaces(gold):
    if kind(gold) in ("expression", "equation", "solutions", "tuple", "interval"):
        text = re.sub(r"\s*(\\cup|\\pm|\\in\b|=)\s*", r" \1 ", gold)
        text = re.sub(r"(?<=[\w)}])\s*([-+])\s*", r" \1 ", text)
        yield re.sub(r"\s*,\s*", ", ", text)
        yield re.sub(r"\s*,\s*", r",\\ ", text)
        yield re.sub(r"\s*,\s*", " , ", re.sub(r"(?<!\\)([(\[])\s*(.*?)\s*([)\]])", r"\1 \2 \3", text))


@spelling
def left_and_right(gold):
    if kind(gold) not in ("word", "choice"):
        bare = re.sub(r"\\(?:left|right)\b\s*", "", gold)
        yield bare
        yield re.sub(r"(?<!\\)[)\]]|\\\}", r"\\right\g<0>", re.sub(r"(?<!\\)[(\[]|\\\{", r"\\left\g<0>", bare))


@spelling
def signs_in_unicode(gold):
    signs = {"-": "\N{MINUS SIGN}", r"\pm": "±", r"\infty": "∞", r"\cup": "∪", r"\in ": "∈ "}
    yield from (gold.replace(latex, sign) for latex, sign in signs.items() if latex in gold)


@spelling
def no_latex(gold):
    if kind(gold) in ("expression", "tuple", "interval", "equation"):
        yield plain(gold)
        yield plain(gold, times="*")
        yield plain(gold, times="*").replace("^", "**")


@spelling
def font(gold):
    if kind(gold) in EXPRESSIONS:
        yield rf"\mathbf{{{gold}}}"
    if kind(gold) == "integer":
        yield rf"\text{{{gold}}}"


@spelling
def space_after_sign(gold):
    if kind(gold) in EXPRESSIONS and gold.startswith("-"):
        yield f"- {gold[1:]}"


# Numbers.


@spelling
def zeros_behind_the_point(gold):
    if kind(gold) == "integer":
        yield f"{gold}.0"
        yield f"{gold}.00"


@spelling
def thousands_separators(gold):
    number = measure(gold)[0] if kind(gold) == "measure" else gold
    value = number_of(number)
    if value is not None and value.denominator == 1 and abs(value) >= 1000:
        for separator in (",", "{,}", r"\,", r",\!", ""):
            yield gold.replace(number, f"{value.numerator:,}".replace(",", separator))


@spelling
def decimals(gold):
    value = number_of(gold)
    if value is not None and value.denominator > 1 and (text := decimal(value)):
        yield text
        yield f"{text}0"
        yield text.replace("0.", ".") if abs(value) < 1 else f"{text}00"


@spelling
def other_fractions(gold):
    value = number_of(gold)
    if value is not None and value.denominator > 1:
        sign, top, bottom = "-" if value < 0 else "", abs(value.numerator), value.denominator
        for factor in (1, 2, 3):
            yield rf"{sign}\frac{{{factor * top}}}{{{factor * bottom}}}"
            yield f"{sign}{factor * top}/{factor * bottom}"


@spelling
def mixed_number(gold):
    value = number_of(gold)
    if value is not None and value.denominator > 1 and abs(value) > 1 and not re.search(r"\d\.\d", gold):
        sign, bottom = "-" if value < 0 else "", value.denominator
        whole, top = divmod(abs(value.numerator), bottom)
        yield rf"{sign}{whole}\frac{{{top}}}{{{bottom}}}"
        yield rf"{sign}{whole} \frac{{{top}}}{{{bottom}}}"
        yield rf"{sign}{whole}\tfrac{{{top}}}{{{bottom}}}"
        yield f"{sign}{whole} {top}/{bottom}"


@spelling
def percent(gold):
    value = number_of(gold)
    if value is not None and 0 < value < 1 and (text := decimal(100 * value)):
        yield from (rf"{text}\%", f"{text}%", rf"{text} \%", f"{text} percent", rf"{text}\text{{ percent}}")


@spelling
def two_forms_at_once(gold):
    value = number_of(gold)
    if value is not None and value.denominator > 1 and (text := decimal(value)) and "frac" in gold:
        yield f"{gold} = {text}"


@spelling
def any_unit(gold):
    if kind(gold) in ("integer", "number"):
        yield rf"{gold} \text{{ units}}"


@spelling
def scientific_notation(gold):
    if gold == ".0000672":
        yield from (r"6.72 \times 10^{-5}", r"6.72 \cdot 10^{-5}", r"6.72\times10^{-5}", "6.72e-5")


# Fractions.

rewrite("fraction size", FRACTION, r"\\frac{\1}{\2}", r"\\dfrac{\1}{\2}", r"\\tfrac{\1}{\2}")
rewrite("fraction without braces", r"frac\{(\d)\}\{(\d)\}", r"frac\1\2", r"frac \1 \2", r"frac\1{\2}")
rewrite("fraction half without braces", r"frac\{(\d)\}", r"frac\1")
rewrite("fraction with spaces", FRACTION, r"\\frac{ \1 }{ \2 }", r"\\frac {\1} {\2}")
# Not behind a digit, where it is a mixed number.
rewrite("slash", r"(?<![\d ])\\d?frac\{(\d+)\}\{(\d+)\}", r"\1/\2", r"\1 / \2", kinds=("number", "tuple", "interval"))
rewrite("slash in brackets", r"(?<![\d ])\\d?frac\{(\d+)\}\{(\d+)\}", r"(\1)/(\2)", r"(\1/\2)", kinds=("number",))
rewrite("fraction instead of slash", r"(\d+)/(\d+)", r"\\frac{\1}{\2}", r"\\dfrac{\1}{\2}", r"\\tfrac{\1}{\2}")
rewrite("fraction with sign instead of slash", r"(-?\d+)/(\d+)", r"\\frac{\1}{\2}")
rewrite(
    "sign of a fraction",
    rf"^-{FRACTION}$",
    *(r"\\frac{-\1}{\2}", r"\\frac{\1}{-\2}", r"-\1/\2", r"-(\1/\2)", r"-\\left(\\frac{\1}{\2}\\right)"),
    kinds=EXPRESSIONS,
)
rewrite("root below", r"^\\frac\{\\sqrt\{(\d+)\}\}\{\1\}$", r"\\frac{1}{\\sqrt{\1}}", r"1/\\sqrt{\1}")


@spelling
def fraction_as_factor(gold):
    if match := re.fullmatch(r"(-?)\\frac\{(\d*)(\\pi|\\sqrt\{\d+\})\}\{(\d+)\}", gold):
        sign, factor, root, bottom = match.groups()
        yield rf"{sign}\frac{{{factor or 1}}}{{{bottom}}}{root}"
        yield rf"{sign}\frac{{{factor or 1}}}{{{bottom}}} \cdot {root}"
        yield rf"{sign}{factor}{root}/{bottom}"


# Products, roots, powers, sums.

rewrite(
    "product",
    IMPLICIT_PRODUCT,
    *(r" \\cdot ", r"\\cdot ", "*", r" \\times ", r"\\,", " ", "·", " × "),
    kinds=("expression", "equation", "interval", "solutions", "tuple"),
)
rewrite("factors swapped", r"^(\d+)\s*(\\sqrt\{\d+\}|\\pi)$", r"\2 \\cdot \1", r"\2 \\times \1", kinds=("expression",))
rewrite("root of a digit", r"\\sqrt\{(\d)\}", r"\\sqrt\1", r"\\sqrt \1", r"\\sqrt{\1}")
rewrite("root", r"\\sqrt\{(\d+)\}", r"\\sqrt{ \1 }", r"√\1", r"√{\1}", r"√(\1)", r"\\sqrt(\1)")
rewrite("root as power", r"^\\sqrt\{(\d+)\}$", r"\1^{1/2}", r"\1^{\\frac{1}{2}}", r"\1^{0.5}")
rewrite("pi", r"\\pi", "π", r"{\\pi}")
rewrite("pi behind a digit", r"(?<=\d)\s*\\pi", "π", " pi", "pi", r" \\pi", r"\\pi", kinds=("expression",))
rewrite("power", r"\^(\d)", r"^{\1}", r"**\1", kinds=("expression",))
rewrite("square", r"\^2", "²", kinds=("expression",))
rewrite(
    "imaginary unit",
    r"^(-?\d+) ?([-+]) ?(\d+)i$",
    *(r"\1 \2 \3 i", r"\1 \2 \3\\,i", r"\1 \2 \3\\mathrm{i}", r"\1 \2 \3 \\cdot i"),
)


@spelling
def factor_under_the_root(gold):
    if match := re.fullmatch(r"(\d+)\s*\\sqrt\{(\d+)\}", braced(gold)):
        yield rf"\sqrt{{{int(match[1]) ** 2 * int(match[2])}}}"


@spelling
def order_of_terms(gold):
    left, equals, right = gold.rpartition("= ")
    if kind(gold) in ("expression", "equation") and len(parts := terms(right)) > 1:
        for order in (parts[::-1], parts[1:] + parts[:1]):
            for space in (" ", ""):
                yield left + equals + total(order, space)


# By hand; each was expanded to verify it.
OTHER_FORMS = {
    r"(a+5)(b+2)": ["ab + 2a + 5b + 10", "(b+2)(a+5)", "ab+5b+2a+10", "(5+a)(2+b)"],
    "2k+2": ["2(k+1)", "2(k + 1)", r"2 \cdot (k+1)", "2*(k+1)"],
    "6r^2-4r-24": ["2(3r^2-2r-12)", r"2\left(3r^2 - 2r - 12\right)"],
    "8n^2 + 4n + 1": ["4n(2n+1)+1", "1 + 4n(2n+1)"],
    "x^3+3x-6": ["x(x^2+3)-6"],
    "15x - 80": ["5(3x-16)", "5(3x - 16)"],
    "-13x+3": ["-(13x-3)"],
    "p - q": ["-(q - p)"],
    r"18+2\pi": [r"2(9+\pi)", r"2(\pi + 9)", r"2\left(9+\pi\right)"],
    r"11 \sqrt{5} + 11": [r"11(\sqrt{5}+1)", r"11(1+\sqrt{5})", r"11\left(1 + \sqrt{5}\right)"],
    r"\frac{11+9a}{20}": [
        *(r"\frac{9a+11}{20}", r"\frac{9a + 11}{20}", r"\frac{11}{20} + \frac{9a}{20}", "(9a+11)/20"),
        *(r"\frac{9}{20}a + \frac{11}{20}", r"\frac{1}{20}(9a+11)", "0.45a + 0.55"),
    ],
    r"\cot x": [r"\cot(x)", r"\cot{x}", r"\cot\left(x\right)", "cot(x)", r"\frac{\cos x}{\sin x}"],
    r"\frac{20000}{\pi}": [r"20000/\pi", "20000/π", r"\frac{20,000}{\pi}"],
    r"\frac{3\sqrt{3}}{4}": [r"\frac{\sqrt{27}}{4}", r"0.75\sqrt{3}"],
    "x^5 - x^4 + x^3 - x^2 + x - 1": ["(x-1)(x^4+x^2+1)", "(x - 1)(x^4 + x^2 + 1)"],
    "x^8 + x^7 + x^6 + x^5 + x^4 + x^3 + x^2 + x + 1": ["(x^2+x+1)(x^6+x^3+1)"],
    "x=5": ["5", "5.0", "x = 5.0", "5 = x"],
    "y = 2x + 3": ["2x + 3 = y", "y - 2x = 3", "2x - y + 3 = 0", "y - 2x - 3 = 0"],
    "y = -2x": ["-2x = y", "y + 2x = 0", "2x + y = 0"],
    "5x - 7y + 11z + 4 = 0": [
        *("5x-7y+11z=-4", "5x - 7y + 11z = -4", "0 = 5x - 7y + 11z + 4", "-5x + 7y - 11z - 4 = 0"),
        *("5x + 11z + 4 = 7y", "-5x + 7y - 11z = 4"),
    ],
    r"(-\infty, 2) \cup (3, \infty)": [r"x < 2 \text{ or } x > 3", "x < 2 or x > 3"],
    r"(0,9) \cup (9,36)": [r"0 < x < 9 \text{ or } 9 < x < 36"],
    r"(2,12) \cup (12,102)": [r"2 < x < 12 \text{ or } 12 < x < 102"],
    r"x \in [-2,7]": ["[-2,7]", "[-2, 7]", r"\left[-2,7\right]"],
    r"\left( \frac{3}{2}, -13 \right)": ["(1.5, -13)"],
    r"\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix}": [r"\begin{pmatrix} 0.2 \\ -3.6 \end{pmatrix}"],
}


@spelling
def other_form(gold):
    yield from OTHER_FORMS.get(gold, [])


# Names, words, choices.


@spelling
def name_before_it(gold):
    if is_constant(gold) or kind(gold) in ("measure", "base"):
        yield f"x = {gold}"
        yield f"$n={gold}$"
    elif kind(gold) == "expression" and len(variables(gold)) == 1 and "\\" not in gold:
        yield f"f({variables(gold)[0]}) = {gold}"
    elif kind(gold) == "tuple":
        yield f"({', '.join('abcd'[: len(entries(gold))])}) = {gold}"
    elif kind(gold) == "interval" and not gold.startswith("x"):
        yield rf"x \in {gold}"
    elif kind(gold) == "matrix":
        yield rf"\mathbf{{v}} = {gold}"
        yield f"A = {gold}"


@spelling
def words(gold):
    if kind(gold) == "word":
        word = gold[6:-1]
        for form in (word, word.lower(), word.capitalize(), word.upper()):
            yield form
            yield rf"\text{{{form}}}"
        yield from (rf"\{font}{{{word}}}" for font in ("textbf", "mathrm", "mbox", "textit", "mathbf"))
        yield from (rf"\text{{ {word} }}", f"{word}.", rf"\text{{{word}.}}")


@spelling
def choices(gold):
    if kind(gold) == "choice":
        letter = gold[7]
        yield from (letter, f"({letter})", f"{letter})", f"{letter}.", f"**{letter}**")
        for font in ("text", "textbf", "mathrm", "mathbf"):
            yield rf"\{font}{{{letter}}}"
            yield rf"\{font}{{({letter})}}"


# Units.

UNITS = {
    "degrees": [
        *(r"^\circ", r"^{\circ}", "°", r" ^\circ", r"\degree", r"\text{°}"),
        *(r"\text{ degrees}", r" \text{ degrees}", " degrees", r"\,\text{degrees}", r" \mathrm{degrees}"),
    ],
    "cents": [r"\text{ cents}", r" \, \text{cents}", " cents", r"~\mathrm{cents}"],
    "inches": [
        *(r"\text{ in}^2", r" \text{ in}^{2}", r" \, \text{in}^2", r"~\mathrm{in}^2", " in^2", " in²"),
        *(r"\text{ inches}^2", " inches^2", r" \text{ square inches}", " square inches", r"\text{ sq in}"),
    ],
    "cm": [
        *(r"\text{ cm}^2", r" \text{ cm}^{2}", r" \, \text{cm}^2", r"~\mathrm{cm}^2", " cm^2", " cm²"),
        *(r" \text{ square centimeters}", " square centimeters", r"\text{ sq cm}"),
    ],
    "dollars": [r" \text{ dollars}", r"\text{ dollars}", " dollars"],
}


@spelling
def units(gold):
    if kind(gold) == "measure":
        number, unit = measure(gold)
        yield from (number + form for form in UNITS[unit])


@spelling
def money(gold):
    if kind(gold) == "measure" and measure(gold)[1] == "dollars":
        number = measure(gold)[0]
        yield from (f"${number}", rf"\$ {number}", rf"\text{{\$}}{number}", rf"\text{{\${number}}}")
        yield gold.removesuffix("0") if "." in gold else f"{gold}.00"


@spelling
def no_unit(gold):
    if kind(gold) == "measure":
        number = measure(gold)[0]
        value = number_of(number)
        yield from (number, f"${number}$", decimal(value) or f"{value.numerator}/{value.denominator}")
        if text := decimal(value):
            yield f"{text}0" if "." in text else f"{text}.0"


# Lists, tuples, intervals, matrices, other bases.


@spelling
def solutions_in_other_order(gold):
    if kind(gold) == "solutions":
        for order in itertools.permutations(solutions(gold)):
            yield ", ".join(order)
            yield ",".join(order)


@spelling
def solutions_with_and_or_or(gold):
    if kind(gold) == "solutions":
        *first, last = solutions(gold)
        for word, comma in itertools.product(("and", "or"), ("", "," * (len(first) > 1))):
            yield rf"{', '.join(first)}{comma} \text{{ {word} }} {last}"
            yield rf"{', '.join(first)}{comma}\text{{ {word} }}{last}"
            yield f"{', '.join(first)}{comma} {word} {last}"


@spelling
def solutions_in_set_braces(gold):
    if kind(gold) == "solutions":
        for order in itertools.permutations(solutions(gold)):
            yield rf"\{{{', '.join(order)}\}}"
            yield rf"\left\{{ {', '.join(order)} \right\}}"


@spelling
def solutions_with_a_name(gold):
    if kind(gold) == "solutions" and "\\{" not in gold:
        parts = solutions(gold)
        yield f"x = {gold}"
        yield "x = " + ", ".join(parts)
        yield rf"x \in \{{{', '.join(parts)}\}}"
        yield ", ".join(f"x = {part}" for part in parts)
        yield r" \text{ or } ".join(f"x = {part}" for part in parts)
        yield r" \text{ and } ".join(f"x={part}" for part in reversed(parts))


@spelling
def plus_or_minus(gold):
    if r"\pm" in gold:
        yield re.sub(r"\s*\\pm\s*", "±", gold)
        yield re.sub(r"\\sqrt\{(\d+)\}", r"√\1", re.sub(r"\s*\\pm\s*", " ± ", gold))
        if "\\{" not in gold:
            yield rf"\{{{gold}\}}"


@spelling
def tuple_spacing(gold):
    if kind(gold) == "tuple":
        yield from (f"({comma.join(entries(gold))})" for comma in (", ", ",", r",\,", r",\ ", ",~"))
        yield rf"\big({', '.join(entries(gold))}\big)"


@spelling
def interval_as_inequality(gold):
    found = re.findall(INTERVAL, braced(gold))
    if kind(gold) == "interval" and len(found) == 1:
        opening, low, high, closing = found[0]
        for less, at_most in ((" < ", r" \le "), (" < ", r" \leq "), ("<", r"\le "), (" < ", " ≤ "), (" < ", " <= ")):
            left = "" if "infty" in low else low + (at_most if opening == "[" else less)
            right = "" if "infty" in high else (at_most if closing == "]" else less) + high
            yield f"{left}x{right}"
        if high == r"\infty":
            yield f"x > {low}"


@spelling
def infinity(gold):
    if "infty" in gold:
        yield re.sub(r"(?<!-)\\infty", r"+\\infty", gold)
        yield gold.replace(r"\infty", "infinity")
        yield gold.replace(r"\infty", "∞").replace(r"\cup", "∪")


@spelling
def unions(gold):
    if r"\cup" in gold:
        yield from (gold.replace(r" \cup ", sign) for sign in (" U ", r" \, \cup \, ", r"\cup"))
        yield r" \cup ".join(reversed(gold.split(r" \cup ")))


@spelling
def matrix_brackets(gold):
    if kind(gold) == "matrix":
        yield matrix(rows(gold), "bmatrix")
        yield matrix(rows(gold), "bmatrix", "&", r"\\")
        inside = gold.replace(r"\begin{pmatrix}", rf"\begin{{array}}{{{'c' * len(rows(gold)[0])}}}")
        inside = inside.replace("pmatrix", "array")
        yield rf"\left( {inside} \right)"
        yield rf"\left[ {inside} \right]"


@spelling
def matrix_spacing(gold):
    if kind(gold) == "matrix":
        yield matrix(rows(gold), between="&", after=r"\\")
        yield matrix(rows(gold), after=" \\\\\n").replace("} ", "}\n", 1).replace(" \\end", "\n\\end")
        yield matrix(rows(gold), after=r" \\[4pt] ")
        yield gold.replace(r" \end", r" \\ \end")


@spelling
def other_base(gold):
    if match := re.fullmatch(BASE, gold):
        digits, base = match.groups()
        word = {"5": "five", "6": "six", "8": "eight", "9": "nine"}[base]
        yield from (f"{digits}_{base}", f"{digits}_{{{base}}}", f"({digits})_{base}", f"({digits})_{{{base}}}")
        yield from (rf"{digits}_{{\text{{{word}}}}}", rf"{digits}_\text{{{word}}}", f"{digits} _{base}")
        yield from (rf"{digits}_{{({base})}}", rf"{digits}_{{\text{{{base}}}}}")


@spelling
def two_at_once(gold):
    if kind(gold) in ("integer", "word", "choice", "base"):
        return
    names = ("fraction size", "product", "root", "no spaces", "left and right", "units", "matrix brackets")
    forms = [form for name in names for form in SPELLINGS[name](gold) if form != gold]
    for form, around in zip(forms[1::4], ("${}$.", r"\({}\)", "**${}$**", r"\boxed{{{}}}"), strict=False):
        yield around.format(form)


# Near misses.


@near_miss
def number_plus_one(gold):
    """Each number but exponents and bases, in its last place."""
    if kind(gold) in ("matrix", "base"):
        return
    text = braced(gold)
    for match in re.finditer(r"(?<![\d.^])(?:\d+(?:\.\d+)?|\.\d+)", text):
        whole, point, places = match.group().partition(".")
        digits = str(int(whole + places) + 1).zfill(len(whole + places))
        split = len(digits) - len(places)
        yield text[: match.start()] + digits[:split] + point + digits[split:] + text[match.end() :]


@near_miss
def sign_flipped(gold):
    if gold != "0" and kind(gold) in (*EXPRESSIONS, "measure", "base"):
        yield gold[1:] if gold.startswith("-") else f"-{gold}"
        for match in re.finditer(r"(?<=[\w})])\s*([-+])", gold):
            yield gold[: match.start(1)] + {"+": "-", "-": "+"}[match[1]] + gold[match.end() :]


@near_miss
def fraction_upside_down(gold):
    text = braced(gold)
    for match in re.finditer(FRACTION, text):
        yield text[: match.start()] + rf"\frac{{{match[2]}}}{{{match[1]}}}" + text[match.end() :]


@near_miss
def decimal_point_moved(gold):
    if match := re.search(r"(\d*)\.(\d)(\d*)", gold):
        yield gold.replace(match.group(), f"{int(match[1] + match[2])}.{match[3] or 0}")


@near_miss
def rounded(gold):
    if kind(gold) in ("number", "expression") and is_constant(gold) and not gold.endswith("i"):
        import sympy

        value = number_of(gold)
        value = sympy.sympify(plain(gold, times="*")) if value is None else sympy.Rational(value)
        for places in (2, 4):
            short = f"{sympy.N(value, 30):.{places}f}"
            if sympy.Rational(short) != value:
                yield short


@near_miss
def factor_dropped(gold):
    if kind(gold) == "expression" and gold != r"\pi":
        text = braced(gold)
        if r"\pi" in text:
            yield re.sub(r"(?<=\d)\s*\\pi", "", text).replace(r"\pi", "1")
        if "sqrt" in text:
            yield re.sub(r"\\sqrt\{(\d+)\}", r"\1", re.sub(r"(?<=\d)\s*\\sqrt", r" \\cdot \\sqrt", text))
        if re.fullmatch(r"[-+\d ]+i", text):
            yield text[:-1]


@near_miss
def exponent_changed(gold):
    if kind(gold) != "measure":
        for match in re.finditer(r"\^(\d)", gold):
            yield f"{gold[: match.start()]}^{int(match[1]) + 1}{gold[match.end() :]}"


@near_miss
def other_variable(gold):
    """Not what an answer is said to be the value of: x=5, y = 2x + 3."""
    left, equals, right = gold.rpartition("=")
    if kind(gold) == "expression" or (kind(gold) == "equation" and right != "5"):
        named = right if len(left.strip()) == 1 else gold
        for name in variables(named):
            yield gold.removesuffix(named) + re.sub(rf"(?<![a-z\\]){name}(?![a-z])", "t", named)
    if gold == "3R^2":
        yield "3r^2"


@near_miss
def entry_of_a_tuple(gold):
    if kind(gold) == "tuple":
        parts = entries(gold)
        for i, j in itertools.combinations(range(len(parts)), 2):
            swapped = list(parts)
            swapped[i], swapped[j] = parts[j], parts[i]
            yield f"({','.join(swapped)})"
        for i, part in enumerate(parts):
            yield f"({','.join([*parts[:i], part[1:] if part[0] == '-' else f'-{part}', *parts[i + 1 :]])})"
        yield f"({','.join([*parts, '0'])})"
        yield f"({','.join(parts[:-1])})" if len(parts) > 2 else parts[0]


@near_miss
def solution_changed(gold):
    if kind(gold) == "solutions":
        parts = solutions(gold)
        for i, part in enumerate(parts):
            yield ",".join(parts[:i] + parts[i + 1 :])
            yield ",".join([*parts[:i], part[1:] if part[0] == "-" else f"-{part}", *parts[i + 1 :]])
        yield ",".join([*parts, "100"])


@near_miss
def end_of_an_interval(gold):
    if kind(gold) == "interval":
        text = braced(gold)
        for match in re.finditer(r"\((?!-\\infty)|(?<!infty)\)|[\[\]]", text):
            other = {"(": "[", "[": "(", ")": "]", "]": ")"}[match.group()]
            yield text[: match.start()] + other + text[match.end() :]
        if r"\infty" in text:
            yield re.sub(r"(-?)\\infty", r"\g<1>1000", text)
        if r"\cup" in text:
            yield text.replace(r"\cup", r"\cap")


@near_miss
def entry_of_a_matrix(gold):
    if kind(gold) == "matrix":
        whole = rows(gold)
        for i, row in enumerate(whole):
            for j, entry in enumerate(row):
                others = [re.sub(r"\d+", lambda match: str(int(match.group()) + 1), entry, count=1)]
                if entry != "0":
                    others.append(entry[1:] if entry.startswith("-") else f"-{entry}")
                for other in others:
                    yield matrix([*whole[:i], [*row[:j], other, *row[j + 1 :]], *whole[i + 1 :]])
        yield matrix(whole[::-1])
        yield matrix(whole[:-1])


@near_miss
def base_or_digit(gold):
    if match := re.fullmatch(BASE, gold):
        digits, base = match.groups()
        yield from (f"{digits}_{{{int(base) + 1}}}", f"{digits}_{{10}}", f"{digits}_7")
        yield f"{int(digits[0]) - 1}{digits[1:]}_{base}"
        yield f"{digits}0_{base}"


OTHER_WORDS = {
    "Evelyn": ["Carla", "Debra", "Angela", "Eve"],
    "east": ["west", "north", "south", "northeast"],
    "even": ["odd", "neither", "seven"],
    "ellipse": ["circle", "parabola", "hyperbola", "empty"],
    "Navin": ["Luka", "Ian"],
}


@near_miss
def other_word_or_choice(gold):
    if kind(gold) == "word":
        for word in OTHER_WORDS[gold[6:-1]]:
            yield from (word, rf"\text{{{word}}}")
    if kind(gold) == "choice":
        for letter in sorted(set("ABCDE") - {gold[7]}):
            yield from (letter, rf"\text{{({letter})}}", f"({letter})")
