"""The pages of the site, their links and their code."""

import re
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from markdown.extensions.toc import slugify

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FENCE = re.compile(
    r'(?:^<!-- (?P<mark>run|run: slow|no run: [^>]+) -->\n)?^```(?P<language>\w*)(?: title="(?P<title>[^"]+)")?\n'
    r"(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s#]*)(#[^)\s]*)?\)")


@dataclass(frozen=True)
class Block:
    """A block of code: its language, the file it is to be saved as, and whether it is run."""

    language: str
    code: str
    title: str | None
    mark: str

    @property
    def commands(self):
        """Its commands, one a line, without comments."""
        lines = self.code.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks(page):
    return [
        Block(match["language"], match["code"], match["title"], match["mark"] or "")
        for match in FENCE.finditer(page.read_text(encoding="utf-8"))
    ]


def anchors(page):
    """The anchors of a page's headings, as the site makes them."""
    seen = Counter()
    found = set()
    for heading in re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE):
        slug = slugify(re.sub(r"[`*]|\]\([^)]*\)", "", heading), "-")
        found.add(f"{slug}_{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def broken_links(page):
    """The links of a page that lead to no file or to no heading."""
    broken = []
    for link, anchor in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"\w+:", link):
            continue
        target = page.parent / link if link else page
        if not target.is_file() or (anchor and target.suffix == ".md" and anchor[1:] not in anchors(target)):
            broken.append(link + anchor)
    return broken
