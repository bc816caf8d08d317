import base64
import gzip
import json
import random
import re
import subprocess
import sys

import pytest

from mgrpo.cli import main
from mgrpo.runs.files import MetricsWriter, write_completions

LEFT_OUT = "The completions of {} of 1,000 steps are in this file, so that it stays below 8 MB"


@pytest.fixture
def report(tmp_path, capsys):
    """Runs `mgrpo report`; returns the file's text and its unpacked data blocks by name."""

    def report(*directories):
        output = tmp_path / "out" / "report.html"
        assert main(["report", *map(str, directories), "-o", str(output)]) == 0
        assert capsys.readouterr().out == f"{output}\n"
        text = output.read_text(encoding="utf-8")
        found = re.findall(r'<script type="application/gzip" id="([\w-]+)">([\w+/=]*)</script>', text)
        return text, {name: gzip.decompress(base64.b64decode(block)).decode() for name, block in found}

    return report


@pytest.fixture
def refused(tmp_path, capsys):
    """Runs `mgrpo report`; returns the sentence that it was refused with."""

    def report(*directories, output=tmp_path / "report.html"):
        assert main(["report", *map(str, directories), "-o", str(output)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return report


def test_one_run(make_run, report, finish):
    directory = make_run(**{"eval_gold/accuracy": 0.5, "step_time": 2.0, "time/sample_policy": 0.5})
    finish(directory)
    text, blocks = report(directory)
    assert blocks.keys() == {"data", "plotly", "completions-0-0"}
    assert "Plotly" in blocks["plotly"]
    data = json.loads(blocks["data"])
    (run,) = data["runs"]
    assert (data["live"], data["title"], data["notes"], data["differences"]) == (False, "run", [], [])
    assert [panel["id"] for panel in data["panels"]] == ["held-out", "agreement", "entropy", "time"]
    assert run["verdict"] == (
        "run: held-out accuracy began at 0.50, peaked at 0.50 (step 10), held, and ended at 0.50 (step 20)."
    )
    assert (run["state"], run["step"], run["max_steps"], run["updated"]) == ("finished", 20, 20, None)
    assert run["steps"] == [10, 20]
    assert run["metrics"]["vote/agreement"] == [0.5, 0.5]
    assert run["metrics"]["entropy/p10"] == [0.2375, 0.2375]  # as in test_completions.py
    assert run["metrics"]["time/learn"] == [1.5, 1.5]
    assert "time/label" not in run["metrics"]  # no phase that the run does not have
    assert run["completions"] == {
        "recorded": 2,
        "steps": [10, 20],
        "flags": [[9, 4], [9, 4]],
        "chunks": [[10, 20]],
        "cut": None,
    }
    assert run["notes"] == []
    assert [step["step"] for step in json.loads(blocks["completions-0-0"])] == [10, 20]


def test_a_run_without_right_answers_is_judged_by_what_is_known(make_run, report):
    directory = make_run(steps=[10], **{"answers/distinct": 7.5})
    event = {"step": 10, "kind": "alarm", "signals": ["vote/agreement"], "message": "It collapses."}
    verdicts = []
    for events in ("", json.dumps(event) + "\n"):
        (directory / "alarms.jsonl").write_text(events)
        verdicts.append(json.loads(report(directory)[1]["data"])["runs"][0]["verdict"])
    known = (
        "run: right answers were not measured; agreement 0.50 to 0.50, distinct labels 7.50 to 7.50, {}. "
        "Logged up to step 10 of 20: it is running, or ended early."
    )
    assert verdicts == [
        known.format("no collapse alarm was raised"),
        known.format("the collapse alarm came at step 10"),
    ]


def test_runs_of_different_tasks_side_by_side(make_run, report):
    first = make_run("a/seed-0", recipe="task: gsm8k\nbeta: 0.0\noutput_dir: a\n")
    second = make_run(
        "b/seed-0", recipe="task: math\noutput_dir: b\n\n# defaults of this version\nbeta: 0.005\nk: 1\n"
    )
    data = json.loads(report(first, second)[1]["data"])
    assert [run["label"] for run in data["runs"]] == ["a/seed-0", "b/seed-0"]
    assert data["title"] == "a/seed-0, b/seed-0"
    assert data["notes"] == ["The runs are of different tasks (gsm8k, math): their accuracies are not comparable."]
    # k is new since the first run, whose version had nothing else than its default.
    assert sorted((d["field"], d["values"]) for d in data["differences"]) == [
        ("beta", [0.0, 0.005]),
        ("task", ["gsm8k", "math"]),
    ]


def test_a_recipe_with_what_json_does_not_know(make_run, report):
    recipe = "task: gsm8k\nmax_grad_norm: .inf\ntask_options: {1: 2026-01-02}\n"
    (run,) = json.loads(report(make_run(recipe=recipe))[1]["data"])["runs"]
    assert run["recipe"]["fields"]["max_grad_norm"] == "inf"
    assert run["recipe"]["fields"]["task_options"] == {"1": "2026-01-02"}


def test_a_run_that_kept_no_completions(make_run, report):
    directory = make_run()
    for table in (directory / "completions").iterdir():
        table.unlink()
    _, blocks = report(directory)
    (run,) = json.loads(blocks["data"])["runs"]
    assert run["completions"]["steps"] == []
    assert run["notes"] == ["No completions were kept: log_completions was off, or they were removed."]


def test_an_evaluation_is_a_table_of_results_without_curves(make_run, report):
    runs = [make_run(f"eval/{name}", steps=[40], **{"gold/accuracy": share}) for name, share in (("a", 0.5), ("b", 1))]
    for run in runs:
        (run / "samples.jsonl").touch()
    data = json.loads(report(*runs)[1]["data"])
    assert [run["state"] for run in data["runs"]] == ["evaluated", "evaluated"]
    assert data["results"] == [
        ["", "step", "agreement", "accuracy"],
        ["a", "40", "50.0%", "50.0%"],
        ["b", "40", "50.0%", "100.0%"],
    ]
    assert data["panels"] == []


def test_a_table_that_is_not_whole(make_run, report):
    directory = make_run()
    (directory / "completions" / "step-000010.parquet").write_bytes(b"PAR1")
    _, blocks = report(directory)
    (run,) = json.loads(blocks["data"])["runs"]
    assert (run["completions"]["steps"], run["completions"]["recorded"]) == ([20], 2)
    assert run["metrics"]["entropy/p10"] == [None, 0.2375]
    assert run["notes"] == ["1 of 2 tables of completions are not whole: left out."]


def test_the_page_lets_no_other_script_run_and_asks_no_host(make_run, report):
    text, _ = report(make_run())
    policy = re.search(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', text)[1]
    rules = dict(rule.split(maxsplit=1) for rule in policy.split("; "))
    nonce = re.fullmatch(r"'nonce-([\w-]{24})'", rules.pop("script-src"))[1]
    assert rules == {
        "default-src": "'none'",
        "style-src": "'unsafe-inline'",
        "img-src": "data: blob:",
        "connect-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    scripts = re.findall(r"<script( [^>]*)?>", text)
    assert {script for script in scripts if "application/gzip" not in script} == {f' nonce="{nonce}"'}
    assert text.count("</script>") == len(scripts)
    assert not re.search(r'(src|href)="(?!#|data:)', text)
    assert text.index("Content-Security-Policy") < text.index("<script")


def test_what_a_model_wrote_is_data_alone(make_run, report, rows):
    hostile = "</script><script>alert(1)</script>\x1b[31m\x00{{scripts}}"
    directory = make_run("<b>{{csp}}")
    write_completions([{**row, "completion": hostile, "prompt": hostile} for row in rows], directory, step=20)
    text, blocks = report(directory)
    assert "alert(1)" not in text
    assert "<title>&lt;b&gt;{{csp}}</title>" in text
    assert json.loads(blocks["completions-0-0"])[1]["groups"][0]["text"] == [hostile] * 3


def test_the_same_runs_give_the_same_file(make_run, report, finish):
    directory = make_run()
    first, _ = report(directory)
    assert report(directory)[0] == first
    finish(directory)
    assert report(directory)[0] != first


def test_a_long_run_stays_below_8_mb(tmp_path, report):
    rng = random.Random(0)
    writer = MetricsWriter(tmp_path / "run" / "metrics.jsonl")
    for step in range(1, 1001):
        writer.write({"step": step, "vote/agreement": rng.random(), "kl": rng.random(), "entropy/mean": rng.random()})
        texts = [rng.randbytes(3000).hex() for _ in range(4)]  # 12 kB a step that do not become smaller
        write_completions(
            [{"prompt": "p", "completion": text, "model": "policy"} for text in texts], tmp_path / "run", step
        )
    writer.close()
    text, blocks = report(tmp_path / "run")
    (run,) = json.loads(blocks["data"])["runs"]
    steps = run["completions"]["steps"]
    assert 7_000_000 < len(text.encode()) < 8_000_000
    assert len(run["steps"]) == 1000
    assert 40 < len(steps) < 500 and (steps[0], steps[-1]) == (1, 1000)
    assert run["notes"][-1].startswith(LEFT_OUT.format(len(steps)))
    assert [step for chunk in run["completions"]["chunks"] for step in chunk] == steps
    assert [len(json.loads(blocks[f"completions-0-{c}"])) for c in range(len(run["completions"]["chunks"]))] == [
        len(chunk) for chunk in run["completions"]["chunks"]
    ]


def test_a_run_that_has_logged_nothing(refused, tmp_path):
    (tmp_path / "config.yaml").write_text("task: gsm8k\n")
    assert refused(tmp_path) == f"mgrpo: {tmp_path} has logged no step yet; wait for one, or use mgrpo watch."


def test_a_directory_without_a_run(refused, tmp_path):
    assert "holds no run: there is no metrics.jsonl in it" in refused(tmp_path)


def test_a_file_that_cannot_be_written(make_run, refused, tmp_path):
    (tmp_path / "taken").mkdir()
    refusal = refused(make_run(), output=tmp_path / "taken")
    assert refusal == f"mgrpo: {tmp_path / 'taken'} cannot be written (Is a directory); give another path."


def test_nothing_heavy_is_imported():
    code = (
        "import sys; import mgrpo.report.page, mgrpo.report.serve; "
        "print([m for m in ('torch', 'transformers', 'pandas', 'pyarrow', 'plotly') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"
