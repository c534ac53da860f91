"""What lies between the products: normalisation, rotation and gate, with frozen parameters, in few passes.

The base's own numbers; small products are cheap on a CPU, and what reads and writes every row is not.

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
        along = torch.linalg.vecdot(scaled, wide).unsqueeze(-1).mul_(inverse.square()).div_(-x.shape[-1])
        return scaled.addcmul_(wide, along).mul_(inverse).to(x.dtype), None, None


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
    (left, right), (into_left, into_right) = x_THD.chunk(2, -1), y_THD.chunk(2, -1)
    torch.mul(left, cos_THC, out=into_left).addcmul_(right, sin_THC, value=-direction)
    torch.mul(right, cos_THC, out=into_right).addcmul_(left, sin_THC, value=direction)
    return y_THD


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        left, right = gate_up.chunk(2, -1)
        opened = F.silu(left)
        ctx.save_for_backward(gate_up, opened)
        return opened * right

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor]:
        gate_up, opened = ctx.saved_tensors
        left, right = gate_up.chunk(2, -1)
        grad_gate_up = torch.empty_like(gate_up)
        into_left, into_right = grad_gate_up.chunk(2, -1)
        torch.mul(grads[0], opened, out=into_right)
        torch.ops.aten.silu_backward.grad_input(grads[0] * right, left, grad_input=into_left)
        return (grad_gate_up,)
