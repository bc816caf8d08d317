r"""Answers that are meant to do harm: what a model may write into \boxed{...}, by accident or because it pays.

`hostile_answers` gives them all, always the same ones in the same order. Some are written by hand, most are an attack
put into every place where an expression can stand. Where code would run, it would make one of `FILES`.
"""

import json
import random
import re
from collections.abc import Callable, Iterable

FILES = ("mgrpo_hostile_file", "/tmp/mgrpo_hostile_file")
"""What the payloads would create, in the working directory and outside it."""

PAYLOADS = (
    *(f"__import__('os').system('touch {file}')" for file in FILES),
    f"open('{FILES[0]}','w').write('x')",
    f"exec(\"open('{FILES[1]}','w')\")",
    f"eval(compile('open(\"{FILES[0]}\",\"a\")','x.py','eval'))",
    f"(lambda:__import__('subprocess').run(['touch','{FILES[0]}']))()",
    f"().__class__.__base__.__subclasses__()[-1].__init__.__globals__['os'].system('touch {FILES[1]}')",
    f"[c for c in ().__class__.__mro__[1].__subclasses__() if c.__name__=='Popen'][0](['touch','{FILES[0]}'])",
    f"Symbol('x').__class__.__init__.__builtins__['open']('{FILES[0]}','w')",
    f"getattr(__builtins__,'ev'+'al')('open(\"{FILES[1]}\",\"w\")')",
    f"pathlib.Path('{FILES[0]}').touch()",
    f"{{0.__class__.__init__.__globals__[os]}}{FILES[0]}",
)


def entries(text: str) -> list[str]:
    """The answers of a text: one a line, or several with three blanks between them."""
    return [entry for entry in re.split(r"\n| {3,}", text) if entry]


# Where an expression can stand, or a text, or a name.
PLACES = entries(r"""
@   $@$   \text{@}   \mathrm{@}   \operatorname{@}(1)   \boxed{@}   \@   '@'   "@"   @!   1@   @1   0.@   1e@   0x@
\sqrt{@}   \sqrt[@]{2}   \frac{@}{2}   \frac{2}{@}   \frac12@   \binom{@}{2}   x^{@}   x_{@}   x^@   x_@   \log_{@} 2
\sin(@)   f(@)   |@|   \lfloor @ \rfloor   1_{@}   5 @   @\%   x = @   @ = 1   x \in @   @ < 1   1 \pm @   @, 1   1:@
(@, 1)   \{1, @\}   [0, @)   \begin{pmatrix} @ & 1 \\ 1 & 1 \end{pmatrix}   \begin{@} 1 \end{@}
\int_{0}^{1} @ dx   \sum_{@} 1
""")
LONG_EXPRESSION = (
    r"\left\{ \left( \dfrac{-b \pm \sqrt[3]{b^{2}-4ac}}{2_{1}a}, \text{ cm}^2 \right] \cup [1{,}000, \infty) \right\}"
    r" = \begin{pmatrix} \binom{5}{2} & 2e-3 \\ \lfloor x \rfloor & 50\% \end{pmatrix} \text{ and } f(x) \le |{-1}|!"
    r" : 0.\overline{3}"
)
VOCABULARY = (
    *entries(r"""
\frac   \dfrac   \sqrt   \binom   \cdot   \times   \pm   \le   \ge   \ne   \lfloor   \rfloor   \lceil   \rceil   \infty
\pi   \theta   \alpha   \sin   \cos   \tan   \log   \ln   \exp   \arcsin   \cup   \in   \circ   \text{   \mathrm{
\operatorname{   \left   \right   \begin{pmatrix}   \end{pmatrix}   \overline{   \boxed{   \int   \sum   \prod   \lim
\langle   \rangle   \{   \}   \\   \,   \!   \%   \$   and   or   inf   cm   degrees   percent   sqrt   eval   lambda
__import__   __class__   0   1   2   3   7   9   10   16   99   999   9999   99999999   1,000   0.5   .5   1e5   1e999
x   y   a   n   e   i   E   f   f(x)   (   )   [   ]   {   }   ^   ^{   _   _{   **   !   !!   +   -   *   /   =   <
>
<=   ,   ;   :   |   &   %   $   .   '   "   #   ~   \   ½   ²   √   −   ×   π   ∞   ∪   ⟨   ١
"""),
    *(" ", "\n", "\x00", "\u200b", "\u202e", "\u0301", "\ud800", "\ue000", "\ue001", "\ue002", "\u2028"),
)
"""Tokens for random answers, allowed ones and others."""
TEMPLATES = entries(r"""
@+@   @-@   @@   @ \cdot @   @/@   \frac{@}{@}   \sqrt{@}   \sqrt[@]{@}   @^{@}   {@}^{@}   (@)^{@}   @!   (@)!   -@
(@)   |@|   \lfloor @ \rfloor   \lceil @ \rceil   \binom{@}{@}   \sin(@)   \cos @   \tan^{-1} @   \ln(@)   \log_{@} @
\log @   e^{@}   \exp(@)   f(@)   x_{@}   @ = @   @ < @   (@, @)   \{@, @\}   \left[ @, @ \right)   @ \pm @   @\%
x = @
""")
ATOMS = entries(r"""
0   1   2   3   7   10   16   99   9999   0.5   1e3   x   y   a   n   i   e   \pi   \theta   \infty   x^2   1/2
\sqrt2   f(x)
""")


def hostile_answers() -> list[str]:
    """All of them, without repetition."""
    sources: Iterable[Callable[[], list[str]]] = (
        *(powers, factorials, numbers, nesting, megabytes, half_cut, characters, endless, matrices, symbols, code),
        *(text_bombs, protocol, shapes, mutations),
    )
    return list(dict.fromkeys(answer for source in sources for answer in source()))


def grown(chance: random.Random, depth: int) -> str:
    """An expression of allowed tokens, and more or less well formed."""
    if depth == 0 or chance.random() < 0.1:
        return chance.choice(ATOMS)
    first, *others = chance.choice(TEMPLATES).split("@")
    return first + "".join(grown(chance, depth - 1) + other for other in others)


def mutated(answer: str, pool: list[str] | tuple[str, ...], chance: random.Random) -> str:
    """An answer with some characters dropped, and some pieces of the pool put in."""
    pieces = list(answer) or ["9"]
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(pieces))
        pieces[at : at + chance.randrange(3)] = chance.choices(pool, k=chance.randrange(3))
        pieces = pieces or ["9"]
    return "".join(pieces)


def powers() -> list[str]:
    """Towers: their values have more digits than there are atoms."""
    flat = ["^".join("9" * n) for n in (3, 4, 10, 100)] + ["**".join("9" * n) for n in (3, 5, 100)]
    braced = ["9^{" * n + "9" + "}" * n for n in (2, 3, 4, 10, 100)]
    bracketed = ["(" * n + "9" + "^9)" * n for n in (2, 3, 4, 8, 12)] + ["9^(" * n + "9" + ")" * n for n in (2, 3, 11)]
    roots = [r"\sqrt{" * n + "9^{9999}" + "}" * n for n in (1, 5, 11)] + ["√" * 30 + "9"]
    minus = ["x^" + "-" * n + "9" for n in (50, 500)]
    others = entries(r"""
\sqrt[9^{9^9}]{9}   \frac{9^{9^{9}}}{9^{9^{8}}}   \frac{1}{9^{9^{9}}}   2^{\frac{9999}{\frac{1}{9999}}}   1/9^9^9^9
9^{9999 \cdot 9999 \cdot 9999}   9^{9999^{9999}}   2^{2^{9999}}   9^{9!!}   9^⁹   9⁹⁹⁹   9²⁵²⁵²   9^²^²^²^²
(x+1)^{9999}   (x+y+z)^{9999}   (a+b+c+d)^{999}(a-b)^{999}   ((((((((x^9+1)^9+1)^9+1)^9+1)^9+1)^9+1)^9+1)^9+1)
i^{9^{9^9}}   (-1)^{9^{9^{9}}}   e^{e^{e^{9}}}   \exp(\exp(\exp(9)))   \exp(\exp(\exp(\exp(\exp(9999)))))
\pi^{\pi^{\pi^{\pi}}}   0^{-1}   0^{0^{0}}   0^{-9999}   1^{9^{9^{9}}}   2^{0.5^{-9999}}   9^{1e99}   9^{1e999}
1e999^{9999}   9^{\frac{1}{10^{-9999}}}   (10^{9999})^{9999}   ((10^{9999})^{9999})^{9999}   2^{-2^{9999}}   9^9!!!!
9^{+9^{+9^{+9}}}   9^{{9^{{9}}}}   9^{\left(9^{9}\right)}   e^{1000}   e^{-1000}
""")
    return [*flat, *braced, *bracketed, *roots, *minus, *others]


def factorials() -> list[str]:
    """Factorials, binomials and whole parts of what is too large."""
    nested = ["(" * n + "9" + "!)" * n for n in (1, 2, 3)] + ["3" + "!" * n for n in (2, 3, 10, 100, 500)]
    others = entries(r"""
\binom{9999999999}{4999999999}   \binom{10^{99}}{10^{98}}   \binom{9^{99}}{2}   \binom{-9999}{9999}   \binom{99999}{x}
\binom{\binom{\binom{99}{49}}{9}}{9}   \binom{x}{99999}   \binom{0.5}{999}   99999!   999999999!   10^{99}!
(10^{99})!   (10^{9999})!   x!!!!!!!!   (-1)!   0.5!   (0.5)!!   (9!)!/(9!-1)!   \sqrt{9999!}
\lfloor 9^{9^{9}} \rfloor
\lceil \pi^{9999} \rceil   \lfloor \sqrt{10^{9999}+1} \rfloor   \lfloor x^{9^{9^{9}}} \rfloor
\lfloor e^{999} - e^{999} \rfloor
\lfloor \lfloor \lfloor \lfloor 9^{999} \pi \rfloor \pi \rfloor \pi \rfloor \pi \rfloor   \lceil \sin(10^{9999}) \rceil
\lfloor \frac{9999!}{9998!} \rfloor
""")
    return [*nested, *others]


def numbers() -> list[str]:
    """Long numbers, and short ones that are long."""
    scientific = [f"{head}{'9' * n}" for n in (3, 4, 8, 9, 10, 300) for head in ("1e", "9.9E-", ".1e+")]
    written = entries(r"""
1 e 99999999   1\,e\,99999999   \text{1e99999999}   1e99999999/1e99999999   1/1e99999999   -1e99999999%   0e99999999
\frac{1e99999999}{2}   (1e99999999, 1)   x = 1e99999999   1e{99999999}   1e99999999 \text{ cm}   1e99999999:2
1e99999999, 2   \{1e-99999999\}   [0, 1e99999999)   x < 1e99999999   \pm 1e99999999   1 1/1e99999999
1 \cdot 10^{99999999}   10^{99999999}   1 \times 10^{9999}   10^{-9999}   10^{-9999} x = 0   1.2.3.4.5   1_{1}   1_0
9_{99}   1_{10^{9^9}}   2_{2_{2_{2}}}   ١٢٣   1 ١/٢   𝟙𝟚𝟛   ①   ²   ½½½   0x1p1000000   1_000_000   NaN   inf   -inf
nan/nan   \infty - \infty   \infty^{\infty}   \frac{\infty}{\infty}   0 \cdot \infty   1j   1/0   \frac{0}{0}   \frac10
0/0   1,0001,00,000
""")
    digits = ["9" * n for n in (400, 511, 512, 513, 4301, 5000, 10**5)] + ["0." + "3" * n for n in (400, 509, 5000)]
    repeating = [rf"0.\overline{{{'142857' * n}}}" for n in (1, 50, 80)] + [
        "9" * 200 + "." + "9" * 200 + r"\overline{9}"
    ]
    fractions = [rf"\frac{{{'9' * 240}}}{{{'7' * 240}}}", f"{'9' * 250}/{'7' * 250}", "½" * 80, "⅔" * 100]
    grouped = ["1" + group * 60 for group in (",000", r"\,000", " 000", "{,}000")]
    repeated = ["." * 500, "-" * 500 + "1", "+-" * 250 + "1", "0b" + "1" * 500, "1" + "%" * 500]
    return [*scientific, *written, *digits, *repeating, *fractions, *grouped, *repeated]


def nesting() -> list[str]:
    """Brackets in brackets, as deep as a text holds, closed, unclosed and closed the wrong way round."""
    brackets = [pair.split(" . ") for pair in entries(r"( . )   [ . ]   { . }   \{ . \}   \left( . \right)")]
    heads = [
        pair.split(" . ") for pair in entries(r"\sqrt{ . }   \frac{1}{ . }   1+( . )   f( . )   -( . )   \sin( . )")
    ]
    texts = [
        pair.split(" . ") for pair in entries(r"\text{ . }   \boxed{ . }   $ . $   \begin{pmatrix} . \end{pmatrix}")
    ]
    nested = [a * n + "1" + b * n for a, b in (*brackets, *heads, *texts) for n in (6, 12, 13, 60)]
    slow = [a * n + "1" + b * n for a, b in ((r"\lfloor ", r"\rfloor "), ("|", "|"), ("x_{", "}")) for n in (3, 5)]
    unclosed = [text for a, b in (*brackets, *heads) for text in (a * 100, b * 100, b * 50 + a * 50 + "1")]
    # The depth comes down first, so that a limit on the depth is met late.
    undermined = [
        r"\end" * 40 + "(" * 40 + "," + "(" * 60 + "1" + ")" * 60,
        r"\begin" * 40 + ")" * 40 + "," + "(" * 60 + "1" + ")" * 60,
        r"\begin" * 40 + ")" * 40 + "," + "1+(" * 40 + "1" + ")" * 40,
        r"\begin" * 30 + ")" * 30 + "," + r"\frac1{" * 25 + "1" + "}" * 25,
        "}" * 100 + ", " + "{" * 100 + "1" + "}" * 100,
    ]
    mixed = ["([{" * 30 + "1" + "}])" * 30, "([{" * 4 + "1" + ")]}" * 4, "(" * 200 + "," * 100 + ")" * 200]
    return [*nested, *slow, *unclosed, *undermined, *mixed, "|" * 400, "|x|" * 30]


def megabytes() -> list[str]:
    pieces = ("{", "\\", "9", ",", r"\boxed{", " 1", ". ", "\x00")
    return [(piece * 2**20)[: 2**20] for piece in pieces] + ["(" + "1," * 2**18 + "1)", "1" + " " * 2**19 + "1"]


def half_cut() -> list[str]:
    r"""LaTeX that stops anywhere, as where a completion reaches its limit, and LaTeX that starts anywhere."""
    prefixes = [LONG_EXPRESSION[:end] for end in range(1, len(LONG_EXPRESSION) + 1)]
    suffixes = [LONG_EXPRESSION[start:] for start in range(1, len(LONG_EXPRESSION), 7)]
    alone = entries(r"""
\   \\   \\\\   ^   _   ^^   __   ^_   {}   ()   []   \{\}   $   $$   $$$   &   #   %   ~   =   ==   =1   1=   <
<<<   1<   <1
1<2<3<4   ,   ,,,   ;   :   ::   !   /   //   \frac   \frac{   \frac1   \frac{1}   \frac{}{}   \frac{1}{   \frac}{
\sqrt
\sqrt[   \sqrt[3]   \sqrt[]{}   \begin   \begin{   \begin{pmatrix}   \end{pmatrix}   \left   \left(   \right   \text
\text{
\boxed   \boxed{}   \boxed{\boxed{}}   \pm   \pm\pm   \cup   1\cup   \cup 1   \in   x\in   \in x   \overline
0.\overline{}
**   ****   ``   `   \(   \(\)   \[   \[\]   \(\[   x^   x_   x^{}   x_{}   \log_   \circ   ^\circ   ^{\circ}
^{\circ   \circ}
""")
    repeated = ["=" * 100, r"^\circ" * 100, r"^{\circ" * 70, r"{\circ}^" * 60, "$" * 512, "**" * 256, "`" * 511]
    return ["", " ", "\n", *prefixes, *suffixes, *alone, *repeated]


def characters() -> list[str]:
    """Characters that are no letters, alone, inside a number, and between honest tokens."""
    odd = (
        *("\x00", "\x01", "\x07", "\x08", "\x0b", "\x0c", "\r", "\r\n", "\x1a", "\x1b[2J\x1b]0;x\x07", "\x7f", "\x85"),
        *(
            "\xa0",
            "\xad",
            "\ud800",
            "\udfff",
            "\udc80",
            "\ud83d",
            "\U0001f600",
            "\u200b",
            "\u200d",
            "\u2060",
            "\ufeff",
        ),
        *("\u202e", "\u2066", "\u200f", "\u0301", "\u0335", "\u20dd", "\u0301" * 100, "\u2028", "\u2029", "\u3000"),
        *("\u180e", "\ufffd", "\uffff", "\U0010ffff", "\ue000", "\ue001", "\ue002", "\ue000x\ue001", "\ue001x\ue000"),
        *("\ue000\ue000", "\uf8ff", "\U000f0000", "İ", "ß", "ﬁ", "Ⅷ", "𝐱", "е"),
    )
    placed = [place.replace("@", c) for c in odd for place in ("@", "1@2", r"\frac{1@}{2}", r"\text{a@b}")]
    markers = ["\ue0001\ue001", "\ue0005 cm", "x^\ue002", "^{\ue002}", r"\text{" + "\ue000}" * 3, "\ue000" * 500]
    repeated = ["√" * 500, "π" * 500, "−" * 500, "±" * 100, "∪" * 200, "\ud83d\ude00", "\ude00\ud83d", "1\u20442"]
    return [*placed, *markers, *repeated]


def endless() -> list[str]:
    """What takes for ever to work out, or never ends; the second half is of allowed tokens."""
    by_hand = entries(r"""
\int_{0}^{\infty} e^{-x^{2}} dx   \int \int \int \int x^{x^{x}} dx dx dx dx   \int_{0}^{1} \frac{\sin(x^{99})}{x^x} dx
\sum_{n=1}^{\infty} \frac{1}{n^{n}}   \sum_{n=1}^{10^{99}} n!   \sum_{k=0}^{9^{9^{9}}} \binom{9^9}{k}   \sum_{n}^{n} n
\prod_{n=1}^{\infty} (1+\frac{1}{n^{2}})   \prod_{p} \frac{1}{1-p^{-s}}   \lim_{x \to 0} \frac{\sin(x^{x^{x}})}{x!}
\lim_{n \to \infty} \sum_{k=1}^{n} \frac{\sin k}{k!}   \frac{d^{99}}{dx^{99}} \tan(x^{99})   \lcm(1,2,3)
\frac{\partial}{\partial x} x^{x^{x}}   \gcd(9^{9^{9}}, 9^{9^{8}})   9^{9^{9}} \mod 7   \max(9^{9^9}, 1)

\sin(10^{9999})   \sin(\sin(\sin(\sin(\sin(\sin(\sin(10^{999})))))))   \tan(\frac{\pi}{2})   \cot 0   \ln 0
\log_{1} 2
\log_{0} 0   \ln(\ln(\ln(\ln(2))))   \arcsin(9^{999})   \sqrt[0]{2}   \sqrt[9999]{9999!}   \sqrt{-\sqrt{-\sqrt{-1}}}
\sqrt{2+\sqrt{2+\sqrt{2+\sqrt{2+\sqrt{2+\sqrt{2+\sqrt{2}}}}}}}   \sqrt[3]{2+\sqrt{5}}+\sqrt[3]{2-\sqrt{5}}-1
(a+b+c)^{99}(a-b-c)^{99}(a+b-c)^{99}   e^{i\pi}+1   e^{\pi\sqrt{163}}-262537412640768744
\sin(\frac{\pi}{9999})^{9999}   \sqrt{(9^{999}+1)^{2}}-9^{999}   f(f(f(f(f(f(f(x)))))))   f(9^{9^{9}})   f(x)=g(x)=h(x)
f(x)^{9999}   |f(|g(|h(x)|)|)|   x = x = x   x \ne x   1 = 2
""")
    sums = ["+".join(f"x^{{{n}}}" for n in range(60)), "+".join(rf"\sqrt{{{n}}}" for n in range(2, 40))]
    products = [
        "*".join(f"(x-{n})" for n in range(60)),
        "x" * 200,
        "x y z " * 80,
        "xyz(" * 12 + ")" * 12,
        "a!b!c!" * 80,
    ]
    chains = [
        "=".join("x" * 50),
        "<".join("x" * 50),
        "|" + "x-|" * 20 + "1" + "|" * 20,
        "_".join("x" * 200),
        "^_" * 200,
    ]
    unclosed = [
        r"\sin^{-1}" * 9 + "x",
        r"\sin" * 15 + " 1",
        r"\log" * 60 + "x",
        r"\frac" * 90,
        r"\binom" * 80,
        "x'" * 200,
    ]
    fractions = [r"\frac12" * 70, r"\frac{1}{1+" * 11 + "x" + "}" * 11]
    return [*by_hand, *sums, *products, *chains, *unclosed, *fractions]


def matrices() -> list[str]:
    row = " & ".join("9" * 20)
    large = [r"\begin{pmatrix} " + r" \\ ".join([row] * n) + r" \end{pmatrix}" for n in (1, 5, 12, 200)]
    kinds = ("matrix", "vmatrix", "Vmatrix", "array", "cases", "x")
    others = entries(r"""
\begin{pmatrix} \end{pmatrix}   \begin{pmatrix} & \\ & \end{pmatrix}   \begin{pmatrix} 1 \end{bmatrix}   1 & 2 \\ 3 & 4
\begin{array}{c} 1   \begin{pmatrix} \begin{pmatrix} 1   \begin{pmatrix} 1 & 2 \\ 3 \end{pmatrix}^{9999}
\det \begin{pmatrix} 9^{9^9} \end{pmatrix}   \begin{pmatrix} 9^{9^9} & 1 \\ 1 & 1e99 \end{pmatrix}
""")
    repeated = [r"\begin{array}{" + "c" * 300 + r"} 1 \end{array}", r"\begin" * 60, "&" * 500, r"\\" * 250]
    return [*large, *(rf"\begin{{{kind}}} 1 & 2 \\ 1 & 1 \end{{{kind}}}" for kind in kinds), *others, *repeated]


def symbols() -> list[str]:
    """Names that mean something to Python or SymPy, and subscripts that are no indices."""
    names = entries(
        "__class__   lambda   None   True   import   self   Symbol   S   Q   E   I   O   N   oo   zoo   pi   Function"
    )
    subscripts = entries(r"""
{x_{x_{x_{x}}}}   {\text{__class__}}   {__}   {;}   {'}   {"}   {1,2,3}   {\frac{1}{0}}   {-1}   (1)   {{}}   {\\}
""")
    subscripts.append("{" + "9" * 400 + "}")
    return [
        *(name + tail for name in names for tail in ("", "(1)", "_{1}", "=1", ".__doc__")),
        *(f"{head}_{subscript}" for head in ("x", "1", r"\pi", r"\log", r"\lambda") for subscript in subscripts),
    ]


def code() -> list[str]:
    """Each place meets some of the payloads, and each payload some of the places."""
    placed = [
        place.replace("@", payload)
        for i, payload in enumerate(PAYLOADS)
        for j, place in enumerate(PLACES)
        if i == 0 or (i + j) % 3 == 0
    ]
    spelled = [payload.replace(" ", "").replace("'", "").replace("_", r"\_") for payload in PAYLOADS]
    shell = entries(r"""
$(touch @)   `touch @`   ; touch @   | touch @   && touch @ #   \write18{touch @}   \immediate\write18{touch @}
\input{@}   \openout1=@   \def\x{\x\x}\x   \loop\iftrue\repeat   \catcode`\%=12   \newcommand{\x}{\x}\x
\csname x\endcsname
""")
    return [*placed, *spelled, *(line.replace("@", file) for line in shell for file in FILES)]


def text_bombs() -> list[str]:
    """Against format strings and regular expressions, and what is code to other programs."""
    formats = entries("""
%n%n%n   %99999999d   {:>99999999}   {0:{0:{0}}}   {answer.__class__}   %(x)s   $x ${x}   <![CDATA[   ' OR 1=1 --
<script>alert(1)</script>   ../../../../etc/passwd   file:///etc/passwd   !!python/object/apply:os.system ['true']
${jndi:ldap://x}   {{7*7}}   <%= 7*7 %>
""")
    # Each is 512 characters or less: longer ones are not looked into.
    repeated = [
        *(
            "%s" * 100,
            "{" * 99 + "0" + "}" * 99,
            "a" * 40 + "!",
            "(a+)+" + "a" * 40 + "!",
            "(" * 50 + "a*" + ")*" * 50,
        ),
        *(
            "\\" * 511,
            "\\ " * 255,
            r"\\{" * 150,
            " " * 500 + "x",
            "x" + " " * 500 + "x",
            " \n" * 250 + ".",
            ". " * 250,
        ),
        *(", " * 250, "; " * 250 + "1", " and " * 100, "1 and " * 80 + "1", "1," * 250, "1;" * 250, "x=" * 250),
        *("-" + " " * 400 + "1", "1" + " 000" * 100 + " 00", "1,000" * 100, "," + " " * 400 + r"\!", r"\text" * 100),
        *((", " * 60 + r"\!") * 4, r"\text " * 80, r"\text{" * 80, r"\text{}" * 70, r"\text{a}" * 60, "~" * 500),
        *(r"\text{1" * 60 + "}" * 60, r"\left" * 100, r"\left\right" * 40, r"\,\!\;" * 80, "[" * 250 + "]" * 250),
        *("$" + " " * 250 + "x" + " " * 250 + "$", "]" * 250 + "[" * 250, "&x;" * 100, "cos\nsystem\n(S'true'\ntR."),
    ]
    return [*formats, *repeated]


def protocol() -> list[str]:
    """Lines that look like the worker's requests and replies, and what ends a line."""
    messages: list[object] = [
        {"value": True},
        {"value": {"kind": "exact", "values": ["1", "2"]}},
        {"failed": "timeout"},
        {"value": 1, "retiring": True},
        ["os:system", [f"touch {FILES[0]}"], 1.0],
        ["builtins:eval", ["1"], 1.0],
        *(None, [], {}, "", 1),
    ]
    lines = [json.dumps(message) for message in messages]
    ends = ("\n", "\r\n", "\u2028", "\x00", "\x85", "\n\n")
    broken = entries(r"""
"   "]   "], 1.0]   \"   \u0000   \u2028   \ud800   ["   NaN   Infinity   -Infinity   1E400   -0   null   true   EOF
retiring   {"__class__": "x"}
""")
    return [
        *lines,
        *(end + line + end for line in lines[:6] for end in ends),
        *(f"\\sqrt{{2{end}{line}}}" for line in lines[:6] for end in ends[:3]),
        *(*broken, "[" * 400, '{"a":' * 80, "\n" * 400, "1\n2\n3", "x\n" * 200 + "1", "]}" * 100, "\x04", "\x1a"),
    ]


def shapes() -> list[str]:
    """Lists, sets, intervals, assignments and units in each other."""
    by_hand = entries(r"""
x<y<z<1   1<x<2, 3<x<4   1<x>2   x<x   -x<x<x   x \in (1,2) \cup (x \in 3)   x=x   ((1,2),(3,4),((5,6),(7,8)))   (,)
(1,)   (,1)   [,]   \{,\}   (1;2)   (1,2]   ]1,2[   )1,2(   \{1,\{2,\{3,\{4\}\}\}\}   1:2:3:4   :1   1:   1:(2:3)
\pm 1 \pm 2   \pm \pm 1   1 \pm 2, 3 \pm 4   (\pm 1, \pm 2)   x = \pm y = \pm 1   1 \cup 2 \cup 3   (1,2) \cup
(1,2) U (3,4) U   (-\infty, \infty)   (\infty, -\infty)   [\infty]   \emptyset   x=1 or x=2 or x=3   x=1, y=2   x=y=1
(x,y)=(1,2)   f(x)=1   f(x)=f(x)   x_{1}=1, x_{2}=2   AB=CD   a b c d e f g = 1   5\%\%\%   %\%   5 percent percent
percent   cm   \text{cm}
""")
    slow = ",".join(f"(({n}!)!)!" for n in range(8, 50))  # each by itself takes all the time there is
    repeated = [
        f"({slow})",
        rf"\{{{slow}\}}",
        "x=" * 40 + "1",
        "x=(" * 12 + "1" + ")" * 12,
        r"\pm" * 100,
        r"\cup" * 100,
        "5" + " cm" * 80,
        "5" + "/s" * 8,
    ]
    return [*by_hand, *repeated, "5 " + "m^2" * 80, r"5 \text{ cm}" * 20, "5 " + "square " * 60]


def mutations() -> list[str]:
    """Honest answers with something dropped, doubled or put in."""
    honest = entries(r"""
\frac{3\sqrt{3}}{4}   \left( 3, \frac{\pi}{2} \right)   x^{2}+2x+1   (-\infty, 2) \cup (3, \infty)   1,000 \text{ cm}^2
2516_8
""")
    pool = (
        *entries(r"\frac   \sqrt   {   }   (   )   ^   _   !   9   e   ,   =   |   \text{   \pm"),
        "\x00",
        "\ue000",
        " ",
    )
    chance = random.Random(0)
    return [mutated(chance.choice(honest), pool, chance) for _ in range(150)]
