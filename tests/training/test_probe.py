import json

import pytest
import torch
from datasets import Dataset

from mgrpo.answers import get_extractor
from mgrpo.runs import metrics as names
from mgrpo.training.config import MGRPOConfig
from mgrpo.training.probe import FILE_NAME, ProbeRow, load_rows, num_probe_prompts, padded, sample_probe, save_rows
from mgrpo.training.sampling.sampler import Rollouts

NUMBER = get_extractor("number")


def test_keeps_what_the_majority_of_a_prompt_answered():
    first = ["is 1", "is 1", "is 2", "none", "is 3", "so 1.0", "is 2", "none"]  # 1 three times, 2 twice
    tie = ["none", "is 5", "is 4", "is 4", "is 5", "none", "none", "none"]  # 5 and 4 twice: 5 came first
    silent = ["none"] * 8
    texts = [*first, *tie, *silent]
    sampled = Rollouts([[i] for i in range(24)], None, prompt_ids=[[0]] * 24, completions=texts)
    prompts = Dataset.from_dict({"prompt": ["a", "b", "c"]})
    rows = sample_probe(prompts, 3, 24, lambda *_: sampled, NUMBER, "math", lambda rows: torch.zeros(len(rows)))
    assert [row.completion_ids for row in rows] == [[0], [1], [5], [9], [12]]


@pytest.mark.parametrize(
    ("settings", "num_prompts"),
    [
        ({}, 64),  # the paper's 8 x (24 + 8) completions a step
        ({"gradient_accumulation_steps": 80}, 64),
        ({"per_device_train_batch_size": 6, "gradient_accumulation_steps": 4, "num_generations": 6}, 14),
        ({"gradient_accumulation_steps": 1, "num_momentum_generations": 0, "label_source": "policy"}, 6),
        ({"gradient_accumulation_steps": 1, "probe_prompts": 50}, 50),
        ({"per_device_train_batch_size": 2, "num_generations": 2, "gradient_accumulation_steps": 1}, 2),
        ({"probe_prompts": 0}, 0),
    ],
)
def test_a_probe_samples_no_more_than_two_steps_unless_it_is_asked_to(settings, num_prompts, tmp_path):
    config = MGRPOConfig(str(tmp_path), use_cpu=True, bf16=False, report_to="none", **settings)
    assert num_probe_prompts(config) == num_prompts


def test_prompts_are_padded_on_the_left_and_completions_on_the_right():
    ids, attention_mask, completion_mask = padded([ProbeRow([5, 6], [7], 0.0), ProbeRow([8], [9, 1, 2], 0.0)], 0)
    assert ids.tolist() == [[5, 6, 7, 0, 0], [0, 8, 9, 1, 2]]
    assert attention_mask.tolist() == [[1, 1, 1, 0, 0], [0, 1, 1, 1, 1]]
    assert completion_mask.tolist() == [[1, 0, 0], [1, 1, 1]]


def test_a_broken_file_is_no_probe(tmp_path):
    rows = [ProbeRow([1, 2], [3], -0.5)]
    save_rows(rows, tmp_path)
    assert load_rows(tmp_path) == rows
    (tmp_path / FILE_NAME).write_text((tmp_path / FILE_NAME).read_text()[:-5])
    assert load_rows(tmp_path) is None
    assert load_rows(tmp_path / "nowhere") is None


def test_log_probabilities_are_those_of_a_plain_forward_pass(make_trainer, tmp_path):
    trainer = make_trainer(max_steps=1, probe_prompts=4)
    trainer.train()
    rows = load_rows(tmp_path / "run")
    assert 4 <= len(rows) <= 4 * 8
    model, temperature = trainer.model.eval(), trainer.temperature
    changes = []
    for row in rows:
        tokens = torch.tensor([row.prompt_ids + row.completion_ids])
        with torch.no_grad():
            log_p = torch.log_softmax(model(tokens).logits[0].float() / temperature, dim=-1)
        start = len(row.prompt_ids) - 1
        of_tokens = [log_p[start + i, token].item() for i, token in enumerate(row.completion_ids)]
        changes.append(sum(of_tokens) / len(of_tokens) - row.log_prob)
    measured = trainer.probe.metrics()
    mean = sum(min(max(change, -0.05), 0.05) for change in changes) / len(changes)
    assert measured[names.PROBE] == pytest.approx(mean, abs=1e-5)
    assert measured[names.FORGOTTEN] == sum(change < -0.15 for change in changes) / len(changes)
    logged = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    # within rounding of a batched pass; the step has moved it
    assert logged[0][names.PROBE] == pytest.approx(mean, abs=1e-5)
    assert abs(logged[0][names.PROBE]) > 1e-4


def test_begins_at_zero_and_leaves_no_trace_in_training(make_trainer, weights_of, tmp_path):
    with_probe = make_trainer(output_dir=str(tmp_path / "with"), learning_rate=0.0, max_steps=1, probe_prompts=4)
    with_probe.train()
    assert with_probe.probe.metrics() == {
        names.PROBE: pytest.approx(0.0, abs=1e-6),
        names.FORGOTTEN: 0.0,
    }
    runs = []
    for prompts in (0, 4):
        trainer = make_trainer(output_dir=str(tmp_path / f"{prompts}"), probe_prompts=prompts)
        trainer.train()
        runs.append(weights_of(trainer))
        assert (trainer.probe is not None) == bool(prompts)
    for name, weight in runs[0].items():
        assert torch.equal(weight, runs[1][name]), name


def test_a_resumed_run_goes_on_from_the_same_answers(make_trainer, tmp_path):
    settings = {"save_strategy": "steps", "save_steps": 1, "max_steps": 2, "probe_prompts": 4}
    whole = make_trainer(**settings)
    whole.train()
    before = (tmp_path / "run" / FILE_NAME).read_bytes()
    resumed = make_trainer(**settings)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-1"))
    assert (tmp_path / "run" / FILE_NAME).read_bytes() == before
    assert resumed.probe.metrics() == whole.probe.metrics()
    assert whole.probe.metrics()[names.PROBE] != 0
