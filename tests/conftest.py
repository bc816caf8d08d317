"""Fixtures: the embedded model, its data, and trainers over them that take a second to build."""

import gc
import os
import signal
import socket
import subprocess
import sys
import traceback
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the embedded model is slower on two threads than on one
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from hypothesis import settings

settings.register_profile("mgrpo", deadline=None, derandomize=True)  # the same examples each time, on any machine
settings.load_profile("mgrpo")


def pytest_collection_finish():
    """Leaves what is imported now out of every garbage collection: accelerate asks for one in each trainer, 0.3 s."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _flush_nothing():
    """No file of a test has to outlive a power cut; a flush takes 5 ms, and a short run has 60."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def chain_data():
    """Makes a data set of chained-arithmetic prompts with their right answers."""
    from datasets import Dataset

    from mgrpo.embedded.task import chains

    def make(num=64, seed=0, split="train"):
        return Dataset.from_list(
            [{"prompt": c.prompt, "answer": c.answer} for c in chains(num, seed=seed, split=split)]
        )

    return make


@pytest.fixture
def finish():
    """Makes the directory of a run that of a finished one, as far as can be seen without loading its model."""

    def finish(directory):
        (directory / "final").mkdir(parents=True)
        (directory / "final" / "config.json").write_text("{}")
        (directory / "final" / "model.safetensors").write_bytes(b"weights")

    return finish


@pytest.fixture
def embedded():
    """Loads the embedded model and its tokenizer, anew each time."""
    from mgrpo.models.load import load_model

    return lambda: load_model("embedded")


@pytest.fixture
def make_config(tmp_path):
    """Makes a configuration for the embedded model: 4 prompts x (6 + 2), a few steps, on one CPU core."""
    from mgrpo import MGRPOConfig

    def make(**overrides):
        settings = {
            "output_dir": str(tmp_path / "run"),
            "num_generations": 6,
            "num_momentum_generations": 2,
            "iqr_multiplier": None,
            "per_device_train_batch_size": 24,
            "gradient_accumulation_steps": 1,
            "max_completion_length": 14,
            "probe_prompts": 0,
            "learning_rate": 1e-3,
            "lr_scheduler_type": "constant",
            "warmup_steps": 0,
            "max_steps": 3,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            "use_cpu": True,
            "share_prompts": False,
            "bf16": False,
            "gradient_checkpointing": False,
            "seed": 0,
        }
        return MGRPOConfig(**{**settings, **overrides})

    return make


@pytest.fixture
def make_trainer(make_config, chain_data, embedded):
    """Makes an M-GRPO trainer of the embedded model; `trainer_kwargs` go to the trainer, the rest to its config."""
    from mgrpo import MGRPOTrainer
    from mgrpo.embedded.task import extract_answer

    def make(trainer_kwargs=None, **overrides):
        model, tokenizer = embedded()
        given = {
            "model": model,
            "args": make_config(**overrides),
            "train_dataset": chain_data(),
            "processing_class": tokenizer,
            "answer_fn": extract_answer,
        }
        return MGRPOTrainer(**{**given, **(trainer_kwargs or {})})

    return make


@pytest.fixture
def make_disk(tmp_path):
    """Makes a file system of its own, so many megabytes large; its directory."""
    places = []

    def make(megabytes):
        place = tmp_path / f"disk-{len(places)}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}M", "tmpfs", str(place)]
        mounted = subprocess.run(command, capture_output=True, text=True)
        if mounted.returncode:
            pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
        places.append(place)
        return place

    yield make
    for place in places:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture(scope="session")
def fork():
    """Forks a child that has imported everything already (a new process takes 8 s for that); returns its id.

    Its output goes to a file or a descriptor; it exits with what `act` returns, and with 99 after an exception.
    """

    def fork(act, output):
        child = os.fork()
        if child == 0:
            _act(act, output if isinstance(output, int) else os.open(output, os.O_WRONLY | os.O_CREAT))
        return child

    return fork


def _act(act, output):
    import torch

    code = 99
    try:
        torch.set_num_threads(1)  # OpenMP's other threads are not forked: a child would wait for them forever
        for stream in (1, 2):
            os.dup2(output, stream)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        code = act()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@pytest.fixture(scope="session")
def in_process_group(fork, tmp_path_factory):
    """Has forked children do something, as the ranks of a group that they may initialize; each must return 0."""

    def act_in_group(act, num_processes):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        directory = tmp_path_factory.mktemp("ranks")
        said = [directory / str(rank) for rank in range(num_processes)]
        left = [fork(partial(_act_as, rank, num_processes, port, act), path) for rank, path in enumerate(said)]
        codes = []
        try:
            while left:  # one that fails closes its connections, which ends the others
                codes.append(os.waitstatus_to_exitcode(os.waitpid(left[0], 0)[1]))
                del left[0]
        finally:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        assert not any(codes), "\n".join(path.read_text() for path in said)

    return act_in_group


def _act_as(rank, num_processes, port, act):
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)  # what trainers of the parent left there
    GradientState._reset_state()
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    values = (rank, rank, num_processes, num_processes, "127.0.0.1", port)
    os.environ.update(zip(names, map(str, values), strict=True))
    return act()


@pytest.fixture(scope="session")
def weights_of():
    """Copies a trainer's policy weights."""
    return lambda trainer: {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


@pytest.fixture(scope="session")
def sandbox():
    """Skips a test on a machine that has no sandbox for untrusted programs."""
    from mgrpo.errors import UserError
    from mgrpo.sandbox.sandbox import check_sandbox

    try:
        check_sandbox()
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture
def make_results():
    """Makes the results of a model from which samples are right, (Q, K) of each benchmark; settings by keyword."""
    import numpy as np

    from mgrpo.evaluation.metrics import measure
    from mgrpo.evaluation.results import BenchmarkResult, Model, Results, Source, UsedProtocol

    def make(right, name="Qwen/Qwen3-4B-Base", weights="policy", step=None, limit=None, sha256="0" * 64, **settings):
        benchmarks = {}
        for benchmark, is_right in right.items():
            is_right = np.array(is_right, bool)
            ids = np.where(is_right, 0, 1)
            benchmarks[benchmark] = BenchmarkResult(
                source=Source("lm-eval", "0.4.13", benchmark, None, "test", None, sha256),
                num_questions=is_right.shape[0],
                limit=limit,
                k=is_right.shape[1],
                template="{prompt}",
                system_prompt=None,
                conversational=True,
                chat_template_kwargs={"enable_thinking": False},
                extractor="boxed",
                equivalence="math",
                scoring="boxed, math",
                metrics=measure(is_right, ids, np.full(is_right.shape, 311)),
            )
        protocol = {
            **{"name": "m-grpo", "temperature": 0.8, "top_p": 1.0, "top_k": 0, "max_tokens": 3072, "seed": 0},
            **{"engine": "transformers", "dtype": "bfloat16", "versions": {"mgrpo": "0.1.0", "torch": "2.13.0"}},
            **settings,
        }
        return Results(Model(name, weights, step, None), UsedProtocol(**protocol), benchmarks)

    return make


@pytest.fixture
def make_evaluation(make_results):
    """Writes what an evaluation leaves of a model into a directory: results, and the samples of each benchmark."""
    import json

    from mgrpo.evaluation.results import write_results

    def make(directory, right, **settings):
        write_results(make_results(right, **settings), directory)
        for benchmark, of_questions in right.items():
            (directory / benchmark).mkdir()
            (directory / benchmark / "settings.json").write_text(json.dumps({"benchmark": benchmark}))
            samples = [
                {
                    **{"question": question, "number": number, "prompt": "", "completion": "...", "num_tokens": 1},
                    **{"is_finished": True, "answer": None, "is_right": bool(is_right), "harness_right": None},
                }
                for question, of_question in enumerate(of_questions)
                for number, is_right in enumerate(of_question)
            ]
            (directory / benchmark / "samples.jsonl").write_text("".join(json.dumps(s) + "\n" for s in samples))
        return directory

    return make
