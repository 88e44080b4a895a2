"""SO3LR's network with the common interface.

It is called directly, on graphs made here: the package's own ASE calculator prints, sets torch's default dtype and
takes one structure at a time.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlff_core.card import ModelCard
from mlff_core.errors import UnsupportedError
from mlff_core.potentials.checks import check_distances
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch, concatenate, split
from mlff_core.structures.dipole import check_not_periodic, dipoles
from mlff_core.structures.fragments import find_fragments
from mlff_core.structures.neighbors import EdgeList, edge_vectors, find_neighbors
from mlff_core.structures.prediction import Prediction
from mlff_plugins.teachers.chunks import by_system, chunks, copied, joined
from mlff_plugins.teachers.pinned import pinned_content
from mlff_plugins.teachers.so3lr_settings import (
    DISPERSION_DAMPING,
    GIVES,
    LONG_RANGE_CUTOFF,
    LONG_RANGE_CUTOFF_PERIODIC,
    SHA256,
)
from mlff_plugins.teachers.torch_globals import torch_globals_kept

CHUNK_ATOMS = 600
"""Number of atoms evaluated at once; more are not faster on a CPU and need memory."""


def load_model(weights_path: str | Path | None, device: torch.device, dtype: torch.dtype) -> Any:
    """Return the network with its energy shifts set to zero, after a check of the file's hash.

    Raises
    ------
    InputError
        The file is missing, or is not the one that this version was made for; no code in it was run.
    """
    path = packaged_weights() if weights_path is None else Path(weights_path)
    content = pinned_content("so3lr", path, SHA256, "so3krates-torch==0.2.1")
    # Unpickling imports the package, which sets torch's print options.
    with torch_globals_kept():
        # From the bytes that were hashed, since the file may change meanwhile.
        model = torch.load(io.BytesIO(content), map_location=device, weights_only=False)
    with torch.no_grad():
        # −164 eV per atom, the same for all elements; with them float32 would lose 0.7 meV per molecule.
        model.atomic_energy_output_block.energy_shifts.zero_()
    model.dispersion_energy_cutoff_lr_damping = DISPERSION_DAMPING
    # The package's own function sums the same terms, but sets torch's print options at every call.
    model._combine_energies = _sum_of_terms
    return model.to(device, dtype).eval().requires_grad_(False)


def packaged_weights() -> Path:
    """Return the path of ``so3lr.model`` in the package."""
    from importlib import resources

    return Path(str(resources.files("so3krates_torch"))) / "pretrained" / "so3lr" / "so3lr.model"


def _sum_of_terms(
    atomic_energies: Tensor,
    zbl_atomic_energies: Tensor,
    electrostatic_energies: Tensor,
    dispersion_energies: Tensor,
) -> Tensor:
    """Return the energies of the atoms, shape (n_atoms, 1), eV, from the four terms of that shape."""
    return atomic_energies + zbl_atomic_energies + electrostatic_energies + dispersion_energies


class SO3LRPotential(Potential):
    """SO3LR with the common interface; one caller at a time, since the network keeps state while it computes."""

    supports = GIVES

    def __init__(self, model: Any, card: ModelCard, device: torch.device, dtype: torch.dtype) -> None:
        self.model = model
        self.card = card
        self.device = device
        self.dtype = dtype
        self._lock = threading.Lock()

    def predict_checked(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None = None) -> Prediction:
        """Return what is wanted; see :meth:`~mlff_core.potentials.interface.Potential.predict_checked`."""
        _check_alone(batch)
        if "dipole" in want:
            check_not_periodic(batch)
        periodic = batch.pbc.any(dim=1).tolist()
        results: list[Prediction | None] = [None] * batch.n_systems
        # A caller's no_grad or inference mode must not disable the gradient here, and must not be changed.
        with torch.inference_mode(False), torch.enable_grad():
            systems = split(copied(batch))
            for indices in chunks([system.n_atoms for system in systems], periodic, CHUNK_ATOMS):
                chunk = concatenate([systems[k] for k in indices])
                with self._lock:
                    found = self._evaluate(chunk, want, periodic[indices[0]])
                for k, result in zip(indices, by_system(found, chunk.atoms_per_system()), strict=True):
                    results[k] = result
            return joined([result for result in results if result is not None])

    def _evaluate(self, batch: AtomicBatch, want: Collection[str], periodic: bool) -> Prediction:
        cutoff_lr = LONG_RANGE_CUTOFF_PERIODIC if periodic else LONG_RANGE_CUTOFF
        long_range = find_neighbors(batch, cutoff_lr) if periodic else _all_pairs(batch)
        vectors = edge_vectors(batch, long_range)
        check_distances(batch, long_range, vectors)
        short_range = long_range.select((vectors * vectors).sum(dim=1) < self.model.r_max**2)
        self.model.r_max_lr = cutoff_lr
        out = self.model(
            _graph(batch, short_range, long_range),
            compute_force="forces" in want or "stress" in want,
            compute_stress="stress" in want,
        )
        self.model.ctx = None  # holds the last graph's memory
        atom_energies = out["node_energy"].detach().squeeze(1).double()
        energy = torch.zeros(batch.n_systems, dtype=torch.float64, device=self.device)
        charges = out["partial_charges"].detach().reshape(-1).double()
        return Prediction(
            energy=energy.index_add_(0, batch.system_idx, atom_energies),
            forces=out["forces"].detach() if "forces" in want else None,
            stress=out["stress"].detach() if "stress" in want else None,
            atom_energies=atom_energies if "atom_energies" in want else None,
            charges=charges if "charges" in want else None,
            dipole=dipoles(batch, charges) if "dipole" in want else None,
        )


def _check_alone(batch: AtomicBatch) -> None:
    """Refuse a charged structure of several molecules.

    The network spreads the total charge over all atoms by element, so an ion beside another molecule is wrong at any
    distance.

    Raises
    ------
    UnsupportedError
        The message gives the number of molecules and the teacher that can compute them.
    """
    if batch.charge is None or not bool((batch.charge != 0).any()):
        return
    for k, system in enumerate(split(batch)):
        charge = float(batch.charge[k])
        if charge and (n_molecules := len(find_fragments(system).atoms)) > 1:
            raise UnsupportedError(
                f"so3lr spreads a total charge over all atoms, so it is wrong for structure {k}: {charge:+g} e on "
                f"{n_molecules} molecules; use the teacher 'fragments', which gives each molecule its own charge"
            )


def _graph(batch: AtomicBatch, short_range: EdgeList, long_range: EdgeList) -> dict[str, Tensor]:
    """Return the network's input with the names and conventions of so3krates-torch."""
    n_systems, device, dtype = batch.n_systems, batch.device, batch.dtype
    cell = batch.cell.clone()
    counts = torch.bincount(batch.system_idx, minlength=n_systems)
    charge = torch.zeros(n_systems, dtype=dtype, device=device)
    if batch.charge is not None:
        charge = batch.charge.to(dtype, copy=True)

    def shifts(edges: EdgeList) -> Tensor:
        return torch.einsum("ei,eij->ej", edges.cell_shifts, cell[batch.system_idx[edges.centers]])

    return {
        # A copy: the network sets requires_grad on its input.
        "positions": batch.positions.clone(),
        "atomic_numbers": batch.atomic_numbers,
        "node_attrs": torch.nn.functional.one_hot(batch.atomic_numbers - 1, 118).to(dtype),
        "cell": cell.reshape(-1, 3),
        "batch": batch.system_idx,
        "ptr": torch.nn.functional.pad(counts.cumsum(0), (1, 0)),
        "head": torch.zeros(n_systems, dtype=torch.int64, device=device),
        "total_charge": charge,
        "total_spin": torch.zeros(n_systems, dtype=dtype, device=device),
        "edge_index": torch.stack((short_range.centers, short_range.neighbors)),
        "shifts": shifts(short_range),
        "unit_shifts": short_range.cell_shifts,
        "edge_index_lr": torch.stack((long_range.centers, long_range.neighbors)),
        "shifts_lr": shifts(long_range),
        "unit_shifts_lr": long_range.cell_shifts,
    }


def _all_pairs(batch: AtomicBatch) -> EdgeList:
    """Return every ordered pair of atoms of each structure, without images."""
    counts = torch.bincount(batch.system_idx, minlength=batch.n_systems)
    first = (counts.cumsum(0) - counts)[batch.system_idx]
    rivals = counts[batch.system_idx] - 1
    atoms = torch.arange(batch.n_atoms, device=batch.device)
    centers = atoms.repeat_interleave(rivals)
    row = torch.arange(len(centers), device=batch.device) - (rivals.cumsum(0) - rivals)[centers]
    neighbors = first[centers] + row + (row >= centers - first[centers])
    return EdgeList(centers, neighbors, batch.positions.new_zeros(len(centers), 3))
