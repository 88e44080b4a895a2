"""The gradient of a loss by the fused CPU kernel, which computes first derivatives only.

A loss L of forces F and virials W = −dE/d(strain) has the gradient ∇_θ L = (∂L/∂F)·∇_θ F + (∂L/∂W)·∇_θ W, which is the
derivative of ∇_θ E as positions move along −∂L/∂F and systems are strained along −∂L/∂W: a central difference of
∇_θ E gives it with an error of order ε². The derivatives a_i = ∂L/∂e_i in the atoms' energies are included:
∇_θ L ≈ ∇_θ Σ_i [(a_i/2 + 1/2ε) e_i(+ε) + (a_i/2 − 1/2ε) e_i(−ε)].

Both displacements of a structure are neighbours in the batch, so that terms that cancel are close in a sum over atoms
and float32 keeps its digits; each structure has its own ε, since their forces differ.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mlff_core.data.loader import TrainingBatch
from mlff_core.kernels.cpu_gradient import CPUGradientKernel
from mlff_core.model.derivatives import sum_over_systems
from mlff_core.model.student import Student
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList
from mlff_core.structures.stress import stress_from_virial
from mlff_core.training.loss import Outputs

LARGEST_DISPLACEMENT = {torch.float32: 3e-4, torch.float64: 1e-5}
"""Largest change of a coordinate in the finite difference, Å, and largest strain. With ten times as much the gradient
of a trained network, whose curvature is larger than that of a new one, has an error of up to 4 %; in float32 the errors
of rounding and of curvature are about equal with this value, 3e-4 to 1e-3 of the gradient."""


class KernelGradient:
    """Outputs of a network by the CPU kernel, and the gradient of a loss of them.

    Parameters
    ----------
    model
        The network, on the CPU in float32 or float64.

    Raises
    ------
    UnsupportedError
        The kernel does not support the model.
    BuildError
        The kernel cannot be built on this machine.
    """

    def __init__(self, model: Student) -> None:
        self.kernel = CPUGradientKernel(model)
        self.has_charges = model.charges is not None

    def refresh(self) -> None:
        """Copy the model's current weights; needed before each gradient."""
        self.kernel.refresh()

    def outputs(self, item: TrainingBatch, *, stress: bool) -> tuple[Outputs, list[Tensor]]:
        """Return the inputs of a loss, and the leaves in which the loss is differentiated.

        The leaves are the atoms' energies (n_atoms,), eV, the forces (n_atoms, 3), eV/Å, with ``stress`` the virials
        (n_systems, 3, 3), eV, and, if the network gives them, the charges (n_atoms,), e.
        """
        batch, edges = item.labels.batch, item.edges
        energies, forces, virial, charges = self.kernel.evaluate(batch, edges, virial=stress, charges=self.has_charges)
        leaves = [leaf.requires_grad_() for leaf in (energies, forces, virial, charges) if leaf is not None]
        sigma = None
        if virial is not None:
            # Systems without a cell get a unit cell: their stress has weight zero, and must not be 0/0.
            eye = torch.eye(3, dtype=batch.dtype)
            sigma = stress_from_virial(virial, torch.where(batch.pbc.all(dim=1)[:, None, None], batch.cell, eye))
        total = sum_over_systems(energies, batch.system_idx, batch.n_systems)
        return Outputs(energy=total, forces=forces, stress=sigma, atom_energies=energies, charges=charges), leaves

    def add_gradient(self, item: TrainingBatch, gradients: list[Tensor]) -> None:
        """Add ∇_θ L to the parameters' ``grad``, once after each :meth:`refresh`.

        Parameters
        ----------
        item
            The batch.
        gradients
            Derivatives of L in each of the leaves: shape (n_atoms,), 1/eV; (n_atoms, 3), Å/eV; (n_systems, 3, 3), 1/eV;
            (n_atoms,), 1/e.
        """
        batch, edges = item.labels.batch, item.edges
        a, u = gradients[:2]
        b = gradients[-1] if self.has_charges else None
        strains_wanted = len(gradients) > (3 if self.has_charges else 2)
        owner = batch.system_idx
        moves, strains = -u, torch.zeros_like(batch.cell)
        farthest = torch.zeros(batch.n_systems, dtype=u.dtype).scatter_reduce(0, owner, u.abs().amax(dim=1), "amax")
        if strains_wanted:
            strain = -gradients[2]
            moves = moves + torch.einsum("na,nab->nb", batch.positions, strain[owner])
            strains = batch.cell @ strain
            farthest = torch.maximum(farthest, strain.abs().amax(dim=(1, 2)))
        largest = LARGEST_DISPLACEMENT[batch.dtype]
        # 1/ε and the displacement are zero where the gradient of a structure is zero.
        inverse = farthest.double() / largest
        # In float64, whose range includes the inverse of the smallest float32.
        epsilon = torch.where(farthest > 0, largest / farthest.double(), 0.0)
        moves = (epsilon[owner, None] * moves).to(u.dtype)
        strains = (epsilon[:, None, None] * strains).to(u.dtype)
        atom, atom_sign, atom_place = _twice(owner, batch.n_systems)
        edge, edge_sign, _ = _twice(owner[edges.centers], batch.n_systems)
        system, system_sign, _ = _twice(torch.arange(batch.n_systems), batch.n_systems)
        copy = (edge_sign < 0).long()
        both = AtomicBatch(
            batch.positions[atom] + atom_sign[:, None].to(u.dtype) * moves[atom],
            batch.atomic_numbers[atom],
            batch.cell[system] + system_sign[:, None, None].to(u.dtype) * strains[system],
            batch.pbc[system],
            2 * owner[atom] + (atom_sign < 0),
        )
        both_edges = EdgeList(
            atom_place[copy, edges.centers[edge]], atom_place[copy, edges.neighbors[edge]], edges.cell_shifts[edge]
        )
        cotangents = 0.5 * (a[atom] + atom_sign * inverse[owner[atom]])
        # Of a charge only its own gradient is needed, which is the mean of those at both displacements up to ε².
        self.kernel.add_gradient(both, both_edges, cotangents, None if b is None else 0.5 * b[atom])


def _twice(owner: Tensor, n_systems: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the layout in which each system is followed by a copy of itself.

    Parameters
    ----------
    owner
        The system of each member, shape (n,), non-decreasing.
    n_systems
        Number of systems.

    Returns
    -------
    tuple of Tensor
        The member at each of the 2n places, shape (2n,); the sign of its displacement, ±1.0, float64; and the places of
        each member's two copies, shape (2, n).
    """
    n = len(owner)
    counts = torch.bincount(owner, minlength=n_systems)
    first = torch.arange(n) + (counts.cumsum(0) - counts)[owner]
    place = torch.stack([first, first + counts[owner]])
    member = torch.empty(2 * n, dtype=torch.int64)
    sign = torch.empty(2 * n, dtype=torch.float64)
    for copy, value in enumerate((1.0, -1.0)):
        member[place[copy]] = torch.arange(n)
        sign[place[copy]] = value
    return member, sign, place
