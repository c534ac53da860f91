"""The pointwise operations of a layer: normalisation, rotary embedding and gate, with frozen parameters.

Each reads and writes the rows as few times as possible: on a CPU that costs more than small matrix products.
The results are the modelling code's.

Shapes: T rows, H heads, D head size, C half of it, F intermediate size.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Root-mean-square normalisation (Zhang & Sennrich, 2019) over the last dimension, computed in fp32."""
    y: Tensor = _Normalised.apply(x, weight, epsilon)  # type: ignore[no-untyped-call]
    return y


def rotate(x_THD: Tensor, cos_THC: Tensor, sin_THC: Tensor) -> Tensor:
    """Rotary position embedding (Su et al., 2021): component i turns with component i + D/2."""
    y_THD: Tensor = _Rotated.apply(x_THD, cos_THC, sin_THC)  # type: ignore[no-untyped-call]
    return y_THD


def gate(gate_up_TFF: Tensor) -> Tensor:
    """SwiGLU (Shazeer, 2020): silu of the left half, times the right half."""
    y_TF: Tensor = _Gated.apply(gate_up_TFF)  # type: ignore[no-untyped-call]
    return y_TF


class _Normalised(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        wide = x.float()
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        inverse = length.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, inverse, weight)
        y: Tensor = (wide * inverse).to(x.dtype).mul_(weight)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        x, inverse, weight = ctx.saved_tensors
        wide, scaled = x.float(), (grads[0] * weight).float()
        projection = torch.linalg.vecdot(scaled, wide).unsqueeze(-1).mul_(inverse.square()).div_(-x.shape[-1])
        return scaled.addcmul_(wide, projection).mul_(inverse).to(x.dtype), None, None


class _Rotated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_THD: Tensor, cos_THC: Tensor, sin_THC: Tensor) -> Tensor:
        ctx.save_for_backward(cos_THC, sin_THC)
        return _turn(x_THD, cos_THC, sin_THC, 1.0)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos_THC, sin_THC = ctx.saved_tensors
        return _turn(grads[0], cos_THC, sin_THC, -1.0), None, None


def _turn(x_THD: Tensor, cos_THC: Tensor, sin_THC: Tensor, direction: float) -> Tensor:
    y_THD = torch.empty(x_THD.shape, dtype=x_THD.dtype, device=x_THD.device)
    (left, right), (left_out, right_out) = x_THD.chunk(2, -1), y_THD.chunk(2, -1)
    torch.mul(left, cos_THC, out=left_out).addcmul_(right, sin_THC, value=-direction)
    torch.mul(right, cos_THC, out=right_out).addcmul_(left, sin_THC, value=direction)
    return y_THD


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        left, right = gate_up.chunk(2, -1)
        activated = F.silu(left)
        ctx.save_for_backward(gate_up, activated)
        return activated * right

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor]:
        gate_up, activated = ctx.saved_tensors
        left, right = gate_up.chunk(2, -1)
        grad_gate_up = torch.empty_like(gate_up)
        left_out, right_out = grad_gate_up.chunk(2, -1)
        torch.mul(grads[0], activated, out=right_out)
        torch.ops.aten.silu_backward.grad_input(grads[0] * right, left, grad_input=left_out)
        return (grad_gate_up,)
