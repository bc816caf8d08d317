"""Greedy accuracy of a study's final policies, and of their start, on held-out problems: results/STUDY/greedy.csv.

python studies/greedy.py STUDY RUNS    # what `mgrpo study studies/STUDY.yaml` wrote, of an embedded chains model
"""

import sys
from pathlib import Path

import pandas as pd
import torch
import yaml

from mgrpo.embedded.evaluate import evaluate
from mgrpo.embedded.task import chains
from mgrpo.models.load import load_model

RESULTS = Path(__file__).parent / "results"
NUM_PROBLEMS, SEED, TEMPERATURE = 512, 1, 1.1


def measure(model: str) -> dict[str, float]:
    """Greedy and sampled accuracy of a model, by name or directory."""
    policy, tokenizer = load_model(model)
    problems = chains(NUM_PROBLEMS, seed=SEED, split="test")
    found = evaluate(policy, tokenizer, problems, temperature=TEMPERATURE, num_samples=1, seed=0)
    return {"greedy": found["greedy_accuracy"], "sampled": found["sampled_accuracy"]}


if __name__ == "__main__":
    torch.set_num_threads(1)
    study, runs = sys.argv[1], Path(sys.argv[2])
    lines, starts = [], set()
    for final in sorted(runs.glob("**/final")):
        config = yaml.safe_load((final.parent / "config.yaml").read_text())
        is_of_study = final.parent.name.startswith("seed-")  # else NAME-SEED
        variant = final.parent.parent.name if is_of_study else final.parent.name.rpartition("-")[0]
        lines.append({"variant": variant, "seed": config["seed"], **measure(str(final))})
        starts.add(config["model_name_or_path"])
    lines += [{"variant": "start", "seed": 0, **measure(start)} for start in starts]
    (RESULTS / study).mkdir(parents=True, exist_ok=True)
    pd.DataFrame(lines).to_csv(RESULTS / study / "greedy.csv", index=False, float_format="%.4f")
    print(RESULTS / study / "greedy.csv")
