"""Losses as plain tensor functions over target log-probabilities; they sum and do not average.

Every coefficient already includes its agent's normaliser for the step, so the micro-batches of a step add up
to the step's loss.

Shapes: N target tokens, D hidden size, V vocabulary, P pairs.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_CHUNK_LOGITS_MAX = 1 << 25  # logits in memory at once, for one chunk: 128 MiB in fp32
_KEPT_LOGITS_MAX = 1 << 24  # logits kept for the backward pass (64 MiB); more are computed again


def target_logprobs(hidden_ND: Tensor, head_VD: Tensor, target_N: Tensor) -> Tensor:
    """Log-probability (nats, fp32, N) of each target under the head; full logits exist for one chunk only."""
    logprob_N: Tensor = _TargetLogprobs.apply(hidden_ND, head_VD, target_N)  # type: ignore[no-untyped-call]
    return logprob_N


def forward_kl(hidden_ND: Tensor, champion_ND: Tensor, head_VD: Tensor) -> Tensor:
    """KL(champion ‖ now) in nats for each row (fp32, N), from both models' last hidden states."""
    kl_N: Tensor = _ForwardKL.apply(hidden_ND, champion_ND, head_VD)  # type: ignore[no-untyped-call]
    return kl_N


@torch.no_grad()
def read_targets(hidden_ND: Tensor, head_VD: Tensor, target_N: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probability (nats, N) of each target, and whether it is the likeliest token (bool, N)."""
    logprobs, tops = [], []
    for rows in _chunks(len(target_N), head_VD.shape[0]):
        logits_CV = _logits(hidden_ND[rows], head_VD)
        target_C1 = target_N[rows, None]
        logprobs.append((logits_CV.gather(1, target_C1) - logits_CV.logsumexp(-1, keepdim=True))[:, 0])
        tops.append(logits_CV.argmax(-1) == target_C1[:, 0])
    return torch.cat(logprobs), torch.cat(tops)


def supervised_loss(logprob_N: Tensor, weight_N: Tensor) -> Tensor:
    """Weighted cross entropy."""
    assert logprob_N.shape == weight_N.shape
    return -(logprob_N * weight_N).sum()


def preference_loss(
    gain_chosen_P: Tensor, gain_rejected_P: Tensor, weight_P: Tensor, *, beta: float
) -> Tensor:
    """DPO against the champion (Rafailov et al. 2023): each gain is the sum over an answer's tokens of
    log π − log π_champion."""
    return -(weight_P * F.logsigmoid(beta * (gain_chosen_P - gain_rejected_P))).sum()


def policy_loss(
    logprob_N: Tensor,  # under the weights being trained; grad
    champion_N: Tensor,  # under the champion the lesson started from; no grad
    importance_N: Tensor,  # capped π_champion / π_sampled; no grad
    advantage_N: Tensor,  # in [-2, 2]
    weight_N: Tensor,
    *,
    clip_low: float,
    clip_high: float,
) -> tuple[Tensor, Tensor]:
    """Clipped policy gradient (PPO, Schulman et al. 2017; bounds as in DAPO) and which tokens it clipped."""
    assert not champion_N.requires_grad
    ratio_N = (logprob_N - champion_N).exp()
    unclipped_N = ratio_N * advantage_N
    clipped_N = ratio_N.clamp(clip_low, clip_high) * advantage_N
    loss = -(weight_N * importance_N * torch.minimum(unclipped_N, clipped_N)).sum()
    return loss, (clipped_N < unclipped_N).detach()


class _TargetLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, head_VD: Tensor, target_N: Tensor) -> Tensor:
        logprob_N = hidden_ND.new_empty(len(target_N), dtype=torch.float32)
        keeps = ctx.needs_input_grad[0] and target_N.numel() * head_VD.shape[0] <= _KEPT_LOGITS_MAX
        kept_logps = []
        for rows in _chunks(len(target_N), head_VD.shape[0]):
            logp_CV = _log_softmax(hidden_ND[rows], head_VD)
            logprob_N[rows] = logp_CV.gather(1, target_N[rows, None])[:, 0]
            if keeps:
                kept_logps.append(logp_CV)
        ctx.kept = kept_logps
        ctx.save_for_backward(hidden_ND, head_VD, target_N)
        return logprob_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        hidden_ND, head_VD, target_N = ctx.saved_tensors
        grad_hidden_ND = torch.empty_like(hidden_ND)
        for index, rows in enumerate(_chunks(len(target_N), head_VD.shape[0])):
            logp_CV = ctx.kept[index] if ctx.kept else _log_softmax(hidden_ND[rows], head_VD)
            grad_C1 = grads[0][rows, None]
            grad_logits_CV = logp_CV.exp_().mul_(-grad_C1)
            grad_logits_CV.scatter_add_(1, target_N[rows, None], grad_C1)
            torch.mm(grad_logits_CV.to(head_VD.dtype), head_VD, out=grad_hidden_ND[rows])
        ctx.kept = []
        return grad_hidden_ND, None, None


class _ForwardKL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, champion_ND: Tensor, head_VD: Tensor) -> Tensor:
        kl_N = hidden_ND.new_empty(len(hidden_ND), dtype=torch.float32)
        for rows in _chunks(len(hidden_ND), head_VD.shape[0]):
            champion_CV = _log_softmax(champion_ND[rows], head_VD)
            kl_N[rows] = (champion_CV.exp() * (champion_CV - _log_softmax(hidden_ND[rows], head_VD))).sum(-1)
        ctx.save_for_backward(hidden_ND, champion_ND, head_VD)
        return kl_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        hidden_ND, champion_ND, head_VD = ctx.saved_tensors
        grad_hidden_ND = torch.empty_like(hidden_ND)
        for rows in _chunks(len(hidden_ND), head_VD.shape[0]):
            now_CV = _log_softmax(hidden_ND[rows], head_VD).exp_()
            now_CV.sub_(_log_softmax(champion_ND[rows], head_VD).exp_()).mul_(grads[0][rows, None])
            torch.mm(now_CV.to(head_VD.dtype), head_VD, out=grad_hidden_ND[rows])
        return grad_hidden_ND, None, None


def _log_softmax(hidden_CD: Tensor, head_VD: Tensor) -> Tensor:
    logits_CV = _logits(hidden_CD, head_VD)
    return logits_CV.sub_(logits_CV.logsumexp(-1, keepdim=True))


def _logits(hidden_CD: Tensor, head_VD: Tensor) -> Tensor:
    return (hidden_CD @ head_VD.t()).float()


def _chunks(rows: int, vocabulary: int) -> list[slice]:
    size = max(1, _CHUNK_LOGITS_MAX // vocabulary)
    return [slice(start, start + size) for start in range(0, rows, size)]
