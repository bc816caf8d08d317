r"""Count how often the same answer, written as another model would write it, gets the same id.

MGRPO_TEST_DATA=DIRECTORY python benchmarks/answers_held_out.py    # DIRECTORY holds math500.jsonl

The rules are independent of those the equivalence was developed against, and they are the judge: one of `SAME` never
changes the value of an answer, one of `MISS` always does.
"""

import json
import os
import re
from collections.abc import Callable, Iterable
from fractions import Fraction
from math import gcd
from pathlib import Path

from mgrpo.answers import answer_ids

Rule = Callable[[str], Iterable[str]]
SAME: dict[str, Rule] = {}
MISS: dict[str, Rule] = {}
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
SUPERSCRIPT, SUBSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"), str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
FRACTION = r"(-?)\\frac\{(\d+)\}\{(\d+)\}"
SURD = r"(\d*) ?\\sqrt\{(\d+)\}"


def rule(name: str, table: dict[str, Rule] = SAME) -> Callable[[Rule], Rule]:
    """Enter a function of the answer, which gives other writings of it or nothing, under a name."""
    return lambda function: table.setdefault(name, function)


def tidy(gold: str) -> str:
    r"""Write \frac and \sqrt with braces, and numbers without spaced commas."""
    gold = re.sub(r"\\d?frac ?(\d)", r"\\frac{\1}", gold.replace("\\!", "").replace(", 1", ",1"))
    gold = re.sub(r"\\d?frac(\{[^{}]*\}) ?(\d+)", r"\\frac\1{\2}", gold)
    return re.sub(r"\\sqrt(\d)", r"\\sqrt{\1}", gold)


def is_scalar(gold: str) -> bool:
    """Say whether it is one number or expression, with no list, relation, unit, word or base."""
    return not re.search(r"[,=_\[$&]|\\(in|cup|text|mbox|pm|begin|circ)\b", gold) and "^\\circ" not in gold


def number(gold: str) -> Fraction | None:
    """Read an integer, a decimal or a fraction."""
    if found := re.fullmatch(FRACTION, gold):
        return Fraction(int(found[1] + found[2]), int(found[3]))
    return Fraction(gold) if re.fullmatch(r"-?\d*\.?\d+", gold) else None


def terms(gold: str) -> list[str]:
    """Split a sum at its outer signs, each term with its sign."""
    if not is_scalar(gold) or re.search(r"[(a-z]\(|\)\(", gold):
        return []
    split = re.findall(r"[+-]?(?:\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}|[^+{}-])+", re.sub(r" ?([+-]) ?", r"\1", gold))
    return [term if term[0] in "+-" else "+" + term for term in split]


def join(parts: Iterable[str]) -> str:
    """Add signed terms up."""
    return " ".join(part[0] + " " + part[1:] for part in parts).removeprefix("+ ")


def entries(gold: str) -> list[str]:
    """Take the entries of an ordered tuple that is no interval to infinity."""
    found = re.fullmatch(r"(?:\\left)?\((.*,.*?)(?:\\right)?\)", gold)
    return [] if not found or re.search(r"infty|cup|[()]", found[1]) else [e.strip() for e in found[1].split(",")]


def ends(gold: str) -> tuple[str, str, str, str] | None:
    """Take bracket, end, end and bracket of an interval that cannot be read as a point."""
    found = re.fullmatch(r"(?:x \\in )?(?:\\left ?)?([(\[]) ?([^,]+), ?([^,]+?) ?(?:\\right ?)?([)\]])", gold)
    if not found or "cup" in gold or ((found[1], found[4]) == ("(", ")") and "infty" not in gold):
        return None
    return found[1], found[2], found[3], found[4]


def items(gold: str) -> list[str]:
    """Take the numbers of a list or of a set."""
    found = re.fullmatch(r"(-?\d{1,2}(?:, ?-?\d{1,2})+)", gold)
    return found[1].replace(" ", "").split(",") if found else []


def rows(gold: str) -> list[list[str]]:
    """Take the rows of a matrix."""
    found = re.fullmatch(r"\\begin\{pmatrix\}(.*)\\end\{pmatrix\}", gold)
    return [[e.strip() for e in row.split("&")] for row in found[1].split("\\\\")] if found else []


@rule("display style, thin spaces, braces")
def _(g):
    yield from (f"\\displaystyle {g}", f"\\,{g}\\,", f"{{{g}}}", f"\\;{g}\\quad", f"~{g}")
    if "\\text" not in g and "\\mbox" not in g:
        yield re.sub(r" ([+=-]|\\cup|\\in) ", r"\\ \1\\ ", g)
        yield re.sub(r" ([+=-]|\\pm) ", r"\\,\1\\,", g)


@rule("math delimiters")
def _(g):
    yield from (f"\\({g}\\)", f"\\[ {g} \\]", f"${g}$", f"$$\n{g}\n$$")


@rule("markdown and closing stop")
def _(g):
    yield from (f"**{g}**", f"**${g}$**", f"{g}.", f"${g}$.", f"**{g}.**", f"\\boldsymbol{{{g}}}")


@rule("answer sentence")
def _(g):
    yield from (f"The answer is ${g}$.", f"Final Answer: {g}", f"\\text{{Answer: }} {g}")


@rule("parentheses around")
def _(g):
    if is_scalar(g):
        yield from (f"({g})", f"\\left({g}\\right)", f"\\left( {g} \\right)")


@rule("name = value")
def _(g):
    if is_scalar(g) and not re.search(r"(?<!\\)\b[a-zA-Z]", re.sub(r"\\[a-z]+|i\b", "", g)):
        yield from (f"x = {g}", f"= {g}", f"S={g}", f"a_{{10}} = {g}", f"f(2) = {g}", f"\\theta = {g}")
        if "i" not in g.replace("\\pi", "") and g[0] != "-":
            yield from (f"\\text{{Area}} = {g}", f"|z| = {g}", f"\\angle ABC = {g}")
            yield from ([f"P(A) = {g}"] if 0 < (number(g) or 2) <= 1 else [])


@rule("integer: fonts and decimals")
def _(g):
    if re.fullmatch(r"-?\d+", g):
        yield from (f"\\text{{{g}}}", f"\\mathbf{{{g}}}", f"\\textbf{{{g}}}", f"{g}.0", f"{g}.00", f"\\mathrm{{{g}}}")
        yield from ([g.replace("-", "−"), g.replace("-", "–"), "- " + g[1:]] if g[0] == "-" else ["+" + g])


@rule("thousands")
def _(g):
    if re.fullmatch(r"\d{4,}|\d+(,\d{3})+", g):
        whole = f"{int(g.replace(',', '')):,}"
        yield from (whole.replace(",", sep) for sep in (",", "{,}", "\\,", ",\\!", " ", "", "\\ ", "\u202f", "~"))


@rule("integer: words")
def _(g):
    if g.isdigit() and int(g) < 13:
        yield from (WORDS[int(g)], f"\\text{{{WORDS[int(g)].capitalize()}}}")


@rule("integer: units")
def _(g):
    if re.fullmatch(r"\d+", g):
        units = (
            "\\text{ units}",
            "\\text{ cm}^2",
            "\\ \\text{ways}",
            "\\text{ square units}",
            " students",
            "\\,\\mathrm{m}",
        )
        yield from (g + unit for unit in units)
        yield from (f"{g}\\ \\text{{miles per hour}}", f"{g} \\text{{ cm}}^3", f"{g}\\text{{ minutes}}")


@rule("integer: powers, products, factorials, e-notation")
def _(g):
    if not g.isdigit() or int(g) < 4:
        return
    n, powers = int(g), []
    for p in range(2, n + 1):
        k = 0
        while n % p == 0:
            n, k = n // p, k + 1
        powers += [f"{p}^{{{k}}}" if k > 1 else str(p)] if k else []
    if len(powers) > 1 or "^" in powers[0]:
        yield from (f"{sep}".join(powers) for sep in (" \\cdot ", " \\times "))
        yield " \\cdot ".join(powers) + f" = {g}"
    yield from (f"{k}!" for k, f in ((4, 24), (5, 120), (6, 720)) if f == int(g))
    if int(g) >= 1000:
        mantissa, exponent = f"{g[0]}.{g[1:].rstrip('0') or '0'}", len(g) - 1
        yield from (
            f"{mantissa} \\times 10^{exponent}",
            f"{mantissa} \\cdot 10^{{{exponent}}}",
            f"{mantissa}e{exponent}",
        )
        yield f"{mantissa}×10{str(exponent).translate(SUPERSCRIPT)}"


@rule("fraction: notation")
def _(g):
    if found := re.fullmatch(FRACTION, g):
        s, a, b = found.groups()
        yield from (f"{s}\\tfrac{{{a}}}{{{b}}}", f"{s}\\cfrac{{{a}}}{{{b}}}", f"{s}{a}/{b}", f"{s}{{{a} \\over {b}}}")
        yield from (f"\\frac{{{s}{a}}}{{{b}}}", f"{s}{a} / {b}", f"{s}{a} \\div {b}", f"({s}{a})/({b})")
        yield from (
            f"{s}{a.translate(SUPERSCRIPT)}⁄{b.translate(SUBSCRIPT)}",
            f"\\frac{{{s}{2 * int(a)}}}{{{2 * int(b)}}}",
        )
        yield from (
            f"{s}\\frac {{{a}}} {{{b}}}",
            f"{s}\\left(\\dfrac{{{a}}}{{{b}}}\\right)",
            f"{s}\\frac{{{a}.0}}{{{b}}}",
        )
        yield from (f"{s}\\frac{{1}}{{{b}}} \\cdot {a}", f"{s}{a}⁄{b}")
        if s:
            yield from (f"\\frac{{{a}}}{{-{b}}}", f"−\\frac{{{a}}}{{{b}}}", f"-\\,\\frac{{{a}}}{{{b}}}")


@rule("fraction: mixed number")
def _(g):
    if (v := number(g)) is not None and "frac" in g and abs(v) > 1:
        sign, (whole, rest) = "-" if v < 0 else "", divmod(abs(v), 1)
        a, b = rest.numerator, rest.denominator
        yield from (
            f"{sign}{whole}\\frac{{{a}}}{{{b}}}",
            f"{sign}{whole} {a}/{b}",
            f"{sign}{whole}\\,\\tfrac{{{a}}}{{{b}}}",
        )
        yield from ([f"{whole} + \\frac{{{a}}}{{{b}}}", f"{whole} \\text{{ and }} {a}/{b}"] if not sign else [])
    if found := re.fullmatch(r"(\d+) ?" + FRACTION, g):
        a, b = int(found[1]) * int(found[4]) + int(found[3]), found[4]
        yield from (f"\\frac{{{a}}}{{{b}}}", f"{a}/{b}", str(a / int(b)), f"{found[1]} {found[3]}/{b}")


@rule("fraction: exact decimal, percent")
def _(g):
    if (v := number(g)) is not None and v.denominator > 1:
        rest = v.denominator
        for p in (2, 5):
            while rest % p == 0:
                rest //= p
        if rest == 1:
            text = str(float(v)) if abs(v) > 0.001 else f"{float(v):.9f}".rstrip("0")
            yield from (text, text + "0", f"\\text{{{text}}}", text.replace("0.", ".") if abs(v) < 1 else "+" + text)
            yield f"\\frac{{{v.numerator}}}{{{v.denominator}}}".replace("{-", "{ -")
            if 0.001 < v < 1 and len(text) < 7:
                yield from (f"{float(v * 100):g}\\%", f"{float(v * 100):g}%", f"{float(v * 100):g}\\text{{ percent}}")
            if 0 < v < 0.001:
                yield from ("6.72 \\times 10^{-5}", "6.72e-05", "6.72 \\cdot 10^{-5}") if text == "0.0000672" else ()
        elif v > 0 and v.denominator in (3, 9, 18, 11, 36):
            digits = str(v.numerator * 10**12 // v.denominator).zfill(13)
            digits, k = f"{digits[:-12]}.{digits[-12:]}", {3: (0, 1), 9: (0, 1), 18: (1, 1), 11: (0, 2), 36: (2, 1)}
            (lead, period), dot = k[v.denominator], digits.index(".") + 1
            head, block = digits[: dot + lead], digits[dot + lead : dot + lead + period]
            yield from (
                f"{head}\\overline{{{block}}}",
                f"{head}\\bar{{{block}}}" if period == 1 else f"{head}({block})",
            )


@rule("exact, then rounded or as a decimal")
def _(g):
    if (v := number(g)) is not None and "frac" in g:
        if 10**9 % v.denominator == 0:
            yield f"{g} = {float(v)}"
        else:
            yield from (f"{g} \\approx {float(v):.3f}", f"{g} ≈ {float(v):.2f}")
            yield f"{g} \\text{{ (approximately }} {float(v):.4f})"
    elif found := re.fullmatch(SURD, g):
        yield f"{g} \\approx {int(found[1] or 1) * int(found[2]) ** 0.5:.2f}"
    elif found := re.fullmatch(r"(\d+) ?\\pi", g):
        yield f"{g} \\approx {int(found[1]) * 3.14159265:.2f}"


@rule("surd")
def _(g):
    if found := re.fullmatch(SURD, g):
        k, n = int(found[1] or 1), int(found[2])
        yield from (
            f"\\sqrt{{{k * k * n}}}",
            f"\\frac{{{k * n}}}{{\\sqrt{{{n}}}}}",
            f"{k}*sqrt({n})",
            f"{k} \\cdot {n}^{{1/2}}",
        )
        yield from (f"{found[1]}√{n}", f"{found[1]}√({n})", f"{k} \\cdot \\sqrt{{{n}}}", f"{k} \\times \\sqrt{{{n}}}")
        yield from (f"\\sqrt{{{n}}} \\cdot {k}", f"{found[1]}\\sqrt[2]{{{n}}}", f"{found[1]}\\sqrt {{{n}}}")
        yield from (
            f"{k} \\cdot {n}^{{\\frac{{1}}{{2}}}}",
            f"{found[1]}\\,\\sqrt{{{n}}}",
            f"\\sqrt{{{k * k} \\cdot {n}}}",
        )
    if found := re.fullmatch(r"\\frac\{(\d*)\\sqrt\{(\d+)\}\}\{(\d+)\}", g):
        k, n, b = int(found[1] or 1), int(found[2]), found[3]
        yield from (f"\\frac{{{k}}}{{{b}}}\\sqrt{{{n}}}", f"{found[1]}\\sqrt{{{n}}}/{b}", f"{k}*sqrt({n})/{b}")
        yield from (f"\\frac{{{k * n}}}{{{b}\\sqrt{{{n}}}}}", f"\\sqrt{{\\frac{{{k * k * n}}}{{{int(b) ** 2}}}}}")


@rule("pi")
def _(g):
    if is_scalar(g) and "\\pi" in g:
        yield from (g.replace("\\pi", "π"), re.sub(r"(\d) ?\\pi", r"\1\\cdot\\pi", g), g.replace("\\pi", "{\\pi}"))
        yield from (re.sub(r"(\d) ?\\pi", r"\1 \\times \\pi", g), re.sub(r"(\d) ?\\pi", r"\1\\,\\pi", g))
        yield from (
            [re.sub(r"(\d+) ?\\pi", r"\1*pi", g), re.sub(r"(\d) ?\\pi", r"\1 pi", g)] if "frac" not in g else []
        )
        yield re.sub(r"\\frac\{\\pi\}\{(\d+)\}", r"\\frac{1}{\1}\\pi", g)


@rule("degrees")
def _(g):
    if found := re.fullmatch(r"(.*?)(\^\\circ|\\text\{ degrees\})", g):
        units = (
            "",
            "°",
            "^{\\circ}",
            "\\text{ degrees}",
            "\\degree",
            " degrees",
            "^\\circ.",
            "\\,^\\circ",
            "{}^{\\circ}",
        )
        yield from (found[1] + unit for unit in (*units, "º", "^{\\,\\circ}", "\\text{°}", "^\\text{o}"))
        yield from (f"\\angle A = {g}", f"m\\angle ABC = {found[1]}°", f"\\theta={g}")


@rule("dollars, cents and units")
def _(g):
    if found := re.fullmatch(r"\\\$([\d.,]+)", g):
        yield from (
            f"${found[1]}",
            f"{found[1]} \\text{{ dollars}}",
            found[1],
            f"\\text{{\\${found[1]}}}",
            f"USD {found[1]}",
        )
        yield from (f"\\$ {found[1]}", f"\\mathdollar {found[1]}", f"{found[1]} dollars")
        yield from ([f"\\${found[1]}.00"] if "." not in found[1] else [])
    if found := re.fullmatch(r"([\d.]+) ?\\(?:mbox|text)\{ ?(\w+)\}(\^2)?", g):
        n, unit, square = found[1], found[2], found[3] or ""
        yield from (n, f"{n}\\,\\text{{{unit}}}{square}", f"{n} \\mathrm{{{unit}}}{square}", f"{n} {unit}{square}")
        yield f"{n}\\ \\text{{{unit}}}" + "^{2}" * bool(square)
        yield from ([f"{n}\\text{{ square {unit}}}", f"{n} \\text{{ {unit}²}}"] if square else [f"{n}¢", f"{n}\\cent"])


@rule("tuple")
def _(g):
    if e := entries(g):
        yield from (
            f"\\left({','.join(e)}\\right)",
            f"\\left( {', '.join(e)} \\right)",
            f"\\bigl({','.join(e)}\\bigr)",
        )
        yield from (
            "(" + ",\\ ".join(e) + ")",
            "(" + ",\\,".join(e) + ")",
            f"\\Big({' , '.join(e)}\\Big)",
            f"\\big( {', '.join(e)} \\big)",
        )
        names = "(x,y)", "(x, y, z)", "(a, b, c, d)"
        yield from (f"{names[len(e) - 2]} = {g}", f"P = {g}", f"\\left({', '.join(f'{{{x}}}' for x in e)}\\right)")
        yield re.sub(r"\\frac\{([^{}]*)\}\{(\d+)\}", r"\1/\2", f"({', '.join(e)})").replace("\\pi", "π")


@rule("interval")
def _(g):
    if e := ends(g):
        left, a, b, right = e
        yield from (f"\\left{left}{a}, {b}\\right{right}", f"x \\in {left}{a},{b}{right}", f"x∈{left}{a}, {b}{right}")
        inner = f"\\left{left} {a}, {b} \\right{right}".replace("\\frac", "\\dfrac")
        yield from (inner, f"{left}{a}, {b}{right}".replace("\\infty", "∞"), f"\\big{left}{a},{b}\\big{right}")
        low, high = "<" if left == "(" else "\\le", "<" if right == ")" else "\\leq"
        text = f"x {high} {b}" if "infty" in a else f"{a} {low} x" if "infty" in b else f"{a} {low} x {high} {b}"
        yield from (text, text.replace("\\leq", "≤").replace("\\le", "≤"), f"\\{{x \\mid {text}\\}}")
        yield f"\\{{ x \\in \\mathbb{{R}} : {text} \\}}"
        yield from ([f"x > {a}", f"({a}, +\\infty)"] if "infty" in b else [])
    if " \\cup " in g:
        one, two = g.split(" \\cup ")
        yield from (
            f"{one}∪{two}",
            f"{two} \\cup {one}",
            f"x \\in {g}",
            g.replace("\\infty", "+\\infty").replace("-+", "-"),
        )
        yield re.sub(r"\)", "\\\\right)", re.sub(r"\(", "\\\\left(", g))


@rule("list and set")
def _(g):
    if e := items(g):
        yield from (
            ", ".join(e[::-1]),
            f"\\{{{', '.join(e)}\\}}",
            ", ".join(f"x={v}" for v in e),
            f"x = {', '.join(e)}",
        )
        yield from (" \\text{ or } ".join(f"x = {v}" for v in e), f"{', '.join(e[:-1])} \\text{{ and }} {e[-1]}")
        yield from (f"{', '.join(e[:-1])} and {e[-1]}", ", ".join(f"x_{i} = {v}" for i, v in enumerate(e, 1)))
        yield from (f"x \\in \\left\\{{ {', '.join(e)} \\right\\}}", ",\\ ".join(e), ",\\quad ".join(e), "; ".join(e))
        yield " \\text{ or } ".join(e)
    if found := re.fullmatch(r"(\d+) \\pm (.*)", g):
        a, b = found.groups()
        yield from (f"{a}±{b}", f"x = {g}", f"{a}+{b}, {a}-{b}", f"{a} - {b} \\text{{ and }} {a} + {b}")
        yield from (f"\\{{{a}-{b}, {a}+{b}\\}}", f"x = {a}+{b} \\text{{ or }} x = {a}-{b}", f"\\pm {b} + {a}")
    if found := re.fullmatch(r"\\\{(\d+)\\pm(.*),(.*)\\\}", g):
        a, b, c = found.groups()
        yield from (f"{c}, {a} \\pm {b}", f"{a}+{b}, {a}-{b}, {c}", f"\\left\\{{{c}, {a}-{b}, {a}+{b}\\right\\}}")


@rule("words and choices")
def _(g):
    if found := re.fullmatch(r"\\text\{(\w+)\}", g):
        w = found[1]
        yield from (
            w,
            f"\\textbf{{{w}}}",
            f"\\mathrm{{{w}}}",
            w.lower(),
            f"\\text{{{w}.}}",
            f"\\textit{{{w}}}",
            f'"{w}"',
        )
        yield from (w.upper(), f"\\text{{ {w} }}", f"\\mbox{{{w}}}", f"\\textrm{{{w}}}", f"\\texttt{{{w}}}", w.title())
    if found := re.fullmatch(r"\\text\{\((\w)\)\}", g):
        w = found[1]
        yield from (
            w,
            f"({w})",
            f"\\textbf{{({w})}}",
            f"\\mathrm{{({w})}}",
            f"\\text{{{w}}}",
            f"{w})",
            f"\\text{{Option {w}}}",
        )
        yield from (f"{w}.", f"\\text{{choice ({w})}}", f"\\boldsymbol{{{w}}}", f"**{w}**", f"\\textbf{{({w}) }}")


@rule("order of terms")
def _(g):
    if len(t := terms(g)) > 1:
        yield from (join(t[::-1]), join(t[1:] + t[:1]), join(t[::-1]).replace(" ", ""), join(t).replace("-", "−"))


@rule("polynomial notation, factors")
def _(g):
    if is_scalar(g) and re.search(r"(?<![\\a-z])[a-zA-Z](?![a-z])", re.sub(r"\\[a-z]+", "", g)) and "\\" not in g:
        yield from (re.sub(r"\^(\d)", r"^{\1}", g), re.sub(r"(\d)([a-zA-Z])", r"\1 \2", g), g.replace("^", "**"))
        yield from (re.sub(r"(\d)([a-zA-Z])", r"\1*\2", g), re.sub(r"(\d)([a-zA-Z])", r"\1\\cdot \2", g))
        yield re.sub(r"\^(\d)", lambda m: m[1].translate(SUPERSCRIPT), g)
    found = [re.fullmatch(r"([+-]\d*)(.*)", t) for t in terms(g)] if "\\frac" not in g else []
    k = gcd(*(int(f[1] + "1" * (f[1] in "+-")) for f in found)) if len(found) > 1 and all(found) else 1
    if k > 1:
        parts = [(int(f[1]) // k, f[2]) for f in found]
        inner = join(f"{c:+d}{v}" if abs(c) > 1 or not v else f"{'+' if c > 0 else '-'}{v}" for c, v in parts)
        yield from (f"{k}({inner})", f"{k}\\left({inner}\\right)", f"({inner}) \\cdot {k}", f"{k} \\times ({inner})")
    if found := re.fullmatch(r"\((\w)\+(\d)\)\((\w)\+(\d)\)", g):
        a, m, b, n = found.groups()
        yield from (
            f"{a}{b} + {n}{a} + {m}{b} + {int(m) * int(n)}",
            f"({b}+{n})({a}+{m})",
            f"({a} + {m}) \\cdot ({b} + {n})",
        )
    if found := re.fullmatch(r"\\frac\{(\d+)\+(\d+a)\}\{(\d+)\}", g):
        m, n, b = found.groups()
        yield from (f"({m}+{n})/{b}", f"\\frac{{{n}+{m}}}{{{b}}}", f"\\frac{{{m}}}{{{b}}} + \\frac{{{n}}}{{{b}}}")
    if g == "\\cot x":
        yield from (
            "\\cot(x)",
            "\\cot{x}",
            "cot x",
            "\\frac{\\cos x}{\\sin x}",
            "\\frac{1}{\\tan x}",
            "\\cot\\left(x\\right)",
        )


@rule("complex")
def _(g):
    if found := re.fullmatch(r"(-?\d+) ?([+-]) ?(\d*)i", g):
        a, s, b = found.groups()
        yield from (f"{a} {s} {b}\\mathrm{{i}}", f"{a} {s} i {b}", f"{a}{s}{b}\\cdot i", f"{a} {s} {b}*i", f"z = {g}")
        yield from (f"{a} {s} {b}\\,i", f"({a}) {s} ({b})i", f"{a} + ({s}{b})i".replace("(+", "("))


@rule("matrix")
def _(g):
    if r := rows(g):
        body, wide = " \\\\ ".join(" & ".join(row) for row in r), "c" * len(r[0])
        frac = re.sub(r"(-?)(\d+)/(\d+)", r"\1\\frac{\2}{\3}", body)
        for env in ("bmatrix", "pmatrix"):
            breaks = (
                body.replace("\\\\", "\\\\[4pt]"),
                body.replace(" \\\\ ", "\\\\\n"),
                body + " \\\\",
                frac,
                f"\n{body}\n",
            )
            yield from (
                f"\\begin{{{env}}}{text}\\end{{{env}}}" for text in (*breaks, frac.replace("frac", "dfrac"), body)
            )
        yield from (f"\\left(\\begin{{array}}{{{wide}}}{text}\\end{{array}}\\right)" for text in (body, frac))
        yield from (
            f"\\left[\\begin{{array}}{{{wide}}} {body} \\end{{array}}\\right]",
            f"A = {g}",
            f"\\mathbf{{v}} = {g}",
        )
        yield from (
            f"\\left(\\begin{{matrix}}{body}\\end{{matrix}}\\right)",
            f"\\left(\\begin{{smallmatrix}}{body}\\end{{smallmatrix}}\\right)",
        )
        common = {d for row in r for e in row for d in re.findall(r"/(\d+)", e)}
        if len(common) == 1 and body.count("/") == len(r):
            yield f"\\frac{{1}}{{{min(common)}}}\\begin{{pmatrix}}{re.sub(r'/[0-9]+', '', body)}\\end{{pmatrix}}"


@rule("base")
def _(g):
    if found := re.fullmatch(r"(\d+)_\{?(\d)\}?", g):
        n, b = found.groups()
        yield from (
            f"{n}_{{{b}}}",
            f"{n}_{{\\text{{{b}}}}}",
            f"{n}_{{({b})}}",
            f"({n})_{b}",
            f"{n}_\\text{{{WORDS[int(b)]}}}",
        )
        yield from (
            f"{n} (base {b})",
            f"{n} \\text{{ (base }} {b})",
            f"{n}_{{\\text{{base }} {b}}}",
            f"{n}{b.translate(SUBSCRIPT)}",
        )
        yield from (
            f"{n}\\text{{ base }}{b}",
            f"\\text{{{n}}}_{b}",
            f"{n} \\, _{b}",
            f"{n}_{{\\mathrm{{{WORDS[int(b)]}}}}}",
        )


@rule("equation")
def _(g):
    if g.count("=") == 1 and "=" not in g[:1]:
        left, right = (side.strip() for side in g.split("="))
        yield from (f"{left}={right}", f"{right} = {left}", f"{left} = {join(terms(right)[::-1])}")
        yield f"{left} - ({right}) = 0" if right != "0" else f"{join(terms(left)[:-1])} = -{terms(left)[-1][1:]}"
        if right == "0":
            yield join(("-" if t[0] == "+" else "+") + t[1:] for t in terms(left)) + " = 0"
    if found := re.fullmatch(r"x ?= ?(-?\d+)", g):
        yield from (found[1], f"\\text{{x}} = {found[1]}", f"x = {found[1]}.0")


@rule("entries swapped", MISS)
def _(g):
    e, r = entries(g), rows(g)
    yield from ([f"({', '.join(e[1:] + e[:1])})"] if len(set(e)) > 1 else [])
    yield from (["\\begin{pmatrix}" + " \\\\ ".join(" & ".join(x) for x in r[::-1]) + "\\end{pmatrix}"] if r else [])


@rule("exponent, root or base off by one", MISS)
def _(g):
    yield from (re.sub(r"\^(\d)", lambda m: f"^{int(m[1]) + 1}", g, count=1) if is_scalar(g) else g,)
    yield from (g.replace("\\sqrt{", "\\sqrt[3]{"), re.sub(r"_\{?(\d)\}?$", lambda m: f"_{int(m[1]) + 1}", g))
    yield from ([g.replace("\\pi", "\\pi^2", 1)] if "\\pi^" not in g else [])


@rule("interval end opened or closed", MISS)
def _(g):
    if (e := ends(g)) and "infty" not in e[1]:
        yield f"{'[' if e[0] == '(' else '('}{e[1]}, {e[2]}{e[3]}"
    if e and "infty" not in e[2]:
        yield f"{e[0]}{e[1]}, {e[2]}{']' if e[3] == ')' else ')'}"


@rule("term or item dropped", MISS)
def _(g):
    if len(t := terms(g)) > 1:
        yield from (join(t[:-1]), join(t[1:]))
    yield from ([", ".join(items(g)[:-1])] if items(g) else [])
    yield from (g.split(" \\cup ")[:1] if "\\cup" in g else [])
    yield g.replace("\\pm", "+")


@rule("digit changed or moved", MISS)
def _(g):
    if "text" not in g and "mbox" not in g:
        yield re.sub(r"\d(?!.*\d)", lambda m: str((int(m[0]) + 3) % 10 or 1), g)
    if (found := re.fullmatch(r"(.*?)(\d)(\d)", g)) and found[2] != found[3]:
        yield found[1] + found[3] + found[2]
    if number(g):
        yield from (g + "0", g[:-1] + ".5" if g.isdigit() else g + "1") if "frac" not in g and "." not in g else ()


@rule("reciprocal, complement, conjugate, root or pi dropped", MISS)
def _(g):
    if found := re.fullmatch(FRACTION, g):
        s, a, b = found[1], int(found[2]), int(found[3])
        yield from (f"{s}\\frac{{{b}}}{{{a}}}", f"{s}\\frac{{{a}}}{{{a + b}}}")
        yield from ([f"\\frac{{{b - a}}}{{{b}}}"] if a < b and 2 * a != b and not s else [])
    yield re.sub(r"([+-])( ?\d*i)$", lambda m: "+-"[m[1] == "+"] + m[2], g)
    yield from (
        re.sub(r"(\d) ?\\pi", r"\1", g),
        re.sub(r"\\sqrt\{(\d+)\}", r"\\cdot \1", g) if re.match(r"\d", g) else g,
    )


def report(table: dict[str, Rule], golds: list[str], expected: bool) -> None:
    """Print for every rule of the table how many pairs share an id, then the pairs that should not or should."""
    count, hits, wrong, per_gold = 0, 0, [], dict.fromkeys(golds, 0)
    for name, function in table.items():
        pairs = [(g, w) for g in golds for w in dict.fromkeys(function(tidy(g))) if w not in (g, tidy(g), "")]
        same = [ids[0] == ids[1] >= 0 for ids in answer_ids([list(pair) for pair in pairs], "math")]
        wrong += [(name, *pair) for pair, equal in zip(pairs, same, strict=True) if equal != expected]
        count, hits = count + len(pairs), hits + sum(same)
        print(f"{sum(same):5} of {len(pairs):5}  {name}")
        for gold, _ in pairs:
            per_gold[gold] += 1
    print(f"{hits:5} of {count:5}  in all ({hits / count:.2%}); at least {min(per_gold.values())} pairs per answer\n")
    for name, gold, written in wrong:
        print(f"  {name}: {gold!r} and {written!r}")


def main() -> None:
    lines = (Path(os.environ["MGRPO_TEST_DATA"]) / "math500.jsonl").read_text().splitlines()
    golds = list(dict.fromkeys(json.loads(line)["answer"] for line in lines))
    print(f"{len(golds)} distinct answers, written otherwise; pairs that share an id:")
    report(SAME, golds, True)
    print("near misses; pairs that share an id:")
    report(MISS, golds, False)


if __name__ == "__main__":
    main()
