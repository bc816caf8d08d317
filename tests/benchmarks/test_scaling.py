"""docs/how-to/scaling.md says what the calculator says."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "scaling.py"


@pytest.fixture(scope="module")
def scaling():
    spec = importlib.util.spec_from_file_location("scaling", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_document_is_what_the_calculator_says(scaling):
    assert scaling.DOCUMENT.read_text(encoding="utf-8") == scaling.write(), "run python benchmarks/scaling.py"


@pytest.mark.parametrize(
    ("size", "billions", "without_embeddings"),
    # as the models' pages on the Hub give them
    [
        ("0.6B", 0.6, 0.44),
        ("1.7B", 1.7, 1.4),
        ("4B", 4.0, 3.6),
        ("8B", 8.2, 6.95),
        ("14B", 14.8, 13.2),
        ("32B", 32.8, 31.2),
    ],
)
def test_the_sizes_are_those_of_qwen3(scaling, size, billions, without_embeddings):
    shape = scaling.shape_of(size)
    assert shape.parameters / 1e9 == pytest.approx(billions, abs=0.05)
    assert (shape.parameters - shape.embeddings) / 1e9 == pytest.approx(without_embeddings, abs=0.05)
