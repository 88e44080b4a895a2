"""The settings of the optimizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mlff_core.errors import InputError
from mlff_core.training.bounds import check_bounds

BETAS = {"adamw": (0.9, 0.999), "soap": (0.95, 0.95), "muon": (0.95, 0.999)}
"""Decay rates of each optimizer where the settings give none."""


@dataclass(frozen=True)
class OptimizerSection:
    """How weights are changed; see :mod:`mlff_core.training.optimizers`.

    Parameters
    ----------
    kind
        ``"adamw"`` (I. Loshchilov, F. Hutter, ICLR 2019, arXiv:1711.05101), ``"soap"`` (N. Vyas et al., ICLR 2025,
        arXiv:2409.11321) or ``"muon"`` (K. Jordan et al., 2024).
    lr
        Full learning rate.
    weight_decay
        Decoupled from the gradient, in all three.
    betas
        Decay rates of the gradient's mean and of its square; the first is Muon's momentum too. Left out they are those
        of :data:`BETAS`.
    precondition_every
        Of SOAP: steps between two updates of its eigenbases.
    block
        Of SOAP: longest side of a matrix that has eigenbases. Larger matrices are cut into equal blocks of at most this
        side, each with bases of its own.
    clip
        Longest gradient, by its 2-norm; longer ones are shortened. 0 never does.
    ema_decay
        Of the moving average of weights that is validated and saved; 0 keeps none. It counts from fewer steps at first:
        min(decay, (1 + step)/(10 + step)).
    """

    kind: Literal["adamw", "soap", "muon"] = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.0
    betas: tuple[float, float] | None = None
    precondition_every: int = 10
    block: int = 128
    clip: float = 10.0
    ema_decay: float = 0.999

    def __post_init__(self) -> None:
        # Steps of all three are of the size of lr whatever the gradient is: a weight moves by lr.
        most = {"lr": 10, "weight_decay": 1000}
        check_bounds(self, {"lr": 0, "weight_decay": 0, "clip": 0}, open_end=("lr",), most=most)
        check_bounds(self, {"precondition_every": 1, "block": 1})
        if self.betas is None:
            object.__setattr__(self, "betas", BETAS[self.kind])
        if not 0 <= self.ema_decay < 1:
            raise InputError(f"ema_decay must lie in 0–1 and below 1, got {self.ema_decay}")
        if not all(0 <= beta < 1 for beta in self.betas or ()):
            raise InputError(f"betas must lie in 0–1 and below 1, got {self.betas}")
