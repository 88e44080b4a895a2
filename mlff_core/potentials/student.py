"""A trained student as a :class:`~mlff_core.potentials.interface.Potential`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mlff_core.card import ModelCard
from mlff_core.kernels.choose import choose_kernel
from mlff_core.kernels.protocol import BoundedKernel, FieldKernel, Stepper, SteppingKernel
from mlff_core.kernels.reference import ReferenceKernel
from mlff_core.model.student import Student
from mlff_core.potentials.checks import check_distances, check_finite, check_one_system, check_supported
from mlff_core.potentials.guard import Guard
from mlff_core.potentials.interface import CHARGES, Potential
from mlff_core.potentials.read_charges import ReadCharges, of_kernel
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList, edge_vectors, find_neighbors
from mlff_core.structures.prediction import Prediction


class StudentPotential(Potential):
    """A potential that evaluates a student: a network with its terms, and its card.

    Parameters
    ----------
    model
        The network; it is moved to ``device`` and ``dtype`` and set to evaluation mode.
    card
        Its card, with the elements and the cutoff of the model.
    device, dtype
        Where and in which precision to compute.
    kernel
        ``"auto"`` or a name from :data:`mlff_core.kernels.choose.KERNELS`; for ``"auto"`` the environment variable
        ``MLFF_KERNEL`` decides, if it is set.
    guard
        Guard that warns of structures unlike the training data; it checks every evaluation.
    """

    uses_edges = True

    def __init__(
        self,
        model: Student,
        card: ModelCard,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        kernel: str = "auto",
        guard: Guard | None = None,
    ) -> None:
        self.dtype = dtype
        self.card = card
        self.model = model.to(torch.device(device), dtype).eval().requires_grad_(False)
        # Taken from a tensor, so that it has an index: "cuda" is not equal to the "cuda:0" of tensors on it.
        self.device = self.model.scale.device
        self.kernel = choose_kernel(self.model, kernel)
        self.selects_edges = self.kernel.selects_edges
        self._stepping = self.kernel if isinstance(self.kernel, SteppingKernel) else None
        self.has_stepper = self._stepping is not None
        self.supports = frozenset({"energy", "forces", "stress", "atom_energies"})
        if self.model.charges is not None:
            self.supports |= CHARGES
            self.takes_field = True
        self._read_charges = ReadCharges(card)
        self.guard = guard
        self._looks = guard
        if guard is not None and isinstance(self.kernel, BoundedKernel):
            self.kernel.keep_watch(guard.bounds(card.elements), guard)
            self._looks = None

    def predict_checked(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None = None) -> Prediction:
        """Return what is wanted; see :meth:`~mlff_core.potentials.interface.Potential.predict_checked`."""
        if edges is None:
            edges = find_neighbors(batch, self.card.cutoff)
        if not self.kernel.checks_distances:
            with torch.no_grad():
                check_distances(batch, edges, edge_vectors(batch, edges))
        asked = of_kernel(want)
        if self._looks is None or self._looks.is_done:
            return self._read_charges.complete(self.kernel.evaluate(batch, edges, asked), batch, want)
        found = self.kernel.evaluate(batch, edges, asked | {"atom_energies"})
        self._looks.look(batch, edges, found.need("atom_energies", self.card.name), found.forces)
        found = self._read_charges.complete(found, batch, want)
        return found if "atom_energies" in want else replace(found, atom_energies=None)

    def field_checked(self, batch: AtomicBatch, potentials: Tensor, edges: EdgeList | None = None) -> Prediction:
        """Return energies, forces and charges in a field, for the caller that has made its checks.

        See :meth:`~mlff_core.potentials.interface.Potential.predict_in_field`: ``potentials`` have the shape
        (n_atoms,), eV/e. A kernel that takes no field is replaced by the reference kernel.
        """
        if edges is None:
            edges = find_neighbors(batch, self.card.cutoff)
        kernel = self.kernel if isinstance(self.kernel, FieldKernel) else ReferenceKernel(self.model)
        if not kernel.checks_distances:
            with torch.no_grad():
                check_distances(batch, edges, edge_vectors(batch, edges))
        found = kernel.evaluate_in_field(batch, edges, potentials)
        if self.guard is not None and not self.guard.is_done and found.atom_energies is not None:
            self.guard.look(batch, edges, found.atom_energies, found.forces)
        return self._read_charges.complete(found, batch, ("energy", "forces", "charges"))

    def stepper(self, batch: AtomicBatch, skin: float, before: Stepper | None) -> Stepper:
        """Return the kernel's stepper, if it has one; see :meth:`mlff_core.potentials.interface.Potential.stepper`."""
        if self._stepping is None:
            return super().stepper(batch, skin, before)
        if before is not None and self._stepping.keeps(before, batch):
            return before
        check_finite(batch)
        check_supported(self.card, batch)
        return self._stepping.stepper(batch, skin)

    def hessian(self, batch: AtomicBatch) -> Tensor:
        """Return exact second derivatives of the energy of one structure, shape (3·n_atoms, 3·n_atoms), eV/Å².

        Raises
        ------
        InputError
            The batch holds more than one structure, or values that are not finite.
        UnsupportedError
            The card does not list an element or the charge.
        """
        check_one_system(batch)
        batch = batch.to(self.device, self.dtype)
        check_finite(batch)
        check_supported(self.card, batch)
        edges = find_neighbors(batch, self.card.cutoff)
        check_distances(batch, edges, edge_vectors(batch, edges))
        with torch.enable_grad():
            positions = batch.positions.detach().clone().requires_grad_()
            vectors = edge_vectors(batch.with_positions(positions), edges)
            energy = self.model(batch.atomic_numbers, vectors, edges.centers, edges.neighbors).sum()
            (gradient,) = torch.autograd.grad([energy], [positions], create_graph=True, materialize_grads=True)
            flat = gradient.reshape(-1)
            if not flat.requires_grad:  # one atom: no edges, so all second derivatives are 0
                return torch.zeros(len(flat), len(flat), dtype=self.dtype, device=self.device)
            rows = [
                torch.autograd.grad([flat[k]], [positions], retain_graph=True)[0].reshape(-1) for k in range(len(flat))
            ]
        hessian = torch.stack(rows)
        return 0.5 * (hessian + hessian.T)

    def __reduce__(self) -> tuple[Any, ...]:
        # A kernel may hold compiled code, which cannot be pickled; its name can.
        return _rebuilt, (self.model, self.card, self.device, self.dtype, self.kernel.name, self.guard)


def _rebuilt(
    model: Student,
    card: ModelCard,
    device: torch.device,
    dtype: torch.dtype,
    kernel: str,
    guard: Guard | None = None,
) -> StudentPotential:
    return StudentPotential(model, card, device=device, dtype=dtype, kernel=kernel, guard=guard)
