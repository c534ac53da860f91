"""Chunked heads and their hand-written gradients against the plain forms."""

import pytest
import torch
import torch.nn.functional as F

import engine.losses as losses
from engine.losses import (
    logprobs_and_kl,
    policy_loss,
    read_kl,
    read_targets,
    supervised_loss,
    target_logprobs,
)


def given(rows: int = 37) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(rows, 16, requires_grad=True), torch.randn(50, 16), torch.randint(0, 50, (rows,))


@pytest.fixture(params=["one chunk, kept", "many chunks, computed again"])
def _chunks(request, monkeypatch):
    if request.param != "one chunk, kept":
        monkeypatch.setattr(losses, "_CHUNK_LOGITS_MAX", 5 * 50)
        monkeypatch.setattr(losses, "_KEPT_LOGITS_MAX", 0)


@pytest.mark.usefixtures("_chunks")
def test_target_logprobs_and_their_gradient_are_those_of_log_softmax():
    hidden, head, target = given()
    weight = torch.rand(37)
    plain = F.log_softmax(hidden @ head.t(), -1).gather(1, target[:, None])[:, 0]
    (expected,) = torch.autograd.grad(-(weight * plain).sum(), hidden)
    logprob = target_logprobs(hidden, head, target)
    torch.testing.assert_close(logprob, plain)
    (grad,) = torch.autograd.grad(supervised_loss(logprob, weight), hidden)
    torch.testing.assert_close(grad, expected)


@pytest.mark.usefixtures("_chunks")
@pytest.mark.parametrize("rows", [[], [0], [*range(3, 9), *range(9, 20), 30, 36], list(range(37))])
def test_logprobs_and_kl_and_their_gradient_are_the_plain_forms(rows):
    hidden, head, target = given()
    champion, weight = torch.randn(len(rows), 16), torch.rand(37)
    champion_logp, logp = (F.log_softmax(h @ head.t(), -1) for h in (champion, hidden))
    plain_kl = (champion_logp.exp() * (champion_logp - logp[rows])).sum(-1)
    plain = logp.gather(1, target[:, None])[:, 0]
    (expected,) = torch.autograd.grad((weight[rows] * plain_kl).sum() - (weight * plain).sum(), hidden)
    logprob, kl = logprobs_and_kl(hidden, head, target, champion, rows)
    torch.testing.assert_close(logprob, plain)
    torch.testing.assert_close(kl[rows], plain_kl)
    assert float(kl.detach().abs().sum()) == pytest.approx(float(plain_kl.detach().abs().sum()), rel=1e-5)
    (grad,) = torch.autograd.grad((weight * kl).sum() - (weight * logprob).sum(), hidden)
    torch.testing.assert_close(grad, expected)


@pytest.mark.usefixtures("_chunks")
def test_reading_the_kl_gives_the_plain_form():
    hidden, head, _ = given()
    champion = torch.randn(37, 16)
    champion_logp, logp = (F.log_softmax(h @ head.t(), -1) for h in (champion, hidden.detach()))
    plain = (champion_logp.exp() * (champion_logp - logp)).sum(-1)
    torch.testing.assert_close(read_kl(hidden, champion, head), plain)


@pytest.mark.usefixtures("_chunks")
def test_reading_targets_says_which_were_likeliest():
    hidden, head, target = given()
    logits = hidden @ head.t()
    target[::2] = logits.argmax(-1)[::2]
    logprob, top = read_targets(hidden, head, target)
    assert torch.equal(top, logits.argmax(-1) == target)
    torch.testing.assert_close(logprob, F.log_softmax(logits, -1).gather(1, target[:, None])[:, 0].detach())


def test_the_policy_gradient_has_the_sign_of_the_advantage_and_is_zero_beyond_the_clip():
    champion = torch.full((4,), -1.0)
    logprob = torch.tensor([-1.0, -1.0, -0.5, -1.5], requires_grad=True)
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0])
    loss, clipped = policy_loss(
        logprob, champion, torch.ones(4), advantage, torch.full((4,), 0.25), clip_low=0.8, clip_high=1.28
    )
    loss.backward()
    assert clipped.tolist() == [False, False, True, True]
    assert logprob.grad is not None
    assert logprob.grad.tolist() == pytest.approx([-0.25, 0.25, 0.0, 0.0])
