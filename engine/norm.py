"""Root-mean-square normalisation with a frozen weight: the base's own numbers in half the passes.

The weight gets no gradient, which leaves a backward of few products. Source: Zhang & Sennrich, 2019.
"""

from typing import Any

import torch
from torch import Tensor, nn


class FrozenRMSNorm(nn.Module):
    """Stands where the base's RMSNorm stood; computes in fp32 and answers in the input's dtype."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.weight = norm.weight
        self.variance_epsilon = float(norm.variance_epsilon)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Normalises over the last dimension."""
        y: Tensor = _Normalised.apply(x, self.weight, self.variance_epsilon)  # type: ignore[no-untyped-call]
        return y


def is_rms_norm(module: nn.Module) -> bool:
    """Whether this is the RMSNorm all supported families share."""
    return type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon")


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
        return torch.addcmul(scaled, wide, along).mul_(inverse).to(x.dtype), None, None
