"""The loss sees the kept policy completions and nothing else."""

import pytest
import torch

from mgrpo.algorithm import group_advantage, label_group

M, N, BETA, TEMPERATURE = 6, 2, 0.1, 1.1


def gradient(model):
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def log_probs(model, ids, start):
    logits = model(input_ids=ids).logits[0, start - 1 : -1] / TEMPERATURE
    return logits.log_softmax(-1).gather(1, ids[0, start:, None])[:, 0]


@pytest.mark.parametrize("kl_anchor", ["initial", "momentum"])
@pytest.mark.parametrize("mask_answer_span", [False, True])
def test_gradient_is_that_of_a_batch_that_never_had_the_others(
    make_trainer, chain_data, embedded, kl_anchor, mask_answer_span
):
    trainer = make_trainer(iqr_multiplier=0.0, beta=BETA, kl_anchor=kl_anchor, mask_answer_span=mask_answer_span)
    model = trainer.model.train()
    assert (trainer.ref_model is None) == (kl_anchor == "momentum")  # no third copy
    if kl_anchor == "momentum":
        trainer.start_momentum_model()
    with torch.no_grad():  # a policy away from the anchor: the KL term has a gradient
        for p in model.parameters():
            p.add_(0.005 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    if kl_anchor == "initial":
        trainer.start_momentum_model()
    anchor, _ = embedded()  # either way where training began
    output = trainer._generate_and_score_completions([row for row in chain_data(4) for _ in range(M)])
    labels = trainer.batch.labels
    mask = labels.groups.loss_mask.flatten()
    assert 0 < mask.sum() < mask.numel()
    trainer.current_gradient_accumulation_steps = 1
    trainer.compute_loss(model, output).backward()
    ours = gradient(model)
    model.zero_grad()

    # The same from scratch, over the kept rows alone: each its own forward pass without padding, GRPO's loss by hand.
    labelled = label_group(labels.ids, M, labels.entropy, 0.0)
    advantage = group_advantage(labelled.reward[:, :M], labelled.loss_mask).flatten()
    total, num_tokens = 0.0, 0
    for row in mask.nonzero()[:, 0].tolist():
        prompt = output["prompt_ids"][row][output["prompt_mask"][row].bool()]
        completion = output["completion_ids"][row][output["completion_mask"][row].bool()]
        ids = torch.cat([prompt, completion])[None]

        log_p = log_probs(model, ids, len(prompt))
        with torch.no_grad():
            log_ref = log_probs(anchor, ids, len(prompt))
        ratio = (log_p - log_p.detach()).exp()
        kl = (log_ref - log_p).exp() - (log_ref - log_p) - 1
        is_learnt = torch.ones(len(completion))
        if mask_answer_span and labels.answers[row // M][row % M] is not None:
            is_learnt[-3:-1] = 0  # a chain's answer: two digits before the end of text
        total = total + ((-ratio * advantage[row] + BETA * kl) * is_learnt).sum()
        num_tokens += is_learnt.sum()
    (total / num_tokens).backward()
    expected = gradient(model)
    assert expected.norm() > 1e-2
    assert (ours - expected).abs().max() < 1e-6


def test_momentum_completions_are_not_in_the_batch(make_trainer, chain_data):
    trainer = make_trainer()
    trainer.start_momentum_model()
    trainer.model.train()
    output = trainer._generate_and_score_completions([row for row in chain_data(4) for _ in range(M)])
    assert len(output["completion_ids"]) == 4 * M
    assert len(trainer.batch.momentum.completions) == 4 * N
    assert output["num_items_in_batch"] == output["completion_mask"].sum()
    assert trainer.state.num_input_tokens_seen == output["prompt_mask"].sum() + output["completion_mask"].sum()


def test_groups_in_which_nobody_answers_leave_the_loss(make_trainer, chain_data):
    trainer = make_trainer({"answer_fn": lambda text: None})
    trainer.start_momentum_model()
    trainer.model.train()
    output = trainer._generate_and_score_completions([row for row in chain_data(4) for _ in range(M)])
    assert output["num_items_in_batch"] == 0
    trainer.current_gradient_accumulation_steps = 1
    loss = trainer.compute_loss(trainer.model, output)
    loss.backward()
    assert loss == 0
    assert not gradient(trainer.model).any()
