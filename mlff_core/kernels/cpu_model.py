"""A PaiNN inside the library of the fused CPU kernel."""

from __future__ import annotations

import ctypes
import weakref

import torch
from torch import Tensor

from mlff_core.errors import InputError, MlffError, UnsupportedError
from mlff_core.kernels.cpu_interface import (
    ABI,
    BAD_INDEX,
    NOT_FINITE,
    OVERLAP_FOUND,
    UNKNOWN_ELEMENT,
    BatchStruct,
    NetworkStruct,
    library,
)
from mlff_core.kernels.cpu_parameters import constant_numbers
from mlff_core.kernels.parts import Part, part_batch
from mlff_core.kernels.protocol import Bounds
from mlff_core.model.painn import PaiNN
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList, overlap_error


def describe(model: PaiNN, numbers: Tensor, n_intervals: int, overlap: float, n_constants: int) -> NetworkStruct:
    """Return the description of a model for the library, without pointers to its numbers (n_numbers,), eV and Å."""
    config = model.config
    return NetworkStruct(
        abi=ABI,
        is_double=numbers.dtype == torch.float64,
        hidden=config.hidden,
        n_layers=config.n_layers,
        n_species=len(config.elements),
        n_readout=config.hidden // 2,
        n_intervals=n_intervals,
        shared_filters=config.shared_filters,
        n_charge=0 if model.charges is None else model.charges[0].out_features,
        cutoff=config.cutoff,
        smoothing=model.updates[0].smoothing,
        scale=float(model.scale),
        overlap=overlap,
        core=config.core,
        n_parameters=len(numbers),
        n_constants=n_constants,
    )


class LibraryModel:
    """A model inside the library, freed when this object is no longer used.

    Parameters
    ----------
    model
        The network.
    numbers
        Its trainable numbers in its precision, shape (n_numbers,); see
        :func:`~mlff_core.kernels.cpu_parameters.trainable_numbers`.
    variant
        An instruction set from :func:`mlff_core.kernels.cpu_kernel.variants`; None uses the fastest.
    n_intervals
        Number of intervals of the filters' splines.
    overlap
        Distance below which atoms are refused, Å.
    """

    def __init__(self, model: PaiNN, numbers: Tensor, variant: str | None, n_intervals: int, overlap: float) -> None:
        self.library = library()
        constants = constant_numbers(model)
        description = describe(model, numbers, n_intervals, overlap, len(constants))
        description.parameters, description.constants = numbers.data_ptr(), constants.ctypes.data
        self.address = self.library.mlff_painn_create(
            ctypes.byref(description), None if variant is None else variant.encode()
        )
        if not self.address:
            raise UnsupportedError(f"the CPU kernel cannot hold this model (variant {variant}); use kernel='reference'")
        self.variant: str = self.library.mlff_painn_variant(self.address).decode()
        weakref.finalize(self, self.library.mlff_painn_destroy, self.address)

    def needed_bytes(self, n_atoms: int, n_edges: int) -> int:
        """Return the working memory of an evaluation with forces for so many atoms and directed edges, bytes."""
        n_threads = torch.get_num_threads()
        return int(self.library.mlff_painn_needed_bytes(self.address, n_atoms, n_edges, n_threads))

    def refresh(self, numbers: Tensor) -> None:
        """Replace the trainable numbers by others, shape (n_numbers,); no evaluation may be running."""
        status = self.library.mlff_painn_refresh(self.address, numbers.data_ptr(), len(numbers))
        assert status == 0, "the numbers of one network always fit it"

    def bound(self, bounds: Bounds) -> None:
        """Compare later evaluations with bounds, while none is under way."""
        arrays = [bounds.lowest.contiguous(), bounds.highest.contiguous(), bounds.closest.contiguous()]
        status = self.library.mlff_painn_bound(
            self.address, *(array.data_ptr() for array in arrays), bounds.largest_force
        )
        if status:
            raise UnsupportedError("the CPU kernel found no memory for the bounds of a model")

    def call(
        self,
        batch: AtomicBatch,
        edges: EdgeList,
        *,
        energy: Tensor | None = None,
        atom_energies: Tensor | None = None,
        charges: Tensor | None = None,
        forces: Tensor | None = None,
        virial: Tensor | None = None,
        cotangents: Tensor | None = None,
        charge_cotangents: Tensor | None = None,
        gradient: Tensor | None = None,
        part: Part | None = None,
    ) -> bool:
        """Fill the outputs that are given, all of them contiguous; return whether an atom is outside the bounds.

        Parameters
        ----------
        batch, edges
            The structures.
        energy, atom_energies
            Shape (n_systems,) and (n_atoms,), eV, float64.
        charges
            Shape (n_atoms,), e, float64; only of a model with a readout of charges.
        forces
            Shape (n_atoms, 3), eV/Å.
        virial
            −dE/d(strain), shape (n_systems, 3, 3), eV.
        cotangents
            Factors of the atoms' energies in the sum that is differentiated, shape (n_atoms,), float64.
        charge_cotangents
            Factors of the atoms' charges in that sum, shape (n_atoms,), eV/e, float64; zero where None.
        gradient
            Gradient of that sum with respect to the trainable numbers, shape (n_numbers,), eV.
        part
            Compute only this part of the structures; outputs for atoms are then those of its atoms.
        """
        given = batch, edges
        if part is not None:
            batch, edges = part_batch(batch, part), part.edges
        positions = batch.positions.detach().contiguous()
        inputs = (
            positions,
            batch.cell.detach().contiguous(),
            batch.atomic_numbers.contiguous(),
            batch.system_idx.contiguous(),
            edges.centers.contiguous(),
            edges.neighbors.contiguous(),
            edges.cell_shifts.to(positions.dtype).contiguous(),
        )
        n_centers = None if part is None else part.n_centers
        outputs = (energy, atom_energies, charges, forces, virial)
        others = (*outputs, cotangents, charge_cotangents, gradient, n_centers)
        call = BatchStruct(
            batch.n_atoms,
            batch.n_systems,
            edges.n_edges,
            *(tensor.data_ptr() for tensor in inputs),
            torch.get_num_threads(),
            *(None if tensor is None else tensor.data_ptr() for tensor in others),
            -1,
        )
        status = self.library.mlff_painn_evaluate(self.address, ctypes.byref(call))
        if status:
            culprit = call.culprit
            if part is not None and culprit >= 0:
                culprit = int((part.edge_places if status == OVERLAP_FOUND else part.atoms)[culprit])
            raise _error(status, culprit, *given)
        return bool(call.culprit >= 0)


def _error(status: int, culprit: int, batch: AtomicBatch, edges: EdgeList) -> MlffError:
    """Return the error for a status of the library, with the same messages as elsewhere in the package."""
    if status == OVERLAP_FOUND:
        return overlap_error(batch, edges, culprit)
    if status == UNKNOWN_ELEMENT:
        number = int(batch.atomic_numbers[culprit])
        return UnsupportedError(f"the model does not know atomic number {number}, that of atom {culprit}")
    if status == NOT_FINITE:
        return InputError(f"positions must be finite, but atom {culprit} is at {batch.positions[culprit].tolist()} Å")
    if status == BAD_INDEX:
        return InputError(f"centers, neighbors and system_idx must be indices of the batch; entry {culprit} is not")
    return UnsupportedError(
        f"there is not enough memory for the CPU kernel with {batch.n_atoms} atoms and {edges.n_edges} edges"
    )
