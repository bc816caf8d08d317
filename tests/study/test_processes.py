import pytest

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
    pool = make_pool({}, workers, on_cpu=False)
    assert (pool.gpus, pool.workers, pool.context.get_start_method()) == (gpus, at_a_time, "spawn")
