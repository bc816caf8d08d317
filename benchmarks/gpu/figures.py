"""M-GRPO against TRL's own GRPOTrainer on one GPU: time of a step, peak memory, momentum bandwidth, in one table.

Each line is a script of benchmarks/ in a process of its own: step_time.py, peak_memory.py, momentum_bandwidth.py, by
transformers and, where it is installed, vLLM. Rounds begin as long as the time given lasts, and what has not ended by
then is stopped and said to be missing. run.sh --figures starts this file.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(BENCHMARKS))

SIZE = {"prompts": 8, "num_generations": 24, "num_momentum_generations": 8, "rows": 16, "tokens": 512}
SMALL = {"prompts": 2, "num_generations": 3, "num_momentum_generations": 1, "rows": 2, "tokens": 4}
TOKENS_FOR_MEMORY = 64  # what is compared is there whatever the length


@dataclass(frozen=True)
class Figure:
    """A line of the table.

    Attributes:
        name: what is measured.
        command: a script of benchmarks/ and its options; `--json FILE` is added.
        share: of the time for steps, 0 where its length is its own.
        read: makes the cell out of what the script wrote.
        target: what it should be.
    """

    name: str
    command: list[str]
    share: float
    read: Callable[[Any], str]
    target: str


def main() -> int:
    options = _options()
    output: Path = options.output_dir
    if output.exists() and any(output.iterdir()):
        print(f"figures.py: {output} is not empty; name another directory", file=sys.stderr)
        return 2
    output.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + 60 * options.minutes
    figures = list(_figures(options))
    shares = sum(figure.share for figure in figures)
    lines, results, has_failed = [], {}, False
    for number, figure in enumerate(figures):
        path = output / f"{number}.json"
        seconds = 60 * options.minutes * options.stepping * figure.share / shares
        limit = ["--seconds", f"{seconds:.0f}"] if figure.share else []
        cell = _run([*figure.command, *limit, "--json", str(path)], ends)
        if cell is None:
            results[figure.name] = json.loads(path.read_text())
            cell = figure.read(results[figure.name])
        else:
            has_failed = True
        lines.append(f"| {figure.name} | {cell} | {figure.target} |")
        print(lines[-1], flush=True)
    text = "\n".join([f"{_device()}; {_size(options)}", "", "| | measured | target |", "|---|---|---|", *lines])
    (output / "figures.json").write_text(json.dumps({"device": _device(), "results": results}, indent=2) + "\n")
    (output / "figures.md").write_text(text + "\n")
    print(f"\n{text}\n\n{output / 'figures.md'}")
    return int(has_failed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output_dir", type=Path)
    parser.add_argument("--minutes", type=float, default=9.5, help="for everything (%(default)s)")
    parser.add_argument("--stepping", type=float, default=0.6, help="share of it for timed steps (%(default)s)")
    parser.add_argument("--model", default="smollm2", help="GGUF file or model directory (%(default)s)")
    parser.add_argument("--small", action="store_true", help="the least that runs, to try the script out on a CPU")
    for name, value in SIZE.items():
        parser.add_argument(f"--{name}", type=int, help=f"{value}; with --small {SMALL[name]}")
    options = parser.parse_args()
    for name, value in (SMALL if options.small else SIZE).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def _figures(options: argparse.Namespace) -> Iterator[Figure]:
    size = ["--model", options.model, *_words({name: getattr(options, name) for name in SIZE})]
    short = [*size, "--tokens", str(min(TOKENS_FOR_MEMORY, options.tokens))]
    kinds = {"all weights": [], "LoRA": ["--lora"]}
    for kind, words in kinds.items():
        command = ["step_time.py", *size, *words, "--warm_up", "1", "--rounds", "20"]
        yield Figure(f"step, {kind}", command, 1, _ratio, "0.92 of GRPO's")
    yield Figure(
        "step, with the filter",
        [
            "step_time.py",
            *short,
            "--warm_up",
            "1",
            "--rounds",
            "20",
            "--peer",
            "no-filter",
            "--iqr_multiplier",
            "0.75",
        ],
        0.3,
        _ratio,
        "1.02 of one without",
    )
    if find_spec("vllm") is not None:
        for kind, words in kinds.items():
            command = ["step_time.py", *size, *words, "--warm_up", "1", "--rounds", "2", "--vllm"]
            yield Figure(f"step, {kind}, vLLM", command, 0, _ratio_apart, "0.92 of GRPO's")
    for kind, words in kinds.items():
        command = ["peak_memory.py", *short, *words]
        yield Figure(f"peak memory, {kind}", command, 0, _memory, "1%" if words else "4.2 bytes a weight")
    for dtype in ("float32", "bfloat16"):
        command = ["momentum_bandwidth.py", "--dtype", dtype]
        yield Figure(f"momentum, {dtype}", command, 0, _bandwidth, "0.7 of a copy's bandwidth")


def _words(fields: dict[str, Any]) -> list[str]:
    return [word for name, value in fields.items() for word in (f"--{name}", str(value))]


def _run(command: list[str], ends: float) -> str | None:
    """Run a script; returns what to say in place of a figure where there is none."""
    left = ends - time.monotonic()
    if left <= 0:
        return "no time left"
    script, *words = command
    print(f"$ {script} {' '.join(words)}", flush=True)
    try:
        done = subprocess.run([sys.executable, BENCHMARKS / script, *words], stdout=subprocess.DEVNULL, timeout=left)
    except subprocess.TimeoutExpired:
        return "not done in time"
    return None if done.returncode == 0 else f"failed, exit code {done.returncode}"


def _ratio(timed: dict[str, list[dict[str, float]]]) -> str:
    from step_time import ratio_of

    median, q1, q3 = ratio_of(timed["peer"], timed["m-grpo"])
    seconds = _mean_step(timed["m-grpo"])
    return f"{median:.2f} ({q1:.2f} to {q3:.2f}, {len(timed['m-grpo'])} rounds, {seconds:.1f} s a step)"


def _ratio_apart(timed: dict[str, list[dict[str, float]]]) -> str:
    from step_time import ratio_of

    median, _, _ = ratio_of(timed["peer"], timed["m-grpo"], are_apart=True)
    return f"{median:.2f} ({_mean_step(timed['m-grpo']):.1f} s a step)"


def _mean_step(steps: list[dict[str, float]]) -> float:
    return sum(step["step"] for step in steps) / len(steps)


def _memory(result: dict[str, float]) -> str:
    return f"{result['bytes_a_weight']:.2f} bytes a weight, {result['share']:.1%}"


def _bandwidth(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {share:.2f}" for name, share in shares.items() if name != "copy")


def _size(options: argparse.Namespace) -> str:
    group = f"{options.num_generations} + {options.num_momentum_generations}"
    return f"{options.model}, {options.prompts} x ({group}), {options.tokens} tokens, passes of {options.rows} rows"


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "a CPU"


if __name__ == "__main__":
    sys.exit(main())
