"""What comes along for clusters: accelerate takes it, and the job's script puts together what is meant."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from accelerate.commands import launch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import FullyShardedDataParallelPlugin, patch_environment
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

from mgrpo.recipes.files import RECIPES

CLUSTER = RECIPES / "cluster"
PROCESSES = {"ddp": 8, "fsdp2": 8, "fsdp2-2x8": 16, "zero2": 8, "zero3": 8}
COMMAND = ["-m", "mgrpo", "train", "--config", "qwen3-4b-math"]
STAND_IN = """\
#!/usr/bin/env bash
line="{name}$(printf '\\t%s' "$@")"
printf '%s\\n' "$line" >> calls.txt  # at once: two of them may write at the same time
"""

# The server is started in the background and stopped at the end: training, on several nodes, goes on when it is there.
WAIT_FOR_SERVER = """\
if [[ $1 != --nodes=1 && " $* " == *" --vllm_server_host "* ]]; then
  until grep -q $'vllm\\tserve' calls.txt; do :; done
fi
"""


def launched(*arguments):
    """The arguments of `accelerate launch` as it has completed them from the file, up to where it starts processes."""
    args, _, _ = launch._validate_launch_command(launch.launch_command_parser().parse_args([*arguments, *COMMAND]))
    return args


def test_none_is_left_out():
    assert {path.stem for path in CLUSTER.glob("*.yaml")} == PROCESSES.keys()


@pytest.mark.parametrize("name", PROCESSES)
def test_accelerate_takes_it(name):
    path = str(CLUSTER / f"{name}.yaml")
    config = load_config_from_file(path)  # refuses keys that it does not know at the top
    options = vars(launch.launch_command_parser().parse_args(COMMAND))
    for part in (config.fsdp_config, config.deepspeed_config):
        assert set(part or {}) <= options.keys()
    args = launched("--config_file", path)
    assert (args.num_processes, args.mixed_precision) == (PROCESSES[name], "bf16")
    assert args.num_machines == PROCESSES[name] // 8
    assert (args.multi_gpu, args.use_fsdp, args.use_deepspeed) == (
        name == "ddp",
        name.startswith("fsdp2"),
        name.startswith("zero"),
    )


@pytest.mark.parametrize("name", ["fsdp2", "fsdp2-2x8"])
def test_fsdp2_as_the_processes_see_it(name):
    environment = prepare_multi_gpu_env(launched("--config_file", str(CLUSTER / f"{name}.yaml")))
    with patch_environment(**environment):
        plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.reshard_after_forward is True
    assert plugin.cpu_ram_efficient_loading and not plugin.activation_checkpointing
    assert plugin.state_dict_type.name == "SHARDED_STATE_DICT"


@pytest.mark.parametrize(("name", "stage"), [("zero2", 2), ("zero3", 3)])
def test_deepspeed_as_the_processes_see_it(name, stage):
    args = launched("--config_file", str(CLUSTER / f"{name}.yaml"))
    args.deepspeed_fields_from_accelerate_config = ""
    args.main_process_port = 0  # a free one
    _, environment = prepare_deepspeed_cmd_env(args)
    assert environment["ACCELERATE_USE_DEEPSPEED"] == "true"
    assert environment["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == str(stage)
    assert environment["ACCELERATE_DEEPSPEED_ZERO3_INIT"] == str(stage == 3).lower()


# The job's script, with stand-ins that write down how they were called.


@pytest.fixture
def submit(tmp_path):
    """Runs slurm.sh in a job of some nodes; returns its result and what it called, a list of words each."""
    for name in ("srun", "accelerate", "vllm"):
        (tmp_path / name).write_text(STAND_IN.format(name=name))
        (tmp_path / name).chmod(0o755)
    with (tmp_path / "srun").open("a") as stand_in:
        stand_in.write(WAIT_FOR_SERVER)
    (tmp_path / "scontrol").write_text(
        STAND_IN.format(name="scontrol")
        + 'if [[ $1 == show ]]; then for i in $(seq "$3"); do echo "node$i"; done; fi\n'
    )
    (tmp_path / "scontrol").chmod(0o755)

    def run(num_nodes, *arguments, **environment):
        job = {"SLURM_JOB_NODELIST": str(num_nodes), "SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_PROCID": "1"}
        job |= {"SLURM_JOB_ID": "77", "NODE_SCRIPT": str(CLUSTER / "slurm_node.sh")}
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", str(CLUSTER / "slurm.sh"), *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, **job, "PATH": path, **environment},
        )
        calls = tmp_path / "calls.txt"
        lines = calls.read_text().splitlines() if calls.exists() else []
        words = [line.split("\t") for line in lines if not line.startswith("scontrol\tshow")]
        return done, sorted(words, key=lambda words: "vllm" in words)

    run.directory = tmp_path
    return run


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="a script for bash")


@needs_bash
def test_a_job_whose_last_node_samples(submit):
    done, (training, serving) = submit(3, "--config", "qwen3-4b-math", "--max_steps", "10")
    assert done.returncode == 0, done.stderr
    assert serving[:4] == ["srun", "--nodes=1", "--ntasks=1", "--nodelist=node3"]
    assert serving[4:8] == ["env", "VLLM_SERVER_DEV_MODE=1", "vllm", "serve"]
    assert training[:4] == ["srun", "--nodes=2", "--ntasks=2", "--nodelist=node1,node2"]
    assert training[-4:] == ["--config", "qwen3-4b-math", "--max_steps", "10"]
    place = training.index("--vllm_server_host")
    assert training[place + 1] == "node3"
    log = Path(training[training.index("--vllm_server_log") + 1])
    assert log.parent == submit.directory and log.exists()


@needs_bash
def test_what_a_node_is_told_is_what_accelerate_takes(submit, tmp_path):
    _, (training, _) = submit(3, "--config", "qwen3-4b-math")
    (tmp_path / "calls.txt").unlink()
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(training[4:], cwd=tmp_path, env={**os.environ, "PATH": path, "SLURM_PROCID": "1"}, check=True)
    (call,) = (tmp_path / "calls.txt").read_text().splitlines()
    name, *words = call.split("\t")
    assert (name, words[0]) == ("accelerate", "launch")
    words[words.index("--config_file") + 1] = str(CLUSTER / Path(words[words.index("--config_file") + 1]).name)
    args = launch.launch_command_parser().parse_args(words[1:])
    args, _, _ = launch._validate_launch_command(args)
    assert (args.num_machines, args.num_processes, args.machine_rank) == (2, 16, 1)
    assert (args.main_process_ip, args.main_process_port) == ("node1", 29500)
    assert args.use_fsdp and args.module and args.training_script == "mgrpo"


@needs_bash
def test_a_job_without_a_node_that_samples(submit):
    done, (training,) = submit(2, "--config", "qwen3-4b-math", VLLM_NODES="0")
    assert done.returncode == 0, done.stderr
    assert "--nodelist=node1,node2" in training and "--use_vllm" not in training


@needs_bash
def test_a_job_of_too_few_nodes(submit):
    done, calls = submit(1, "--config", "qwen3-4b-math")
    assert done.returncode == 2 and calls == []
    assert "the job has 1 nodes, of which vLLM takes 1; give --nodes one more" in done.stderr


@needs_bash
def test_a_job_whose_time_is_nearly_over_goes_back_into_the_queue(submit, tmp_path):
    """The batch shell is told (--signal=B:USR1@300), srun tells the nodes, whose runs end with 75."""
    (tmp_path / "srun").write_text(
        "#!/usr/bin/env bash\ntrap 'exit 75' USR1\nkill -USR1 $PPID\nfor i in $(seq 100); do sleep 0.1; done\n"
    )
    done, calls = submit(1, "--config", "qwen3-4b-math", VLLM_NODES="0")
    assert (done.returncode, calls) == (75, [["scontrol", "requeue", "77"]]), done.stderr


@needs_bash
@pytest.mark.parametrize(("code", "requeued"), [(0, []), (1, []), (75, [["scontrol", "requeue", "77"]])])
def test_only_such_a_job_does(submit, tmp_path, code, requeued):
    (tmp_path / "srun").write_text(f"#!/usr/bin/env bash\nexit {code}\n")
    done, calls = submit(1, "--config", "qwen3-4b-math", VLLM_NODES="0")
    assert (done.returncode, calls) == (code, requeued), done.stderr


@needs_bash
@pytest.mark.parametrize(
    ("sent", "ends_with", "code"), [("USR1", 1, 75), ("USR1", 0, 0), ("TERM", 1, 1), ("CONT", 3, 3)]
)
def test_a_node_passes_signals_on(tmp_path, sent, ends_with, code):
    """USR1 as TERM: torch's launcher knows TERM alone. That it ended for it is not to be seen from its own code."""
    launcher = tmp_path / "accelerate"
    waits = "for i in $(seq 100); do sleep 0.1; done" if sent != "CONT" else ""
    launcher.write_text(
        f"#!/usr/bin/env bash\ntrap 'exit {ends_with}' TERM\nkill -{sent} $PPID\n"
        f'[[ " $* " == *" --machine_rank 1 -m mgrpo "* ]] || exit 99\n{waits}\nexit {ends_with}\n'
    )
    launcher.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    command = ["bash", str(CLUSTER / "slurm_node.sh"), "-m", "mgrpo"]
    done = subprocess.run(command, env={**os.environ, "PATH": path, "SLURM_PROCID": "1"}, timeout=60)
    assert done.returncode == code
