import pytest

from mgrpo.evaluation.intervals import Estimate
from mgrpo.evaluation.results import BenchmarkResult, Model, Protocol, Results, Source


@pytest.fixture
def make_results():
    """Makes the results of a model: avg@4 of each benchmark, give or take 0.05; the rest can be overridden."""

    def make(name="Qwen/Qwen3-4B-Base", weights="policy", step=None, k=4, limit=None, sha256="0" * 64, **accuracies):
        benchmarks = {
            benchmark: BenchmarkResult(
                source=Source(
                    library="lm-eval",
                    version="0.4.13",
                    task=benchmark,
                    file=None,
                    split="test",
                    dataset_seed=None,
                    sha256=sha256,
                ),
                num_questions=500 if limit is None else limit,
                limit=limit,
                k=k,
                template="boxed",
                system_prompt=None,
                conversational=True,
                chat_template_kwargs={"enable_thinking": False},
                extractor="boxed",
                equivalence="math",
                scoring="the box's content equals the gold answer as mathematics",
                metrics={
                    f"avg@{k}": Estimate(accuracy, accuracy - 0.05, accuracy + 0.05),
                    "mean_length": Estimate(311.5, 300.0, 321.0),
                },
            )
            for benchmark, accuracy in accuracies.items()
        }
        protocol = Protocol(
            name="m-grpo",
            temperature=0.8,
            top_p=1.0,
            top_k=0,
            max_tokens=3072,
            engine="transformers",
            dtype="bfloat16",
            seed=0,
            versions={"mgrpo": "0.1.0", "torch": "2.13.0"},
        )
        return Results(Model(name=name, weights=weights, step=step, revision=None), protocol, benchmarks)

    return make
