"""A labelled structure, and batches of them as tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mlff_core.data.hessian_rows import HessianRows
from mlff_core.data.molecules import check_molecules
from mlff_core.errors import InputError
from mlff_core.structures.arrays import refuse_masked_or_complex
from mlff_core.structures.batch import AtomicBatch

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class LabelledStructure:
    """One geometry, how it was made, and the teacher's labels.

    Raises
    ------
    InputError
        An array has the wrong shape, masked entries or complex numbers.
    """

    atomic_numbers: Array
    """Proton numbers, shape (n_atoms,)."""
    positions: Array
    """Shape (n_atoms, 3), Å."""
    energy: float | None = None
    """eV; None while not labelled."""
    forces: Array | None = None
    """Shape (n_atoms, 3), eV/Å; None while not labelled."""
    cell: Array | None = None
    """Shape (3, 3), Å, rows are lattice vectors; None for no cell."""
    pbc: Array | None = None
    """Periodic along each lattice vector, shape (3,), bool; None for not periodic."""
    stress: Array | None = None
    """Shape (3, 3), eV/Å³, positive under tension."""
    charge: int = 0
    """Total charge, e."""
    spin_multiplicity: int = 1
    """2S + 1."""
    weight: float = 1.0
    """Weight of the structure in a loss."""
    atom_energies: Array | None = None
    """Shape (n_atoms,), eV."""
    charges: Array | None = None
    """Shape (n_atoms,), e."""
    dipole: Array | None = None
    """Dipole moment about the centre of mass, shape (3,), e·Å."""
    fragment: Array | None = None
    """Molecule that each atom belongs to, shape (n_atoms,), whole numbers from 0; None where that is not known."""
    fragment_charge: Array | None = None
    """Charge of the molecule that each atom belongs to, shape (n_atoms,), e; given with ``fragment``."""
    hessian_direction: Array | None = None
    hessian_product: Array | None = None
    """Directions v and the rows H·v of the Hessian, shape (n_rows, n_atoms, 3), v dimensionless and H·v in eV/Å²; None
    for no rows."""
    molecule_id: int | None = None
    """The same for all structures of a molecule; None where each structure is a molecule of its own."""
    kind: str = "given"
    """How the geometry was made, such as ``"rattle"``."""
    smiles: str | None = None
    """SMILES of the molecule, ``A.B`` for a pair."""
    split: str | None = None
    """``"train"``, ``"validation"``, ``"test"`` or None."""

    def __post_init__(self) -> None:
        n_atoms = len(self.atomic_numbers)
        wanted = {
            "atomic_numbers": (n_atoms,),
            "positions": (n_atoms, 3),
            "forces": (n_atoms, 3),
            "cell": (3, 3),
            "pbc": (3,),
            "stress": (3, 3),
            "atom_energies": (n_atoms,),
            "charges": (n_atoms,),
            "dipole": (3,),
            "fragment": (n_atoms,),
            "fragment_charge": (n_atoms,),
        }
        for name, shape in wanted.items():
            value = getattr(self, name)
            if value is None:
                continue
            refuse_masked_or_complex(name, value)
            if np.shape(value) != shape:
                raise InputError(f"{name} of a structure must have shape {shape}, got {np.shape(value)}")
        if self.fragment is not None or self.fragment_charge is not None:
            check_molecules(self.fragment, self.fragment_charge, self.charge)
        shapes = [np.shape(rows) for rows in (self.hessian_direction, self.hessian_product) if rows is not None]
        if len(shapes) == 1 or len(set(shapes)) > 1 or any(shape[1:] != (n_atoms, 3) for shape in shapes):
            raise InputError(
                f"hessian_direction and hessian_product of a structure must both have shape (n_rows, {n_atoms}, 3), "
                f"got {' and '.join(map(str, shapes))}"
            )

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.atomic_numbers)

    @property
    def is_periodic(self) -> bool:
        """True if any direction is periodic."""
        return self.pbc is not None and bool(np.any(self.pbc))


@dataclass(frozen=True, eq=False)
class LabelledBatch:
    """Structures of a data set with their labels, as tensors."""

    batch: AtomicBatch
    """The structures."""
    energy: Tensor
    """Shape (n_systems,), eV, float64."""
    forces: Tensor
    """Shape (n_atoms, 3), eV/Å."""
    index: Tensor
    """Index of each structure in the data set, shape (n_systems,), int64."""
    stress: Tensor | None = None
    """Shape (n_systems, 3, 3), eV/Å³; None where the data set has none. Zero for structures with no periodic cell."""
    weight: Tensor | None = None
    """Weight of each structure in a loss, shape (n_systems,); None where all are 1."""
    atom_energies: Tensor | None = None
    """Shape (n_atoms,), eV; None where the data set has none."""
    charges: Tensor | None = None
    """Shape (n_atoms,), e; None where the data set has none."""
    dipole: Tensor | None = None
    """Dipole moments about the centre of mass, shape (n_systems, 3), e·Å; None where the data set has none."""
    hessian: HessianRows | None = None
    """Rows of Hessians of some of the structures; None where the data set has none."""

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> LabelledBatch:
        """Return the batch on another device or in another precision; the energy stays float64."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device=device, dtype=dtype)

        return LabelledBatch(
            batch=self.batch.to(device, dtype),
            energy=self.energy.to(device=device),
            forces=self.forces.to(device=device, dtype=dtype),
            index=self.index.to(device=device),
            stress=move(self.stress),
            weight=move(self.weight),
            atom_energies=move(self.atom_energies),
            charges=move(self.charges),
            dipole=move(self.dipole),
            hessian=None if self.hessian is None else self.hessian.to(device, dtype),
        )


def batch_from_structures(
    structures: Sequence[LabelledStructure],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> AtomicBatch:
    """Return the geometries of several structures as one batch, labels left out.

    Charges and multiplicities are set only if a structure is charged or not a singlet.

    Raises
    ------
    InputError
        The list is empty.
    """
    if not structures:
        raise InputError("no structures were given; at least one is needed")
    counts = torch.tensor([structure.n_atoms for structure in structures])
    cells = np.zeros((len(structures), 3, 3))
    pbc = np.zeros((len(structures), 3), dtype=bool)
    for k, structure in enumerate(structures):
        if structure.cell is not None:
            cells[k] = structure.cell
        if structure.pbc is not None:
            pbc[k] = structure.pbc
    charges = [structure.charge for structure in structures]
    of_atoms = {
        name: torch.from_numpy(
            np.concatenate([_or_full(getattr(s, name), s.n_atoms, missing) for s in structures]).astype(np.int64)
        )
        for name, missing in (("fragment", -1), ("fragment_charge", 0))
        if any(s.fragment is not None for s in structures)
    }
    multiplicities = [structure.spin_multiplicity for structure in structures]
    batch = AtomicBatch(
        positions=torch.from_numpy(np.concatenate([s.positions for s in structures]).astype(np.float64)).to(dtype),
        atomic_numbers=torch.from_numpy(np.concatenate([s.atomic_numbers for s in structures]).astype(np.int64)),
        cell=torch.from_numpy(cells).to(dtype),
        pbc=torch.from_numpy(pbc),
        system_idx=torch.repeat_interleave(torch.arange(len(structures)), counts),
        charge=torch.tensor(charges, dtype=dtype) if any(charges) else None,
        spin_multiplicity=torch.tensor(multiplicities) if any(m != 1 for m in multiplicities) else None,
        **of_atoms,
    )
    return batch.to(device)


def _or_full(values: Array | None, n_atoms: int, missing: int) -> Array:
    return np.full(n_atoms, missing) if values is None else np.asarray(values)


def packed_by_atoms(structures: Sequence[LabelledStructure], batch_atoms: int) -> Iterator[list[int]]:
    """Yield groups of consecutive structures of about ``batch_atoms`` atoms, all with a cell or all without."""
    group: list[int] = []
    n_atoms = 0
    for k, structure in enumerate(structures):
        full = n_atoms + structure.n_atoms > batch_atoms
        if group and (full or structure.is_periodic != structures[group[0]].is_periodic):
            yield group
            group, n_atoms = [], 0
        group.append(k)
        n_atoms += structure.n_atoms
    if group:
        yield group
