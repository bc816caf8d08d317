"""Run directories as a run leaves them, written by what writes them there."""

import asyncio
import json
import threading
from contextlib import suppress

import pytest

from mgrpo.report.serve import LiveRuns, PageServer
from mgrpo.runs.files import MetricsWriter, write_completions


@pytest.fixture
def make_run(tmp_path):
    """Writes a run of 2 prompts x (2 + 1) completions; returns its directory. Files are named for their contents."""

    def make(name="run", steps=(10, 20), recipe="task: gsm8k\nmax_steps: 20\n", environment=None, **metrics):
        directory = tmp_path / name
        writer = MetricsWriter(directory / "metrics.jsonl")
        for step in steps:
            writer.write({"step": step, "vote/agreement": 0.5, **metrics})
            write_completions(completion_rows(), directory, step)
        writer.close()
        (directory / "config.yaml").write_text(recipe)
        (directory / "environment.json").write_text(json.dumps(environment or {"mgrpo": "0.1.0", "run_format": 1}))
        return directory

    return make


@pytest.fixture
def start_server():
    """Serves runs on a free port in a thread; returns the server, and what ends it."""
    ends = []

    def start(*directories):
        server = PageServer(LiveRuns(directories))
        loop = asyncio.new_event_loop()
        task = loop.create_task(server.accept())

        def run():
            with suppress(asyncio.CancelledError):
                loop.run_until_complete(task)

        thread = threading.Thread(target=run)
        thread.start()

        def end():
            if not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)
                thread.join()
                loop.close()
                server.listener.close()

        ends.append(end)
        return server, end

    yield start
    for end in ends:
        end()


@pytest.fixture
def rows():
    """The rows of one table of completions, as today's runs write them."""
    return completion_rows()


def completion_rows():
    """The first prompt's label is wrong and one completion dropped, the second's tied votes have the right one."""
    first = {"group": 0, "prompt": "3+4=", "fence": 0.25, "pseudo_label": "8", "is_tie": False, "right_answer": "7"}
    second = {"group": 1, "prompt": "2+2=", "fence": 0.125, "pseudo_label": "4", "is_tie": True, "right_answer": "4"}
    return [
        completion(first, "policy", "7", 0, 0.125, kept=False, reward=0.0, advantage=0.0, is_right=True),
        completion(first, "policy", "8", 1, 0.5, reward=1.0, advantage=1.0, is_right=False),
        completion(first, "momentum", "8", 1, 0.5, reward=1.0, is_right=False),
        completion(second, "policy", "4", 0, 0.75, reward=1.0, advantage=0.5, is_right=True),
        completion(second, "policy", "5", 1, 1.0, reward=0.0, advantage=-0.5, is_right=False),
        completion(second, "momentum", None, -1, 0.5, reward=0.0, is_right=False),
    ]


def completion(group, model, answer, answer_id, entropy, *, reward, is_right, kept=True, advantage=None):
    return {
        **group,
        "completion": f"so #{answer}",
        "answer": answer,
        "answer_id": answer_id,
        "model": model,
        "num_tokens": 4,
        "entropy": entropy,
        "kept": kept,
        "is_match": answer == group["pseudo_label"],
        "reward": reward,
        "advantage": advantage,
        "is_right": is_right,
    }
