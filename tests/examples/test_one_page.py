"""The one-page version and the trainer are the same method: equal numbers from equal completions."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

M, N = 6, 2
FILE = Path(__file__).parents[2] / "examples" / "mgrpo_in_one_page.py"


@pytest.fixture(scope="module")
def one_page():
    spec = importlib.util.spec_from_file_location("mgrpo_in_one_page", FILE)
    module = sys.modules["mgrpo_in_one_page"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def nudge_(model, seed):
    """Move the weights a little: models that are apart give the KL and the momentum update something to do."""
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.005 * torch.randn(p.shape, generator=torch.Generator().manual_seed(seed + p.numel())))


# 0 drops every completion below the lower quartile; the paper's 0.75 drops few of these
@pytest.mark.parametrize("iqr_multiplier", [None, 0.75, 0.0])
def test_labels_advantages_and_loss_are_the_trainers(make_trainer, embedded, chain_data, one_page, iqr_multiplier):
    trainer = make_trainer(iqr_multiplier=iqr_multiplier, beta=0.1, log_completions=True)
    nudge_(trainer.model, seed=0)
    trainer.start_momentum_model()
    nudge_(trainer.model, seed=1)
    trainer.model.train()
    output = trainer._generate_and_score_completions([row for row in chain_data(4) for _ in range(M)])
    trainer.current_gradient_accumulation_steps = 1
    expected_loss = trainer.compute_loss(trainer.model, output)
    groups = [trainer.run_files.completion_rows[start : start + M + N] for start in range(0, 4 * (M + N), M + N)]

    settings = one_page.Settings(num_policy=M, num_momentum=N, iqr_multiplier=iqr_multiplier, kl_coefficient=0.1)
    answers = [[row["answer"] for row in group] for group in groups]
    entropy = torch.tensor([[row["entropy"] for row in group] for group in groups])
    labels, reward, is_trained_on = one_page.label(answers, entropy, settings)
    advantage = one_page.group_advantage(reward, is_trained_on)
    tensors = [output[name] for name in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")]
    batch = one_page.Completions(*tensors, entropy=entropy, answers=answers)
    initial, _ = embedded()
    loss = one_page.grpo_loss(trainer.model, initial, batch, advantage, is_trained_on, settings)

    assert labels == [group[0]["pseudo_label"] for group in groups]
    assert reward.tolist() == [[row["reward"] for row in group[:M]] for group in groups]
    assert is_trained_on.tolist() == [[row["kept"] for row in group[:M]] for group in groups]
    torch.testing.assert_close(advantage.flatten(), output["advantages"], atol=1e-5, rtol=0)
    torch.testing.assert_close(loss, expected_loss, atol=1e-5, rtol=0)
    # not for want of anything to compare
    assert advantage.unique().numel() > 2
    assert is_trained_on.all() == (iqr_multiplier is None)

    num_tokens = output["completion_ids"].shape[1]
    with torch.no_grad():
        logits = trainer.model(
            torch.cat([batch.prompt_ids, batch.ids], dim=1), torch.cat([batch.prompt_mask, batch.mask], dim=1)
        ).logits[:, -num_tokens - 1 : -1]
    of_policy = one_page.trajectory_entropy(logits, batch.mask, settings.temperature).view(4, M)
    torch.testing.assert_close(of_policy, entropy[:, :M], atol=1e-5, rtol=0)


def test_momentum_update_is_the_trainers(make_trainer, embedded, one_page):
    trainer = make_trainer(max_steps=1, momentum=0.9)
    trainer.train()
    momentum_model, _ = embedded()  # where training began
    one_page.update_momentum_(momentum_model, trainer.model, 0.9)
    for ours, (policy, theirs) in zip(momentum_model.parameters(), trainer.momentum_model.pairs, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-7, rtol=0)
        assert not torch.equal(policy, theirs)


def test_ties_and_groups_without_a_label(one_page):
    settings = one_page.Settings(num_policy=3, num_momentum=1)
    answers = [
        ["11", "22", None, "22"],  # 2 votes of 3
        ["11", "22", None, None],  # a tie without the momentum model: the earlier one
        ["11", "22", "11", "22"],  # a tie: the momentum model's answer
        [None, None, None, None],
    ]
    labels, reward, is_trained_on = one_page.label(answers, torch.ones(4, 4), settings)
    assert labels == ["22", "11", "22", None]
    assert reward.tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert is_trained_on.tolist() == [[True] * 3, [True] * 3, [True] * 3, [False] * 3]
    advantage = one_page.group_advantage(reward, is_trained_on)
    assert not advantage[3].any()
    # rewards 0 1 0: mean 1/3, std sqrt((1/9 + 4/9 + 1/9) / 2) = 0.5774
    torch.testing.assert_close(advantage[0], torch.tensor([-0.5773, 1.1545, -0.5773]), atol=1e-4, rtol=0)


def run(one_page, monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["mgrpo_in_one_page.py", *arguments])
    one_page.main()
    return capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--method", "srt"], ["--iqr_multiplier", "0.75"]])
def test_trains(one_page, monkeypatch, capsys, arguments):
    output = run(one_page, monkeypatch, capsys, *arguments, "--steps", "2")
    assert "step   0  held-out accuracy 0.4" in output
    assert "step   2  held-out accuracy 0." in output


@pytest.mark.slow
def test_srt_collapses_and_mgrpo_holds(one_page, monkeypatch, capsys):
    assert "srt: accuracy collapsed" in run(one_page, monkeypatch, capsys, "--method", "srt")
    assert "m-grpo: accuracy held" in run(one_page, monkeypatch, capsys)
