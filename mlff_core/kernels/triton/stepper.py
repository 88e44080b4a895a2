"""Steps of moving structures: one CUDA graph for each step, with the neighbour search in it or with a skin."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from mlff_core.errors import InputError, OverlapError, UnsupportedError
from mlff_core.kernels.triton.arrays import PaddedInputs, Tiling
from mlff_core.kernels.triton.cuda_graph import Graph
from mlff_core.kernels.triton.launch import check_device
from mlff_core.kernels.triton.network import evaluate
from mlff_core.kernels.triton.padded import PaddedNeighbors, empty_neighbors, rounded_capacity
from mlff_core.kernels.triton.parameters import Parameters, check_size
from mlff_core.kernels.triton.search import NeighborSearch
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import OVERLAP
from mlff_core.structures.prediction import Prediction
from mlff_core.structures.stress import stress_from_virial

SEARCHED_EVERY_STEP = 64
"""Largest number of atoms of a system that is searched in the graph at each step; larger ones have a skin."""
MARGIN = 1e-3
"""Extra reach of the search beyond the cutoff, Å, so that its rounding errors lose no neighbour."""
ROOM = 1.25
"""Number of slots as a multiple of the largest number of neighbours of an atom at the search."""


@dataclass(slots=True)
class _Fixed:
    """Outputs of a graph, written to the same memory at every step."""

    energy: Tensor
    atom_energies: Tensor
    forces: Tensor
    stress: Tensor | None
    flags: Tensor


class Stepper:
    """Evaluates one batch of structures repeatedly while its atoms and cells move; the species stay the same.

    Each call waits for the GPU once, to read three numbers: the distance of the closest pair, the largest move of an
    atom since the last search, and the largest number of neighbours of an atom. If the list was stale or had too few
    slots, it is made again and the step is repeated, so the returned values are always right. Structures with cells
    wait a second time, to find out whether the cells have changed, which requires a new search.

    Parameters
    ----------
    parameters
        The network.
    batch
        The structures, on the network's device and in its precision.
    skin
        Extra reach of the search, Å; None searches small systems at every step and uses 1 Å for larger ones.
    tiling
        Division of the work; None uses the default for the size.
    """

    def __init__(
        self,
        parameters: Parameters,
        batch: AtomicBatch,
        *,
        skin: float | None = None,
        tiling: Tiling | None = None,
    ) -> None:
        check_device(batch.device)
        self.parameters = parameters
        if batch.device != self.parameters.embedding.device or batch.dtype != self.parameters.dtype:
            raise InputError(
                f"the structures are {batch.dtype} on {batch.device}, but the model is {self.parameters.dtype} on "
                f"{self.parameters.embedding.device}; bring them together with .to(device, dtype)"
            )
        species = self.parameters.species_of_number[batch.atomic_numbers]
        if int(species.min()) < 0:
            number = int(batch.atomic_numbers[int(species.argmin())])
            raise UnsupportedError(f"the model does not know atomic number {number}")
        self._species = species
        self._tiling = tiling
        self._largest = max(batch.atoms_per_system())
        self.searches_every_step = skin is None and self._largest <= SEARCHED_EVERY_STEP
        self.skin = MARGIN if self.searches_every_step else 1.0 if skin is None else skin
        cutoff = parameters.config.cutoff + max(self.skin, MARGIN)
        self._search = NeighborSearch(batch, cutoff, by_bins=False if self.searches_every_step else None)
        self.n_searches = 0
        # New tensors, because the batch's may be transposed views and the kernels read rows.
        self._positions = torch.empty(batch.n_atoms, 3, dtype=batch.dtype, device=batch.device)
        self._positions.copy_(batch.positions.detach())
        self._cell = torch.empty(batch.n_systems, 3, 3, dtype=batch.dtype, device=batch.device)
        self._cell.copy_(batch.cell.detach())
        # Own copies: an engine may write into its arrays between calls.
        self._batch = AtomicBatch(
            self._positions, batch.atomic_numbers.clone(), self._cell, batch.pbc.clone(), self._search.system_idx
        )
        self._has_cell = bool(batch.pbc.any())
        self._sorted = torch.empty_like(self._positions)
        self._searched_at = self._positions.clone()
        self._sorted_species = species.clone()
        self._order = torch.arange(batch.n_atoms, device=batch.device)
        self._inverse = self._order.clone()
        found = self._search.find(self._positions, room=ROOM)
        self._widen(found.capacity)
        self._rebuild()

    @property
    def capacity(self) -> int:
        """Number of slots of each atom; with more neighbours the slots are widened."""
        return self._slots.capacity

    def follows(self, batch: AtomicBatch) -> bool:
        """Return whether these are the structures of this stepper; their atoms and cells may have moved."""
        own = self._batch
        if (
            own.positions.shape != batch.positions.shape
            or own.cell.shape != batch.cell.shape
            or own.dtype != batch.dtype
            or own.device != batch.device
        ):
            return False
        same = (own.atomic_numbers == batch.atomic_numbers).all() & (own.system_idx == batch.system_idx).all()
        return bool(same & (own.pbc == batch.pbc).all())

    def step(self, positions: Tensor, cell: Tensor | None = None, *, stress: bool = False) -> Prediction:
        """Return energies, forces and, if wanted, the stress; the next step overwrites them.

        Parameters
        ----------
        positions
            Shape (n_atoms, 3), Å.
        cell
            Shape (n_systems, 3, 3), Å; None if no cell has changed.
        stress
            Compute the stress too; it is NaN or infinite for a structure without a cell.

        Raises
        ------
        InputError
            Positions or a cell are not finite, atoms overlap, or a cell has no volume.
        """
        with torch.no_grad(), torch.cuda.device_of(positions):
            self._positions.copy_(positions)
            if cell is not None and self._has_cell and not torch.equal(cell, self._cell):
                # Checked first, so that the last cell is kept if the new one is refused.
                self._search.change_cell(replace(self._batch, cell=cell.detach()))
                self._cell.copy_(cell)
                self._rebuild()
            fixed = self._evaluation(stress)()
            while not self._holds(fixed):
                fixed = self._evaluation(stress)()
        return Prediction(
            energy=fixed.energy, forces=fixed.forces, stress=fixed.stress, atom_energies=fixed.atom_energies
        )

    def _evaluation(self, stress: bool) -> Graph[_Fixed]:
        if stress not in self._graphs:
            self._graphs[stress] = Graph(partial(self._evaluate, stress), self._positions.device)
        return self._graphs[stress]

    def _holds(self, fixed: _Fixed) -> bool:
        """Return whether the step used a valid list of neighbours; make the list again otherwise."""
        closest, moved, most = fixed.flags.tolist()
        # `not <=` so that NaN counts as moved.
        stale = not moved <= (self.skin / 2) ** 2
        if not stale and not closest < OVERLAP**2 and most <= self.capacity:
            return True
        if not bool(torch.isfinite(self._positions).all()):
            atom = int((~torch.isfinite(self._positions).all(dim=1)).nonzero()[0])
            raise InputError(f"positions must be finite, but atom {atom} is at {self._positions[atom].tolist()} Å")
        if stale:
            self._rebuild()
            return False
        if most > self.capacity:
            self._widen(rounded_capacity(int(most * ROOM)))
            self._rebuild()
            return False
        raise OverlapError(
            f"two atoms overlap: they are {closest**0.5:.3f} Å apart, at least {OVERLAP} Å is needed; "
            "check the structure or shorten the time step"
        )

    def _rebuild(self) -> None:
        """Search at the present positions, and sort the atoms so that near atoms are close in memory."""
        self.n_searches += 1
        if self.searches_every_step:
            return
        while True:
            self._order.copy_(self._search.sort(self._positions).order)
            self._inverse[self._order] = torch.arange(len(self._order), device=self._order.device)
            self._sorted_species.copy_(self._species[self._order])
            self._searched_at.copy_(self._positions)
            self._search.fill(self._search.sort(self._positions[self._order]), self._slots)
            most = int(self._slots.n_candidates.max())
            if most <= self.capacity:
                return
            self._widen(rounded_capacity(int(most * ROOM)))

    def _widen(self, capacity: int) -> None:
        """Allocate slots for so many neighbours, which requires new graphs."""
        device = self._positions.device
        check_size(self.parameters, len(self._positions), capacity)
        self._slots: PaddedNeighbors = empty_neighbors(len(self._positions), capacity, device)
        self._inputs = PaddedInputs(
            positions=self._sorted,
            cell=self._cell,
            species=self._sorted_species,
            system_idx=self._search.system_idx,
            candidates=self._slots.candidates,
            shifts=self._slots.shifts,
            reverse=self._slots.reverse,
            n_candidates=self._slots.n_candidates,
            largest=self._largest,
        )
        self._graphs: dict[bool, Graph[_Fixed]] = {}

    def _evaluate(self, stress: bool) -> _Fixed:
        """Do one step without waiting for the GPU, so that it can be captured in a graph."""
        if self.searches_every_step:
            self._sorted.copy_(self._positions)
            self._search.fill(self._search.sort(self._sorted), self._slots)
            # 0, or NaN if a position is not finite; such an atom has no neighbours, so `closest` would not show it.
            moved = (self._positions - self._positions).sum()
        else:
            torch.index_select(self._positions, 0, self._order, out=self._sorted)
            moved = (self._positions - self._searched_at).square().sum(dim=1).amax()
        outputs = evaluate(self.parameters, self._inputs, derivatives=True, virial=stress, tiling=self._tiling)
        assert outputs.forces is not None
        most = self._slots.n_candidates.amax().to(moved.dtype)
        forces, atom_energies = outputs.forces, outputs.atom_energies
        if not self.searches_every_step:
            forces = forces.index_select(0, self._inverse)
            atom_energies = atom_energies.index_select(0, self._inverse)
        strain = None
        if outputs.virial is not None:
            strain = stress_from_virial(outputs.virial.to(self._cell.dtype), self._cell)
        flags = torch.stack([outputs.closest.amin(), moved, most])
        return _Fixed(outputs.energy, atom_energies, forces, strain, flags)
