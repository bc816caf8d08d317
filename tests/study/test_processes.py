import os

import pytest

from mgrpo.study import processes
from mgrpo.study.processes import make_pool


@pytest.mark.parametrize(
    ("visible", "workers", "gpus", "at_a_time"), [(None, None, ["0", "1"], 2), ("3,5", 4, ["3", "5"], 4)]
)
def test_one_run_a_gpu(monkeypatch, visible, workers, gpus, at_a_time):
    """How GPUs are handed out; no run is started on one."""
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setenv("TQDM_DISABLE", "1")  # a study sets it, and it is to be reset
    pool = make_pool({}, workers, num_runs=6, on_cpu=False)
    assert (pool.gpus, pool.workers, pool.context.get_start_method()) == (gpus, at_a_time, "spawn")


@pytest.mark.parametrize(
    ("num_runs", "workers", "at_a_time", "threads"), [(2, None, 2, "4"), (60, None, 8, "1"), (60, 3, 3, "2")]
)
def test_cores_are_shared_out(monkeypatch, num_runs, workers, at_a_time, threads):
    monkeypatch.setattr(processes, "count_cores", lambda: 8)
    monkeypatch.setattr(processes.forkserver, "ensure_running", lambda: None)
    monkeypatch.setattr(os, "environ", {})
    assert make_pool({}, workers, num_runs=num_runs, on_cpu=True).workers == at_a_time
    assert os.environ["OMP_NUM_THREADS"] == threads
