"""The settings of the optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlff_core.errors import InputError
from mlff_core.training.bounds import check_bounds

BETAS = {"adamw": (0.9, 0.999), "soap": (0.95, 0.95), "muon": (0.95, 0.999)}
"""Default decay rates of each optimizer."""


@dataclass(frozen=True)
class OptimizerSection:
    """Settings of the optimizer; see :mod:`mlff_core.training.optimizers`."""

    kind: Literal["adamw", "soap", "muon"] = "adamw"
    """``"adamw"`` (I. Loshchilov, F. Hutter, ICLR 2019, arXiv:1711.05101), ``"soap"`` (N. Vyas et al., ICLR 2025,
    arXiv:2409.11321) or ``"muon"`` (K. Jordan et al., 2024)."""
    lr: float = 1e-3
    """Learning rate before the schedule's factor."""
    weight_decay: float = 0.0
    """Weight decay, decoupled from the gradient in all three."""
    betas: tuple[float, float] | None = None
    """Decay rates of the gradient's mean and of its square; the first is also Muon's momentum. The defaults are in
    :data:`BETAS`."""
    precondition_every: int = 10
    """SOAP: steps between two updates of its eigenbases."""
    block: int = 128
    """SOAP: longest side of a matrix with eigenbases. Larger matrices are cut into equal blocks of at most this side,
    each with its own bases."""
    clip: float = 10.0
    """Largest 2-norm of the gradient; larger ones are scaled down. 0 turns clipping off."""
    ema_decay: float = 0.999
    """Decay of the moving average of weights that is validated and saved; 0 keeps none. It is smaller at first:
    min(decay, (1 + step)/(10 + step))."""

    def __post_init__(self) -> None:
        # Steps of all three have the size of lr whatever the gradient is: a weight changes by lr.
        most = {"lr": 10, "weight_decay": 1000}
        check_bounds(self, {"lr": 0, "weight_decay": 0, "clip": 0}, open_end=("lr",), most=most)
        check_bounds(self, {"precondition_every": 1, "block": 1})
        if self.betas is None:
            object.__setattr__(self, "betas", BETAS[self.kind])
        if not 0 <= self.ema_decay < 1:
            raise InputError(f"ema_decay must lie in 0–1 and below 1, got {self.ema_decay}")
        if not all(0 <= beta < 1 for beta in self.betas or ()):
            raise InputError(f"betas must lie in 0–1 and below 1, got {self.betas}")
