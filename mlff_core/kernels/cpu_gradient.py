"""The CPU kernel's gradient of the energy with respect to the network's parameters, for training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mlff_core.errors import UnsupportedError
from mlff_core.kernels.cpu_kernel import SERVES
from mlff_core.kernels.cpu_model import LibraryModel
from mlff_core.kernels.cpu_parameters import filter_splines, trainable_numbers
from mlff_core.model.architectures import computes_as_written
from mlff_core.model.painn import PaiNN
from mlff_core.model.student import Student
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList

TRAINING_INTERVALS = {torch.float32: 512, torch.float64: 4096}
"""Number of intervals of each filter's spline. In float32, 256 intervals take the same time, but the relative error of
a training step is then 4e-4 instead of 1e-4."""


class CPUGradientKernel:
    """A kernel that computes energies and forces of a PaiNN on the CPU, and the gradient of its energies.

    The gradient is that with respect to the network's parameters. The kernel holds a copy of the weights, made by the
    last :meth:`refresh`. It has no lower limit on distances.

    Parameters
    ----------
    model
        The network, on the CPU in float32 or float64.
    variant
        An instruction set from :func:`mlff_core.kernels.cpu_kernel.variants`; None uses the fastest.
    n_intervals
        Number of intervals of the filters' splines; None uses the default for the precision.

    Raises
    ------
    UnsupportedError
        The kernel does not support the model.
    BuildError
        The kernel cannot be built here.
    """

    def __init__(self, model: Student, variant: str | None = None, n_intervals: int | None = None) -> None:
        SERVES.check(model)
        dtype = model.scale.dtype
        if (
            not isinstance(model, PaiNN)
            or not computes_as_written(model)
            or model.scale.device.type != "cpu"
            or dtype not in TRAINING_INTERVALS
        ):
            raise UnsupportedError(
                "the CPU kernel differentiates an unchanged PaiNN on the CPU in float32 or float64, but this is "
                f"a {type(model).__name__} on {model.scale.device} in {dtype}; use another training step"
            )
        self.model = model
        n_intervals = n_intervals or TRAINING_INTERVALS[dtype]
        self._splines = filter_splines(model, n_intervals).to(dtype)
        self._numbers = self._current()
        self._held = LibraryModel(model, self._numbers.detach(), variant, n_intervals, overlap=0.0)

    @property
    def variant(self) -> str:
        """The instruction set in use."""
        return self._held.variant

    def _current(self) -> Tensor:
        with torch.enable_grad():
            return trainable_numbers(self.model, self._splines)

    def refresh(self) -> None:
        """Copy the current weights of the model."""
        self._numbers = self._current()
        self._held.refresh(self._numbers.detach())

    def evaluate(
        self, batch: AtomicBatch, edges: EdgeList, *, virial: bool, charges: bool = False
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Return atom energies, forces, and the virial and the charges if they are wanted.

        Atom energies have the shape (n_atoms,), eV, float64; forces (n_atoms, 3), eV/Å; the virial −dE/d(strain)
        (n_systems, 3, 3), eV; charges (n_atoms,), e, float64.
        """
        energies = torch.empty(batch.n_atoms, dtype=torch.float64)
        forces = torch.empty((batch.n_atoms, 3), dtype=batch.dtype)
        tensor = torch.empty((batch.n_systems, 3, 3), dtype=batch.dtype) if virial else None
        given = torch.empty(batch.n_atoms, dtype=torch.float64) if charges else None
        self._held.call(batch, edges, atom_energies=energies, charges=given, forces=forces, virial=tensor)
        return energies, forces, tensor, given

    def add_gradient(
        self, batch: AtomicBatch, edges: EdgeList, cotangents: Tensor, charge_cotangents: Tensor | None = None
    ) -> None:
        """Add the gradient of Σ_i (a_i e_i + b_i q_i) to the parameters' ``grad``, once after each :meth:`refresh`.

        Parameters
        ----------
        batch, edges
            The structures.
        cotangents
            The factors a_i of the energies, shape (n_atoms,), float64.
        charge_cotangents
            The factors b_i of the charges, shape (n_atoms,), eV/e, float64; zero where None.
        """
        self._numbers.backward(self._gradient(batch, edges, cotangents, charge_cotangents))

    def _gradient(
        self, batch: AtomicBatch, edges: EdgeList, cotangents: Tensor, charge_cotangents: Tensor | None = None
    ) -> Tensor:
        gradient = torch.empty_like(self._numbers)
        factors = None if charge_cotangents is None else charge_cotangents.double().contiguous()
        self._held.call(
            batch, edges, cotangents=cotangents.double().contiguous(), charge_cotangents=factors, gradient=gradient
        )
        return gradient

    def atom_energies(self, batch: AtomicBatch, edges: EdgeList) -> Tensor:
        """Return the energies of the atoms, shape (n_atoms,), eV, float64, once differentiable in the parameters.

        Copies the current weights of the model; differentiate the energies before the next :meth:`refresh`.
        """
        self.refresh()
        energies: Tensor = _AtomEnergies.apply(self._numbers, self, batch, edges)
        return energies


class _AtomEnergies(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, numbers: Tensor, kernel: CPUGradientKernel, batch: AtomicBatch, edges: EdgeList) -> Tensor:
        ctx.given = kernel, batch, edges
        energies = torch.empty(batch.n_atoms, dtype=torch.float64)
        kernel._held.call(batch, edges, atom_energies=energies)
        return energies

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, cotangents: Tensor) -> tuple[Tensor, None, None, None]:
        kernel, batch, edges = ctx.given
        return kernel._gradient(batch, edges, cotangents), None, None, None
