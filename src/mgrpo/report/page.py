"""The page: one HTML file that holds its code, its style, its data and plotly, and asks no host for anything."""

import base64
import hashlib
import html
import re
from collections.abc import Sequence
from functools import cache, partial
from importlib.resources import files
from pathlib import Path

from mgrpo.errors import UserError
from mgrpo.report.bundle import Data, bundle, to_json
from mgrpo.report.completions import Group, compress, embed, read_groups, summarize_tables
from mgrpo.report.read import RunRecord, open_runs

LIMIT = 7_900_000
"""Bytes of the whole file. The names of its blocks and what the data says about them are not reckoned with: they take
some 10 kB, and the file stays below 8 MB."""


def write_report(run_directories: Sequence[Path], output: Path) -> None:
    """Write the page of some runs into one file, with as many of their completions as fit.

    Raises:
        UserError: if a directory holds no run, no step, or one of a newer version, or if the file cannot be
            written.
    """
    records = [reader.read() for reader in open_runs(run_directories)]
    for record in records:
        if not record.rows:
            raise UserError(f"{record.directory} has logged no step yet; wait for one, or use mgrpo watch.")
    data = bundle(records, [summarize_tables(record.tables) for record in records])
    chunks = _embed_completions(data, records)
    blocks = {"data": compress(to_json(data)), "plotly": plotly_block(), **chunks}
    # From the content, so that the same runs give the same file; no completion can hold the hash of itself.
    digest = hashlib.sha256(b"".join(blocks.values())).digest()
    text = page(data["title"], blocks, nonce=base64.urlsafe_b64encode(digest[:18]).decode())
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{output} cannot be written ({error.strerror}); give another path.") from error


def _embed_completions(data: Data, records: Sequence[RunRecord]) -> dict[str, bytes]:
    """The compressed completions by their blocks' names; which they are, and what is left out, goes into the data."""
    without = page(data["title"], {"data": compress(to_json(data)), "plotly": plotly_block()}, nonce="")
    left = (LIMIT - len(without.encode())) * 3 // 4  # base64 writes 3 bytes as 4 characters
    blocks: dict[str, bytes] = {}
    # The smallest first: what it leaves of its share goes to the larger ones.
    sizes = [sum(path.stat().st_size for path in record.tables.values()) for record in records]
    for num_done, r in enumerate(sorted(range(len(records)), key=sizes.__getitem__)):
        run, tables = data["runs"][r], records[r].tables
        whole, flags = run["completions"]["steps"], run["completions"]["flags"]
        embedded = embed(whole, partial(_read_step, tables), budget=left // (len(records) - num_done))
        left -= sum(map(len, embedded.chunks))
        blocks |= {f"completions-{r}-{c}": chunk for c, chunk in enumerate(embedded.chunks)}
        steps = [step for chunk in embedded.steps for step in chunk]
        flags_of = dict(zip(whole, flags, strict=True))
        run["completions"] |= {
            "steps": steps,
            "flags": [flags_of[step] for step in steps],
            "chunks": embedded.steps,
            "cut": embedded.cut,
        }
        run["notes"] += _completion_notes(len(tables), len(whole), len(steps), embedded.cut)
    return blocks


def _read_step(tables: dict[int, Path], step: int) -> list[Group]:
    return read_groups(tables[step]) or []


def _completion_notes(num_tables: int, num_whole: int, num_shown: int, cut: int | None) -> list[str]:
    notes = []
    if not num_tables:
        notes.append("No completions were kept: log_completions was off, or they were removed.")
    if num_whole < num_tables:
        notes.append(f"{num_tables - num_whole} of {num_tables:,} tables of completions are not whole: left out.")
    if num_shown < num_whole:
        notes.append(
            f"The completions of {num_shown} of {num_whole:,} steps are in this file, so that it stays below 8 MB; "
            "mgrpo watch shows all of them."
        )
    if cut is not None:
        notes.append(f"Prompts and completions of more than {cut:,} characters lack their middle.")
    return notes


def page(title: str, blocks: dict[str, bytes], nonce: str, live: bool = False) -> str:
    """Put the page together.

    Args:
        title: any text.
        blocks: compressed data by their names, as the page's code looks for them.
        nonce: marks the scripts that may run; no other may.
        live: whether the page may ask the host that it came from for more.
    """
    assets = {asset.name: asset.read_text(encoding="utf-8") for asset in (files(__package__) / "assets").iterdir()}
    scripts = [assets[name] for name in sorted(assets) if name.endswith(".js")]
    parts = {
        "title": html.escape(title),
        "csp": content_security_policy(nonce, live),
        "style": f"<style>\n{assets['page.css']}</style>",
        "blocks": "\n".join(
            f'<script type="application/gzip" id="{name}">{base64.b64encode(block).decode()}</script>'
            for name, block in blocks.items()
        ),
        "scripts": "\n".join(f'<script nonce="{nonce}">\n{script}</script>' for script in scripts),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda mark: parts[mark[1]], assets["page.html"])


def content_security_policy(nonce: str, live: bool = False) -> str:
    """Nothing from elsewhere, no script but the page's own; styles in attributes are plotly's way."""
    connect = "'self'" if live else "'none'"
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; img-src data: blob:; "
        f"connect-src {connect}; base-uri 'none'; form-action 'none'"
    )


@cache
def plotly_block() -> bytes:
    """Plotly's code, compressed: 1.5 MB of 4.8."""
    from plotly.offline import get_plotlyjs

    return compress(get_plotlyjs())
