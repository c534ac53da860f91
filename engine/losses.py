"""Losses as plain tensor functions over target log-probabilities; they sum and do not average.

Every coefficient already includes its agent's normaliser for the step, so the micro-batches of a step add up
to the step's loss.

Shapes: N target tokens, K of them with the champion's hidden states, D hidden size, V vocabulary, P pairs;
C rows of one chunk.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_CHUNK_LOGITS_MAX = 1 << 24  # logits of one chunk: 64 MiB in fp32
_KEPT_LOGITS_MAX = 1 << 26  # logits kept for the backward pass (256 MiB); more are computed again


def target_logprobs(hidden_ND: Tensor, head_VD: Tensor, target_N: Tensor) -> Tensor:
    """Log-probability (nats, fp32, N) of each target under the head; full logits exist for one chunk only."""
    return logprobs_and_kl(hidden_ND, head_VD, target_N, hidden_ND[:0].detach(), ())[0]


def logprobs_and_kl(
    hidden_ND: Tensor, head_VD: Tensor, target_N: Tensor, champion_KD: Tensor, champion_rows: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Log-probability of each target, and KL(champion ‖ now), both in nats (fp32, N).

    `champion_rows`, ascending, says to which targets the champion's last hidden states belong; the KL is 0 at
    the others. Both terms use the same logits, so the head is multiplied once for them.
    """
    logprob_N, kl_N = _LogprobsAndKL.apply(  # type: ignore[no-untyped-call]
        hidden_ND, head_VD, target_N, champion_KD, champion_rows
    )
    return logprob_N, kl_N


@torch.no_grad()
def read_kl(hidden_ND: Tensor, champion_ND: Tensor, head_VD: Tensor) -> Tensor:
    """KL(champion ‖ now) in nats for each row (fp32, N), from both models' last hidden states."""
    target_N = torch.zeros(len(hidden_ND), dtype=torch.long, device=hidden_ND.device)
    return logprobs_and_kl(hidden_ND, head_VD, target_N, champion_ND, range(len(hidden_ND)))[1]


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


class _LogprobsAndKL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        head_VD: Tensor,
        target_N: Tensor,
        champion_KD: Tensor,
        champion_rows: Sequence[int],
    ) -> tuple[Tensor, Tensor]:
        logprob_N, kl_N = (hidden_ND.new_zeros(len(target_N), dtype=torch.float32) for _ in range(2))
        kept, logits = list[tuple[Tensor, Tensor]](), 0
        for rows in _chunks(len(target_N), head_VD.shape[0]):
            logp_CV = _log_softmax(hidden_ND[rows], head_VD)
            logprob_N[rows] = logp_CV.gather(1, target_N[rows, None])[:, 0]
            given, runs = _in_chunk(champion_rows, rows)
            champion_logp = _log_softmax(champion_KD[given], head_VD)
            champion_p = champion_logp.exp()
            for run, of_chunk in runs:
                gain = champion_logp[run].sub_(logp_CV[of_chunk])
                kl_N[rows][of_chunk] = torch.linalg.vecdot(champion_p[run], gain)
            logits += logp_CV.numel() + champion_p.numel()
            if ctx.needs_input_grad[0] and logits <= _KEPT_LOGITS_MAX:
                kept.append((logp_CV, champion_p))
        ctx.kept, ctx.champion_rows = kept, champion_rows
        ctx.save_for_backward(hidden_ND, head_VD, target_N, champion_KD)
        return logprob_N, kl_N

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden_ND, head_VD, target_N, champion_KD = ctx.saved_tensors
        grad_logprob_N, grad_kl_N = grads
        grad_hidden_ND = torch.empty_like(hidden_ND)
        for index, rows in enumerate(_chunks(len(target_N), head_VD.shape[0])):
            given, runs = _in_chunk(ctx.champion_rows, rows)
            if index < len(ctx.kept):
                logp_CV, champion_p = ctx.kept[index]
            else:
                logp_CV = _log_softmax(hidden_ND[rows], head_VD)
                champion_p = _log_softmax(champion_KD[given], head_VD).exp_()
            grad_C1, grad_kl_C1 = grad_logprob_N[rows, None], grad_kl_N[rows, None]
            factor_C1 = -grad_C1
            for _, of_chunk in runs:
                factor_C1[of_chunk] += grad_kl_C1[of_chunk]
            grad_logits_CV = logp_CV.exp_().mul_(factor_C1)
            grad_logits_CV.scatter_add_(1, target_N[rows, None], grad_C1)
            for run, of_chunk in runs:
                grad_logits_CV[of_chunk].sub_(champion_p[run].mul_(grad_kl_C1[of_chunk]))
            torch.mm(grad_logits_CV.to(head_VD.dtype), head_VD, out=grad_hidden_ND[rows])
        ctx.kept = []
        return grad_hidden_ND, None, None, None, None


def _in_chunk(champion_rows: Sequence[int], rows: slice) -> tuple[slice, list[tuple[slice, slice]]]:
    """Which of the champion's rows belong to a chunk, and their runs of consecutive rows.

    A run is a slice of those rows, and the slice of the chunk's rows that it belongs to.
    """
    first, end = (bisect_left(champion_rows, row) for row in (rows.start, rows.stop))
    starts = [
        place
        for place in range(first, end)
        if place == first or champion_rows[place] != champion_rows[place - 1] + 1
    ]
    return slice(first, end), [
        (
            slice(start - first, stop - first),
            slice(champion_rows[start] - rows.start, champion_rows[start] - rows.start + stop - start),
        )
        for start, stop in pairwise([*starts, end])
    ]


def _log_softmax(hidden_CD: Tensor, head_VD: Tensor) -> Tensor:
    return torch.log_softmax(_logits(hidden_CD, head_VD), -1)


def _logits(hidden_CD: Tensor, head_VD: Tensor) -> Tensor:
    return (hidden_CD @ head_VD.t()).float()


def _chunks(rows: int, vocabulary: int) -> list[slice]:
    size = max(1, _CHUNK_LOGITS_MAX // vocabulary)
    return [slice(start, start + size) for start in range(0, rows, size)]
