r"""The tokens of an answer that is written as mathematics, in LaTeX or in plain text.

What says nothing about the value goes: dollars and other wrappers, `\left` and `\right`, spacing commands, thousands
separators, invisible characters, degree signs (but 30° in a sine is 30 π / 180). What is written in several ways comes
out in one: `\dfrac` as `\frac`, `**` as `^`, π as `\pi`.
"""

import re
import unicodedata

TEXT = "\ue000"
r"""Begins a token that was in \text{...}; a private character, which no answer has after the clean-up."""
_TEXT_END = "\ue001"
_DEGREE = "\ue002"

OPENING = {
    **{"(": ")", "[": "]", "{": "}", r"\{": r"\}", r"\langle": r"\rangle"},
    **{r"\lfloor": r"\rfloor", r"\lceil": r"\rceil"},
}
"""Opening brackets, with what closes them."""
CLOSING = frozenset(OPENING.values())
SEPARATING_WORDS = ("and", "or")
FUNCTIONS = (
    *("sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh"),
    *("ln", "log", "exp", "sqrt", "pi", "infty"),
)
WORD_COMMANDS = {
    **{name: rf"\{name}" for name in FUNCTIONS},
    **{"infinity": r"\infty", "inf": r"\infty", "Pi": r"\pi"},
    **{"theta": r"\theta", "alpha": r"\alpha", "beta": r"\beta"},
    **{"asin": r"\arcsin", "acos": r"\arccos", "atan": r"\arctan"},
}
"""Words of plain text that are commands in LaTeX."""

_UNICODE = str.maketrans(
    {
        **dict.fromkeys("−–—‒﹣－", "-"),
        **dict.fromkeys("×⋅·∙•✕", r"\cdot "),
        **{"÷": "/", "∕": "/", "⁄": "/", "π": r"\pi ", "∞": r"\infty ", "∪": r"\cup ", "∈": r"\in ", "√": r"\sqrt "},
        **{"≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ", "≠": r"\ne ", "±": r"\pm ", "ℝ": r"\mathbb{R}"},
        **{"°": r"\circ ", "º": r"\circ ", "∅": r"\emptyset "},
        **{"½": r"\frac12 ", "¼": r"\frac14 ", "≈": r"\approx ", "¢": r"\text{ cents}", "∠": r"\angle "},
        **{"¾": r"\frac34 ", "⅓": r"\frac13 ", "⅔": r"\frac23 ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta "},
        **{"γ": r"\gamma ", "λ": r"\lambda ", "ω": r"\omega ", "φ": r"\phi ", "⟨": r"\langle ", "⟩": r"\rangle "},
        **{"£": "", "€": "", "¥": "", "％": "%", "，": ",", "\xa0": " ", "\u2009": " ", "\u202f": " ", "∣": "|"},
    }
)
_WRAPPER = re.compile(
    r"\s*(?:\$\$(?P<a>[^$]*)\$\$|\$(?P<b>[^$]*)\$|\\\((?P<c>.*)\\\)|\\\[(?P<d>.*)\\\]|\*\*(?P<e>[^*]*)\*\*"
    r"|`(?P<f>[^`]*)`|\\boxed\s*\{(?P<h>.*)\}|\{(?P<i>[^{}]*)\}|(?P<g>.*\S)[.;,:])\s*",
    re.DOTALL,
)
_TEXT_COMMAND = re.compile(
    r"\\(?:text|mbox|hbox|textbf|textit|textrm|texttt|textnormal|mathrm|operatorname)\s*\{([^{}]*)\}"
)
_NOISE = re.compile(
    r"\\(?:left|right|middle|big|Big|bigg|Bigg|bigl|bigr|Bigl|Bigr|displaystyle|textstyle|limits|nolimits|quad|qquad"
    r"|mathstrut|thinspace|enspace|hfill|bf|rm|it|mathbf|mathit|mathsf|mathbb|boldsymbol|bm)(?![A-Za-z])"
    r"|(?<!\\)\\[,;:!> ]|(?<=\\\\)\s*\[[\d.]*(?:pt|em|ex|mm|cm)\]|~"
)
# 2e-3 is twice e less three; 2.0e-3, 2e-03 and 2e3 are numbers.
_TOKEN = re.compile(
    r"\d+\.\d+[eE][-+]?\d{1,3}(?![\d.])|\d+[eE](?:\+?\d{1,3}|-\d{2,3})(?![\d.])"
    r"|\d+(?:\.\d+)?|\.\d+|\\[A-Za-z]+|\\.|[A-Za-z]+|\*\*|<=|>=|(?<=\s)!=|\s+|.",
    re.DOTALL,
)
_BRACKET_OR_THOUSANDS = re.compile(r"\\[{}]|[()\[\]]|(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?!\d|,\d)")
_RENAMED = {
    **dict.fromkeys((r"\dfrac", r"\tfrac", r"\cfrac"), r"\frac"),
    **dict.fromkeys((r"\dbinom", r"\tbinom"), r"\binom"),
    **dict.fromkeys((r"\times", r"\ast", "*"), r"\cdot"),
    **dict.fromkeys((r"\lvert", r"\rvert", r"\vert", r"\mid"), "|"),
    **{r"\leq": r"\le", r"\leqslant": r"\le", "<=": r"\le", r"\geq": r"\ge", r"\geqslant": r"\ge", ">=": r"\ge"},
    **{r"\neq": r"\ne", "!=": r"\ne", r"\lt": "<", r"\gt": ">", "**": "^", r"\div": "/", r"\%": "%", r"\colon": ":"},
    **{r"\lbrace": r"\{", r"\rbrace": r"\}", r"\lbrack": "[", r"\rbrack": "]"},
    **dict.fromkeys((r"\degree", r"\textdegree", "degree", "degrees"), r"\circ"),
    **{r"\varphi": r"\phi", r"\varepsilon": r"\epsilon", r"\bar": r"\overline", r"\cent": f"{TEXT}cents"},
}
_SMALL = ("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "₀₁₂₃₄₅₆₇₈₉")
_SMALL_DIGITS = str.maketrans("".join(_SMALL), "0123456789-0123456789")
_SMALL_RUN = re.compile(f"(?P<fraction>[{_SMALL[0]}]+[⁄/][{_SMALL[1]}]+)|(?P<above>[{_SMALL[0]}]+)|[{_SMALL[1]}]+")
_OVER = re.compile(r"(?:(?<!\\)\{|\A)([^{}]*)\\(over|choose)(?![A-Za-z])([^{}]*)(?:\}|\Z)")
_EMPTY_SET = re.compile(r"\\(?:emptyset|varnothing)(?![A-Za-z])")
_REAL_NUMBERS = re.compile(r"\\mathbb\s*(?:\{\s*R\s*\}|R(?![A-Za-z]))")
_OTHER_NUMBERS = re.compile(r"\\mathbb\s*\{?\s*([NZQC])\b\s*\}?")
_TEXT_WITH_NUMBER = re.compile(r"([-+]?[\d./,]+)\s+(\D+)")
_TRIGONOMETRIC = frozenset((r"\sin", r"\cos", r"\tan", r"\cot", r"\sec", r"\csc", "sin", "cos", "tan", "cot", "csc"))
_DIRECTIONS = {"N": "north", "E": "east", "S": "south", "W": "west"}


def _in_full_size(match: re.Match[str]) -> str:
    """Raised and lowered digits as LaTeX: x¹⁰, 52₈ and ¹⁴⁄₃."""
    digits = match.group().translate(_SMALL_DIGITS)
    if match["fraction"]:
        above, below = re.split("[⁄/]", digits)
        return rf"\frac{{{above}}}{{{below}}}"
    return ("^" if match["above"] else "_") + (digits if len(digits) == 1 else f"{{{digits}}}")


def unwrapped(answer: str) -> str:
    """An answer without dollars, `**`, box or full stop around it, and without invisible characters."""
    text = re.sub(r"\{([,:])\}", r"\1", _SMALL_RUN.sub(_in_full_size, answer).translate(_UNICODE))
    text = "".join(character for character in text if unicodedata.category(character) not in ("Cf", "Co"))
    while match := _WRAPPER.fullmatch(text):
        inner = next(group for group in match.groups() if group is not None)
        if match["g"] is not None and inner.endswith("\\"):  # `\,` and `\;` are spaces
            break
        text = inner
    return re.sub(r"(?<!\\)\\$", "", text.strip())  # what is left of `5\ `


def tokenize(text: str) -> list[str]:
    r"""The tokens of an unwrapped answer: numbers, commands, words, single characters, and pieces of \text."""
    text = text.replace(r"\$", " ").replace("$", " ")
    text = re.sub(r",\s*\\!\s*", "", text).replace("{}^", "^")
    text = _OVER.sub(_in_front, re.sub(r"\.\((\d+)\)", r".\\overline{\1}", text))
    text = _REAL_NUMBERS.sub(r"(-\\infty,\\infty)", _EMPTY_SET.sub(r"\\{\\}", text))
    text = _OTHER_NUMBERS.sub(r"\\text{numbers \1}", re.sub(r"\\not\s*=", r"\\ne ", text))
    text = _NOISE.sub(" ", _TEXT_COMMAND.sub(rf"{TEXT}\1{_TEXT_END}", text))
    if re.fullmatch(r"-?[1-9]\d{0,2}(?: +\d{3})+", text.strip()):  # 1\,000
        text = text.replace(" ", "")
    tokens: list[str] = []
    piece = None  # of \text, as far as it has been read
    for token in _TOKEN.findall(_join_thousands(text)):
        if token == TEXT:
            piece = ""
        elif token == _TEXT_END:
            tokens += _text_tokens(piece or "")
            piece = None
        elif piece is not None:
            piece += token
        elif not token.isspace():
            tokens.append(_RENAMED.get(token, token))
    for i in range(1, len(tokens) - 1):
        if tokens[i] == "U" and tokens[i - 1] in (")", "]") and tokens[i + 1] in ("(", "["):
            tokens[i] = r"\cup"
        elif tokens[i] == "in" and tokens[i + 1] in ("(", "[", r"\{"):
            tokens[i] = r"\in"
    return _degrees_read(tokens)


def is_number(token: str) -> bool:
    """Whether a token is a number without a sign."""
    return token.isascii() and (token[0].isdigit() or (token[0] == "." and len(token) > 1))


def without_text_commands(text: str) -> str:
    r"""A text with the content of each \text{...} in its place."""
    return _TEXT_COMMAND.sub(r"\1", text)


def _join_thousands(text: str) -> str:
    """Join 1,000; inside brackets, where a comma separates, only what cannot be two numbers: (1,000)."""
    depth, pieces, end = 0, [], 0
    for match in _BRACKET_OR_THOUSANDS.finditer(text):
        if match.group()[-1] in "([{":
            depth += 1
        elif match.group()[-1] in ")]}":
            depth -= 1
        elif depth <= 0 or ",0" in match.group():
            pieces += [text[end : match.start()], match.group().replace(",", "")]
            end = match.end()
    return "".join([*pieces, text[end:]])


def _text_tokens(text: str) -> list[str]:
    stripped = text.strip(" .,").replace(r"\%", "%")
    if stripped in SEPARATING_WORDS:
        return [","]
    if stripped in (*WORD_COMMANDS, "i", "e") or re.fullmatch(r"[-+\d./:%, ]*", stripped):
        return [_RENAMED.get(token, token) for token in _TOKEN.findall(stripped) if not token.isspace()]
    if stripped in ("degree", "degrees", "deg"):
        return [r"\circ"]
    if stripped.startswith((r"\circ", r"^\circ")):  # 20\text{°C}
        return [r"\circ", *_text_tokens(stripped.partition(r"\circ")[2])]
    if match := _TEXT_WITH_NUMBER.fullmatch(stripped):  # \text{5 cm}
        return [*_text_tokens(match[1]), *_text_tokens(match[2])]
    return [TEXT + stripped] if stripped else []


def _in_front(match: re.Match[str]) -> str:
    r"""`{a \over b}` as `\frac{a}{b}`, `{a \choose b}` as `\binom{a}{b}`."""
    above, command, below = match.groups()
    return rf"\{'frac' if command == 'over' else 'binom'}{{{above}}}{{{below}}}"


def _degrees_read(tokens: list[str]) -> list[str]:
    r"""Drop degree signs (`^\circ`, `^{\circ}`, `\circ`); with a sine, or the like, turn their angles into radians.

    In 40^\circ N the letter is a direction.
    """
    has_function = not _TRIGONOMETRIC.isdisjoint(tokens)
    read: list[str] = []
    for i, token in enumerate(tokens):
        before = read[-1:]
        if token == r"\circ":
            is_braced = read[-2:] == ["^", "{"] and tokens[i + 1 : i + 2] == ["}"]
            read = read[: -2 if is_braced else -1] if is_braced or before == ["^"] else read
            if has_function and read:
                start = _start_of_operand(read)
                read[start:] = ["(", *read[start:], r"\cdot", r"\frac", "{", r"\pi", "}", "{", "180", "}", ")"]
            read.append(_DEGREE + "{" * is_braced)
        elif before == [_DEGREE + "{"]:
            read[-1] = _DEGREE  # and its closing brace goes
        elif before == [_DEGREE] and (direction := _DIRECTIONS.get(token.removeprefix(TEXT))):
            read.append(TEXT + direction)
        else:
            read.append(token)
    return [token for token in read if token != _DEGREE]


def _start_of_operand(tokens: list[str]) -> int:
    r"""Where the last number, letter, bracket or \frac begins."""
    start = len(tokens)
    while True:
        depth, start = 0, start - 1
        while start >= 0:
            depth += (tokens[start] in CLOSING) - (tokens[start] in OPENING)
            if depth <= 0:
                break
            start -= 1
        start = max(start, 0)
        if tokens[start] != "{" or tokens[start - 1 : start] != ["}"]:
            break
    return start - (tokens[start] == "{" and tokens[start - 1 : start] in ([r"\frac"], [r"\sqrt"]))
