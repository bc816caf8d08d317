"""Training on two processes, DDP, FSDP2 and DeepSpeed: gloo, CPU.

The slow tests start them with `accelerate launch`, the others fork them from this process.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

sys.path.append(str(Path(__file__).parent))
from on_cpu import sample_by_prompt  # noqa: E402

from mgrpo.cli import main  # noqa: E402
from mgrpo.embedded.cache import checkpoint_of  # noqa: E402
from mgrpo.recipes.files import RECIPES  # noqa: E402
from mgrpo.runs.checkpoints import checkpoints, fault_of  # noqa: E402
from mgrpo.runs.files import read_rows  # noqa: E402

ON_CPU = Path(__file__).with_name("on_cpu.py")
DDP = ["--multi_gpu"]  # `--cpu` starts one process; this starts them, and the recipe's `use_cpu` keeps them on the CPU
FSDP = [
    *("--use_fsdp", "--fsdp_version", "2", "--fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP"),
    *("--fsdp_state_dict_type", "SHARDED_STATE_DICT", "--fsdp_cpu_ram_efficient_loading", "false"),
]
ZERO2, ZERO3 = (["--use_deepspeed", "--zero_stage", stage, "--zero3_save_16bit_model", "true"] for stage in ("2", "3"))
needs_deepspeed = pytest.mark.skipif(
    find_spec("deepspeed") is None, reason="pip install --no-deps deepspeed hjson ..."
)
GROUPS = ("--num_generations", "6", "--num_momentum_generations", "2", "--iqr_multiplier", "0.75")
NUM_GROUPS = 4  # in a batch, over all processes
MOVED_QUICKLY = ("--learning_rate", "1e-3", "--warmup_steps", "0", "--momentum", "0.5", "--probe_prompts", "8")


def launch(output_dir, *overrides, kind=DDP, num_processes=2, by_prompt=False, exit_codes=(0,)):
    command = command_of(output_dir, *overrides, kind=kind, num_processes=num_processes)
    environment = {**os.environ, "SAMPLE_BY_PROMPT": str(int(by_prompt))}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment)
    assert done.returncode in exit_codes, done.stdout + done.stderr
    return done.stdout + done.stderr


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def command_of(output_dir, *overrides, kind=DDP, num_processes=2):
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch", "--num_processes", str(num_processes), *kind),
        *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
        *("--main_process_port", str(free_port()), str(ON_CPU)),
    ]
    command += words_of(output_dir, *overrides, num_processes=num_processes)
    if "--use_deepspeed" in kind:
        command += ["--use_cpu", "false", "--ddp_backend", "gloo"]  # accelerate has no DeepSpeed where use_cpu is on
    return command


def words_of(output_dir, *overrides, num_processes):
    words = ["train", "--config", "embedded", "--output_dir", str(output_dir), *GROUPS, "--share_prompts", "false"]
    words += ["--per_device_train_batch_size", str(6 * NUM_GROUPS // num_processes), "--logging_steps", "1"]
    return [*words, "--eval_strategy", "no", "--eval_on_start", "false", *overrides]


def train_by_prompt(output_dir, *overrides, num_processes):
    sample_by_prompt()
    return main(words_of(output_dir, *overrides, num_processes=num_processes))


def models(directory):
    return [load_file(Path(directory) / name / "model.safetensors") for name in ("final", "final/momentum")]


def completions(run, step):
    return pq.read_table(run / "completions" / f"step-{step:06d}.parquet").to_pylist()


def assert_same_weights(run, other, tolerance):
    """Both models' distance between the runs, over the way they went."""
    start = load_file(Path(checkpoint_of("embedded")) / "model.safetensors")
    for one, two in zip(models(run), models(other), strict=True):
        assert one.keys() == two.keys()
        apart = sum((one[name] - two[name]).square().sum() for name in one).sqrt()
        moved = sum((one[name] - start[name]).square().sum() for name in one).sqrt()
        assert moved > 0.1 and apart < tolerance * moved


FIVE_STEPS = ("--max_steps", "5", "--save_strategy", "no", *MOVED_QUICKLY)


@pytest.fixture(scope="module")
def one_process(tmp_path_factory, fork):
    """A run of one process, which those of two must equal."""
    directory = tmp_path_factory.mktemp("one")
    child = fork(lambda: train_by_prompt(directory / "run", *FIVE_STEPS, num_processes=1), directory / "said")
    assert os.waitpid(child, 0)[1] == 0, (directory / "said").read_text()
    return directory / "run"


@pytest.fixture(scope="module")
def by_ddp(tmp_path_factory, in_process_group):
    """The same run on two processes."""
    run = tmp_path_factory.mktemp("ddp") / "run"
    in_process_group(lambda: train_by_prompt(run, *FIVE_STEPS, num_processes=2), num_processes=2)
    return run


def test_vote_and_log_over_both(by_ddp):
    rows = read_rows(by_ddp / "metrics.jsonl")
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    # 2 processes x 2 groups x (6 + 2): metrics and completions are of all of them
    table = completions(by_ddp, 1)
    assert len(table) == 2 * 2 * 8
    assert len({row["prompt"] for row in table}) == 4
    agreement = sum(row["reward"] for row in table) / len(table)
    assert rows[0]["vote/agreement"] == pytest.approx(agreement)
    policy, momentum = models(by_ddp)
    assert policy.keys() == momentum.keys()
    assert any(not torch.equal(policy[name], momentum[name]) for name in policy)


def assert_same_runs(one, other):
    for step in range(1, 6):
        expected, found = completions(one, step), completions(other, step)
        assert [row["group"] for row in expected] == [group for group in range(NUM_GROUPS) for _ in range(6 + 2)]
        # groups whole and in order: each row with its prompt, its completion and its group's pseudo-label
        for name in ("group", "model", "prompt", "completion", "kept", "pseudo_label", "reward"):
            assert [row[name] for row in found] == [row[name] for row in expected]
    # 1e-5 is rounding: sums over 24 rows at once, or over 12 and 12
    assert_same_weights(one, other, tolerance=1e-3)
    expected, found = (read_rows(run / "metrics.jsonl")[-1] for run in (one, other))
    for name in ("momentum/distance", "probe/log_prob_change", "vote/agreement"):
        assert found[name] == pytest.approx(expected[name], rel=1e-3)


def test_one_process_and_two_by_ddp_come_to_the_same(one_process, by_ddp):
    """Completions follow from prompts and weights (on_cpu.py), so no matter which process samples, they agree."""
    assert_same_runs(one_process, by_ddp)


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_so_do_two_by_fsdp(tmp_path, one_process):
    launch(tmp_path / "fsdp", *FIVE_STEPS, kind=FSDP, by_prompt=True)
    assert_same_runs(one_process, tmp_path / "fsdp")


@pytest.mark.slow
def test_processes_with_different_recipes_do_not_train(tmp_path):
    """As on two nodes, where each is started by a command of its own."""
    place = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    words = ["train", "--config", "embedded", "--output_dir", str(tmp_path / "run"), "--max_steps", "2", "--momentum"]
    started = [
        subprocess.Popen(
            [sys.executable, str(ON_CPU), *words, momentum],
            env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, momentum in enumerate(("0.99", "0.9"))
    ]
    for process in started:
        _, said = process.communicate(timeout=200)
        assert process.returncode == 2, said
        assert "the processes disagree on the recipe: momentum is 0.99 on process 0 and 0.9 on process 1." in said
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@needs_deepspeed
@pytest.mark.timeout(700)
def test_so_do_two_by_deepspeed(tmp_path, one_process):
    for name, kind in {"zero2": ZERO2, "zero3": ZERO3}.items():
        launch(tmp_path / name, *FIVE_STEPS, kind=kind, by_prompt=True)
        assert_same_runs(one_process, tmp_path / name)


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.parametrize(
    "overrides",
    [("--beta", "0"), ("--use_peft", "true", "--lora_r", "4", "--lora_dropout", "0")],
    ids=["full-no-kl", "lora-kl"],
)
def test_processes_skip_different_rows_together(tmp_path, overrides):
    # plain descent, and more filtering: test_packing.py says why
    settings = ("--max_steps", "3", "--save_strategy", "no", "--optim", "sgd", "--learning_rate", "0.1")
    settings += ("--iqr_multiplier", "0.0", "--gradient_accumulation_steps", "2")
    settings += ("--per_device_train_batch_size", "6", *overrides)
    launch(tmp_path / "all", *settings, "--skip_zero_advantage", "false")
    launch(tmp_path / "packed", *settings)
    rows = read_rows(tmp_path / "packed" / "metrics.jsonl")
    assert max(row["learn/rows_skipped"] for row in rows) > 0
    (file,) = {path.name for path in (tmp_path / "all" / "final").glob("*model.safetensors")}
    expected, packed = (load_file(tmp_path / run / "final" / file) for run in ("all", "packed"))
    for name, weight in expected.items():
        torch.testing.assert_close(packed[name], weight, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "kind",
    [DDP, FSDP, pytest.param(ZERO2, marks=needs_deepspeed), pytest.param(ZERO3, marks=needs_deepspeed)],
    ids=["ddp", "fsdp", "zero2", "zero3"],
)
def test_resumes_to_the_same_bits(tmp_path, kind):
    settings = ("--max_steps", "4", "--save_steps", "2")
    launch(tmp_path / "whole", *settings, kind=kind)
    resume = ("--resume", str(tmp_path / "whole" / "checkpoint-2"))
    launch(tmp_path / "again", *settings, *resume, kind=kind)
    for whole, again in zip(models(tmp_path / "whole"), models(tmp_path / "again"), strict=True):
        assert whole.keys() == again.keys()
        assert all(torch.equal(whole[name], again[name]) for name in whole)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", [DDP, FSDP], ids=["ddp", "fsdp"])
def test_goes_on_where_a_checkpoint_cannot_be_written(tmp_path, make_disk, kind):
    """There is room for one or two; nobody waits for a process that could not write."""
    run = make_disk(4) / "run"
    output = launch(run, "--max_steps", "4", "--save_steps", "1", kind=kind, exit_codes=(0, 1))  # 1: accelerate's
    assert "the checkpoint could not be saved" in output and "(No space left on device)" in output
    assert "step 4/4" in output
    for step, checkpoint in checkpoints(run):
        assert step < 4 and fault_of(checkpoint) is None
    assert [row["step"] for row in read_rows(run / "metrics.jsonl")] == [1, 2, 3, 4]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sharded_run_goes_on_with_another_number_of_processes(tmp_path):
    settings = ("--max_steps", "4", "--save_steps", "2", *MOVED_QUICKLY)
    launch(tmp_path / "two", *settings, kind=FSDP, by_prompt=True)
    resume = ("--resume", str(tmp_path / "two" / "checkpoint-2"))
    launch(tmp_path / "one", *settings, *resume, kind=FSDP, num_processes=1, by_prompt=True)
    assert_same_weights(tmp_path / "two", tmp_path / "one", tolerance=1e-3)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", [DDP, FSDP], ids=["ddp", "fsdp"])
def test_rolls_back_together(tmp_path, kind):
    """At five times the recipe's rate the initial model's answers become unlikely within some steps."""
    run = tmp_path / "run"
    settings = ["--learning_rate", "1e-3", "--warmup_steps", "4", "--momentum", "0.5", "--probe_prompts", "16"]
    settings += ["--on_collapse", "rollback", "--rollback_lr_scale", "0.01", "--max_steps", "8", "--save_steps", "1"]
    launch(run, *settings, kind=kind)
    events = read_rows(run / "alarms.jsonl")
    assert [event["kind"] for event in events] == ["alarm", "rollback"]
    back_to = events[1]["healthy_step"]
    assert 0 < back_to <= events[0]["healthy_step"] < events[0]["step"]
    rows = read_rows(run / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 9))
    rolled_back = read_rows(run / "rolled-back" / "1" / "metrics.jsonl")
    assert [row["step"] for row in rolled_back] == list(range(back_to + 1, events[0]["step"] + 1))
    # The step behind the checkpoint is the same again, but for its rate: weights and random states were taken back.
    assert rows[back_to]["momentum/distance"] < rolled_back[0]["momentum/distance"]
    for name in ("vote/agreement", "completion/length", "entropy/mean"):
        assert rows[back_to][name] == rolled_back[0][name]


# Processes that are told to stop, or die.


class RunningProcess:
    """A run of two processes without an end, from its second checkpoint on."""

    def __init__(self, directory, command, **environment):
        self.run, self.said = directory / "run", directory / "said"
        with self.said.open("w") as said:
            self.launcher = subprocess.Popen(
                command, stdout=said, stderr=said, env={**os.environ, **environment}, cwd=directory
            )
        deadline = time.monotonic() + 240
        while not (self.run / "checkpoint-2" / "trainer_state.json").exists():
            assert self.launcher.poll() is None and time.monotonic() < deadline, self.said.read_text()
            time.sleep(0.1)
        self.processes = psutil.Process(self.launcher.pid).children(recursive=True)
        ranks = {process.environ().get("LOCAL_RANK"): process.pid for process in self.processes}
        self.ranks = [ranks["0"], ranks["1"]]

    def end(self, seconds):
        """The launcher's exit code, and what was said; of the processes none is left."""
        try:
            code = self.launcher.wait(timeout=seconds)
        finally:
            left = [process for process in self.processes if is_alive(process)]
            for process in left:
                process.kill()
        assert not left
        return code, self.said.read_text()


def is_alive(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


ENDLESS = ("--max_steps", "5000", "--save_steps", "2", "--probe_prompts", "0")


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("rank", [0, 1])
def test_one_that_is_killed_stops_the_other(tmp_path, rank):
    going = RunningProcess(tmp_path, command_of(tmp_path / "run", *ENDLESS))
    os.kill(going.ranks[rank], signal.SIGKILL)
    code, _ = going.end(seconds=60)
    assert code == 1  # the launcher's, which ends the other


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("told", ["rank 0", "rank 1", "launcher"])
def test_both_stop_behind_the_same_step_whoever_is_told(tmp_path, told):
    going = RunningProcess(tmp_path, command_of(tmp_path / "run", *ENDLESS))
    pid = going.launcher.pid if told == "launcher" else going.ranks[int(told[-1])]
    os.kill(pid, signal.SIGTERM)
    code, said = going.end(seconds=120)
    assert code == 1
    step = read_rows(tmp_path / "run" / "metrics.jsonl")[-1]["step"]
    checkpoint = tmp_path / "run" / f"checkpoint-{step}"
    stopped = [line for line in said.splitlines() if line.startswith(f"mgrpo: stopped: SIGTERM after step {step}")]
    assert len(stopped) == 2 and all(str(checkpoint) in line for line in stopped)
    assert (checkpoint / "momentum.safetensors").exists()


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(shutil.which("bash") is None, reason="a script for bash")
def test_a_node_of_a_slurm_job_whose_time_is_nearly_over(tmp_path):
    """recipes/cluster/slurm_node.sh with accelerate's own launcher, which dies of SIGUSR1 where it gets it itself."""
    words = command_of(tmp_path / "run", *ENDLESS)
    command = ["bash", str(RECIPES / "cluster" / "slurm_node.sh"), *words[3:]]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    going = RunningProcess(tmp_path, command, PATH=path, SLURM_PROCID="0")
    os.kill(going.launcher.pid, signal.SIGUSR1)
    code, said = going.end(seconds=120)
    assert code == 75, said
    step = read_rows(tmp_path / "run" / "metrics.jsonl")[-1]["step"]
    assert f"mgrpo: stopped: SIGTERM after step {step}" in said
