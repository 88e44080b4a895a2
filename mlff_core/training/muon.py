"""Muon: stochastic gradient descent with momentum, whose update of each matrix is orthogonalized.

Source: K. Jordan et al., Muon, 2024, https://kellerjordan.github.io/posts/muon. ``torch.optim.Muon`` orthogonalizes one
matrix after the other in bfloat16, which is made for the large matrices of language models on GPUs: on a CPU its step
takes longer than the gradient of a small student. Here matrices of one shape are orthogonalized together, in their own
precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic polynomial p(x) = a x + b x³ + c x⁵: five applications bring singular values to about 0.7–1.2."""
N_ITERATIONS = 5


def orthogonalized(matrices: Tensor) -> Tensor:
    """Return about U Vᵀ of each matrix U S Vᵀ, by a Newton–Schulz iteration.

    Parameters
    ----------
    matrices
        Shape (n_matrices, n_rows, n_columns), any unit; the result, of the same shape, is dimensionless.
    """
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if is_tall else matrices
    x = x / (torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(N_ITERATIONS):
        gram = x @ x.transpose(1, 2)
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.transpose(1, 2) if is_tall else x


class Muon(torch.optim.Optimizer):
    """W ← (1 − lr · decay) W − lr · 0.2 √max(n_rows, n_columns) · orthogonalized(momentum).

    The factor gives updates the size of AdamW's (J. Liu et al., 2025, arXiv:2502.16982), so that both take one learning
    rate. The momentum is Nesterov's.

    Parameters
    ----------
    matrices
        Parameters, each of shape (n_rows, n_columns), any unit.
    lr
        Learning rate.
    momentum
        Decay rate of the mean of gradients.
    weight_decay
        Weight decay, decoupled from the gradient.
    """

    def __init__(
        self, matrices: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(list(matrices), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update the matrices that have a gradient; ``closure`` is not called."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    by_shape.setdefault(matrix.shape, []).append(matrix)
            for shape, matrices in by_shape.items():
                self._update(matrices, 0.2 * max(shape) ** 0.5, group)

    def _update(self, matrices: list[Tensor], size: float, group: dict[str, Any]) -> None:
        gradients: list[Tensor] = [matrix.grad for matrix in matrices if matrix.grad is not None]
        for matrix in matrices:
            if "momentum" not in self.state[matrix]:
                self.state[matrix]["momentum"] = torch.zeros_like(matrix)
        means: list[Tensor] = [self.state[matrix]["momentum"] for matrix in matrices]
        torch._foreach_lerp_(means, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, means, group["momentum"])
        updates = orthogonalized(torch.stack(ahead)).unbind()
        torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(matrices, updates, alpha=-group["lr"] * size)
