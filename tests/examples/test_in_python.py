"""The example of the documentation is a script that runs."""

import json
import os
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "in_python.py"


def test_the_example_trains_and_is_in_the_documentation(tmp_path, monkeypatch):
    code = EXAMPLE.read_text(encoding="utf-8")
    page = (ROOT / "docs" / "get-started.md").read_text(encoding="utf-8")
    assert f"```python\n{code[code.index('from datasets') :]}```" in page
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLE))
    rows = [json.loads(line) for line in Path("runs/in-python/metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 3
    assert {"model.safetensors", "config.json"} <= set(os.listdir("runs/in-python/final"))
