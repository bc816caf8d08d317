"""Answers that are words, whole or in part."""

import re
import unicodedata

from mgrpo.answers.form import Collection, Expression, Form, Sequence, Words
from mgrpo.answers.tokens import without_text_commands

MAX_LENGTH = 512
"""In characters: a parser's time grows with them, and no answer that can be compared as mathematics is so long."""
_TIME = re.compile(r"(?P<hour>\d{1,2})(?::(?P<minutes>\d\d))? ?(?P<half>[ap])\.? ?m\.?", re.IGNORECASE)


def words_form(text: str) -> Words:
    """A text without case, punctuation and spacing; single letters keep their case."""
    if len(text) <= MAX_LENGTH:
        text = without_text_commands(text)
    kept = "".join(c for c in text if c == " " or unicodedata.category(c)[0] not in "CZ")
    kept = re.sub(r"^(?:option|choice|answer)\s+(?=\(?[A-Za-z]\)?$)", "", kept.strip(), flags=re.IGNORECASE)
    bare = re.sub(r"(?<=[A-Za-z])[.,;!]", "", kept.replace("$", "").replace("\\", "")).strip(' .,;:!*"`')
    if re.fullmatch("'.*'", bare) or bare.startswith("'"):  # a quote; at the end alone it is a prime, as in x'
        bare = bare.strip("'")
    if re.fullmatch(r"\([^()]+\)|\(?[A-Za-z]\)?", bare):
        bare = bare.strip("( )")
    bare = " ".join((bare or kept.strip()).split())
    return Words(bare if len(bare.rstrip("'")) == 1 else bare.casefold())


def known_words(text: str) -> Form | None:
    r"""`6:30 PM`, `6:30\text{ p.m.}`, `all real numbers` and `empty set`, in whatever spelling."""
    plain = " ".join(re.sub(r"\\[,;:! ]|~", " ", without_text_commands(text)).split())
    plain = plain.replace(" :", ":").replace(": ", ":")
    if plain.casefold().rstrip(".") in ("all real numbers", "all reals"):
        return Sequence("(", ")", (Expression(r"- \infty"), Expression(r"\infty")))
    if plain.casefold().removeprefix("the ").rstrip(".") == "empty set":
        return Collection("set", ())
    time = _TIME.fullmatch(plain)
    # 3am may be a product of variables
    if time and (time["minutes"] or "." in plain or "\\" in text or " " in plain and time["half"].isupper()):
        return Words(f"{int(time['hour'])}:{time['minutes'] or '00'} {time['half'].lower()}m")
    return None
