"""A batch of structures, the input of every potential.

Over 300 lines, in one file because what makes, splits and joins a batch shares its checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mlff_core.errors import InputError
from mlff_core.structures.arrays import refuse_masked_or_complex
from mlff_core.structures.far import moved_near_origin, refuse_far, systems_near_origin

MAX_ATOMIC_NUMBER = 118


@dataclass(frozen=True, slots=True, eq=False)
class AtomicBatch:
    """One or many structures, with the atoms of each structure next to each other.

    Construction checks shapes, dtypes and devices only, which costs no synchronisation with a GPU;
    :meth:`validate_values` checks the numbers.

    Raises
    ------
    InputError
        A tensor has the wrong shape, dtype or device.
    """

    positions: Tensor
    """Cartesian positions, shape (n_atoms, 3), Å."""
    atomic_numbers: Tensor
    """Proton numbers, shape (n_atoms,), int64."""
    cell: Tensor
    """Cells, shape (n_systems, 3, 3), Å; **rows are the lattice vectors**; zero where not periodic."""
    pbc: Tensor
    """Periodic along each lattice vector, shape (n_systems, 3), bool."""
    system_idx: Tensor
    """The structure each atom belongs to, shape (n_atoms,), int64, non-decreasing."""
    charge: Tensor | None = None
    """Total charge of each structure, shape (n_systems,), e; None means neutral."""
    spin_multiplicity: Tensor | None = None
    """2S + 1 of each structure, shape (n_systems,); None means singlet."""
    fragment: Tensor | None = None
    """Molecule that each atom belongs to, shape (n_atoms,), int64, counted from 0 in each structure; −1 where it is not
    known, None where none is."""
    fragment_charge: Tensor | None = None
    """Charge of that molecule, shape (n_atoms,), e; given with ``fragment``."""

    def __post_init__(self) -> None:
        positions = self.positions
        if positions.ndim != 2 or positions.shape[1] != 3:
            raise InputError(f"positions must have shape (n_atoms, 3), got {tuple(positions.shape)}")
        if not positions.is_floating_point():
            raise InputError(f"positions must be a floating-point tensor in Å, got {positions.dtype}")
        if self.cell.ndim != 3:
            raise InputError(f"cell must have shape (n_systems, 3, 3), got {tuple(self.cell.shape)}")
        n_atoms, n_systems = positions.shape[0], self.cell.shape[0]
        wanted = [
            ("atomic_numbers", self.atomic_numbers, (n_atoms,), torch.int64),
            ("cell", self.cell, (n_systems, 3, 3), positions.dtype),
            ("pbc", self.pbc, (n_systems, 3), torch.bool),
            ("system_idx", self.system_idx, (n_atoms,), torch.int64),
        ]
        if self.charge is not None:
            wanted.append(("charge", self.charge, (n_systems,), self.charge.dtype))
        if self.spin_multiplicity is not None:
            wanted.append(("spin_multiplicity", self.spin_multiplicity, (n_systems,), self.spin_multiplicity.dtype))
        if self.fragment is not None and self.fragment_charge is not None:
            wanted.append(("fragment", self.fragment, (n_atoms,), torch.int64))
            wanted.append(("fragment_charge", self.fragment_charge, (n_atoms,), self.fragment_charge.dtype))
        elif self.fragment is not None or self.fragment_charge is not None:
            raise InputError("fragment and fragment_charge belong together, got only one of them; give both or none")
        for name, tensor, shape, dtype in wanted:
            if tensor.shape != shape:
                raise InputError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")
            if tensor.dtype != dtype:
                raise InputError(f"{name} must have dtype {dtype}, got {tensor.dtype}")
            if tensor.device != positions.device:
                raise InputError(
                    f"{name} is on {tensor.device} but positions are on {positions.device}; "
                    "move the whole batch with .to(device)"
                )

    @property
    def n_atoms(self) -> int:
        """Number of atoms of all structures together."""
        return self.positions.shape[0]

    @property
    def n_systems(self) -> int:
        """Number of structures."""
        return self.cell.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.positions.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of positions and cell."""
        return self.positions.dtype

    def atoms_per_system(self) -> list[int]:
        """Atoms of each structure, a list of n_systems counts."""
        return torch.bincount(self.system_idx, minlength=self.n_systems).tolist()

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> AtomicBatch:
        """Return the batch on another device or in another precision (itself if nothing changes).

        Where float64 becomes float32, a structure far from the origin is moved to it first, by the same vector for all
        its atoms: float32 would round its distances.
        """
        device = self.device if device is None else torch.device(device)
        dtype = self.dtype if dtype is None else dtype
        if device == self.device and dtype == self.dtype:
            return self
        positions = self.positions
        if dtype != self.dtype == torch.float64 and self.n_atoms:
            positions = systems_near_origin(positions, self.system_idx, self.n_systems)
        return AtomicBatch(
            positions=positions.to(device, dtype),
            atomic_numbers=self.atomic_numbers.to(device),
            cell=self.cell.to(device, dtype),
            pbc=self.pbc.to(device),
            system_idx=self.system_idx.to(device),
            charge=None if self.charge is None else self.charge.to(device),
            spin_multiplicity=None if self.spin_multiplicity is None else self.spin_multiplicity.to(device),
            fragment=None if self.fragment is None else self.fragment.to(device),
            fragment_charge=None if self.fragment_charge is None else self.fragment_charge.to(device),
        )

    def with_positions(self, positions: Tensor) -> AtomicBatch:
        """Return the same structures at other positions, shape (n_atoms, 3), Å."""
        mine = self.positions
        if positions.shape != mine.shape or positions.dtype != mine.dtype or positions.device != mine.device:
            return replace(self, positions=positions)
        # The other tensors were checked at construction; checking them at each step costs a small model a few percent.
        moved = object.__new__(type(self))
        for name in self.__slots__:
            object.__setattr__(moved, name, positions if name == "positions" else getattr(self, name))
        return moved

    def validate_values(self) -> None:
        """Check the numbers; reads every tensor back from its device.

        Raises
        ------
        InputError
            There are no atoms, a structure has no atoms, positions or a cell are not finite, an atomic number lies
            outside 1–118, ``system_idx`` decreases, or a periodic direction has no lattice vector.
        """
        if self.n_atoms == 0 or self.n_systems == 0:
            raise InputError("the structure is empty: at least one atom is needed")
        if not bool(torch.isfinite(self.positions).all()):
            first = int((~torch.isfinite(self.positions).all(dim=1)).nonzero()[0])
            raise InputError(
                f"positions must be finite, but atom {first} is at {self.positions[first].tolist()} Å; "
                "check the input file, or the MD step before this one"
            )
        refuse_far(self.positions)
        if not bool(torch.isfinite(self.cell).all()):
            raise InputError("cell must be finite, but holds NaN or infinity; check the input file")
        if int(self.atomic_numbers.min()) < 1 or int(self.atomic_numbers.max()) > MAX_ATOMIC_NUMBER:
            raise InputError(
                f"atomic_numbers must lie in 1–{MAX_ATOMIC_NUMBER}, "
                f"got {int(self.atomic_numbers.min())} to {int(self.atomic_numbers.max())}"
            )
        steps = self.system_idx[1:] - self.system_idx[:-1]
        if bool((steps < 0).any()) or int(self.system_idx[0]) < 0 or int(self.system_idx[-1]) >= self.n_systems:
            raise InputError(
                "system_idx must be non-decreasing and lie in 0…n_systems−1: put the atoms of a structure together"
            )
        if min(self.atoms_per_system()) == 0:
            raise InputError("a structure of the batch has no atoms; leave it out")
        lengths = torch.linalg.vector_norm(self.cell, dim=2)
        if bool((self.pbc & (lengths == 0)).any()):
            raise InputError("pbc is on along a lattice vector of length zero; give the cell or switch pbc off")
        volume = torch.linalg.det(self.cell.double()).abs()
        if bool((self.pbc.all(dim=1) & (volume < 1e-6)).any()):
            raise InputError("the periodic cell has no volume: its lattice vectors lie in one plane")


def single(
    positions: npt.ArrayLike,
    atomic_numbers: npt.ArrayLike,
    cell: npt.ArrayLike | None = None,
    pbc: bool | Sequence[bool] | npt.ArrayLike = False,
    *,
    charge: float | None = None,
    spin_multiplicity: int | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> AtomicBatch:
    """Return a batch of one structure made from array-likes.

    Parameters
    ----------
    positions
        Positions of the atoms, shape (n_atoms, 3), Å. In float32 a structure far from the origin is moved there as a
        whole.
    atomic_numbers
        Their proton numbers, shape (n_atoms,).
    cell
        Lattice vectors as rows, shape (3, 3), Å; None for no cell.
    pbc
        One bool, or one for each lattice vector, shape (3,).
    charge
        Total charge, e; None means neutral.
    spin_multiplicity
        2S + 1; None means singlet.

    Examples
    --------
    >>> water = single([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1])
    >>> water.n_atoms, water.n_systems
    (3, 1)
    """
    positions_array = _array("positions", positions, np.float64)
    if dtype == torch.float32 and positions_array.ndim == 2 and positions_array.size:
        positions_array = moved_near_origin(positions_array)  # before the cast, which would round it
    numbers_array = _array("atomic_numbers", atomic_numbers, np.int64)
    cell_array = np.zeros((3, 3)) if cell is None else _array("cell", cell, np.float64)
    if cell_array.shape != (3, 3):
        raise InputError(f"cell must have shape (3, 3), got {cell_array.shape}")
    pbc_array = np.asarray(pbc, dtype=bool)
    if pbc_array.shape not in ((), (3,)):
        raise InputError(f"pbc must be one bool or three, got shape {pbc_array.shape}")
    return AtomicBatch(
        positions=torch.as_tensor(positions_array, dtype=dtype, device=device),
        atomic_numbers=torch.as_tensor(numbers_array, device=device),
        cell=torch.as_tensor(cell_array, dtype=dtype, device=device)[None],
        pbc=torch.as_tensor(np.broadcast_to(pbc_array, (3,)).copy(), device=device)[None],
        system_idx=torch.zeros(numbers_array.shape[:1], dtype=torch.int64, device=device),
        charge=None
        if charge is None
        else torch.as_tensor(_array("charge", [charge], np.float64), dtype=dtype, device=device),
        spin_multiplicity=None
        if spin_multiplicity is None
        else torch.as_tensor(_array("spin_multiplicity", [spin_multiplicity], np.int64), device=device),
    )


def _array(name: str, value: Any, dtype: type[np.float64 | np.int64]) -> npt.NDArray[Any]:
    """Return a copy of an array-like; checks that integers are whole numbers."""
    refuse_masked_or_complex(name, value)
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must be numbers, but numpy cannot read them: {error}") from None
    if dtype is np.int64 and not np.array_equal(array, np.rint(array)):
        raise InputError(f"{name} must be whole numbers, got {array[array != np.rint(array)][0]}")
    return array.astype(dtype)


def concatenate(batches: Sequence[AtomicBatch]) -> AtomicBatch:
    """Return all structures of several batches as one batch, in order.

    Raises
    ------
    InputError
        The list is empty, or dtypes or devices differ.
    """
    if not batches:
        raise InputError("no structures to join: the list is empty")
    kinds = sorted({f"{batch.dtype} on {batch.device}" for batch in batches})
    if len(kinds) > 1:
        raise InputError(
            f"structures to join must have one dtype and device, got {' and '.join(kinds)}; use .to(device, dtype)"
        )
    offset, system_idx = 0, []
    for batch in batches:
        system_idx.append(batch.system_idx + offset)
        offset += batch.n_systems

    def optional(name: str, default: float, per: str = "n_systems") -> Tensor | None:
        values = [getattr(batch, name) for batch in batches]
        if all(value is None for value in values):
            return None
        like = next(value for value in values if value is not None)
        # torch.cat promotes integers to floats, so a charge of 0.5 e is kept beside integer charges.
        return torch.cat(
            [
                like.new_full((getattr(batch, per),), default) if value is None else value
                for batch, value in zip(batches, values, strict=True)
            ]
        )

    return AtomicBatch(
        positions=torch.cat([batch.positions for batch in batches]),
        atomic_numbers=torch.cat([batch.atomic_numbers for batch in batches]),
        cell=torch.cat([batch.cell for batch in batches]),
        pbc=torch.cat([batch.pbc for batch in batches]),
        system_idx=torch.cat(system_idx),
        charge=optional("charge", 0),
        spin_multiplicity=optional("spin_multiplicity", 1),
        fragment=optional("fragment", -1, "n_atoms"),
        fragment_charge=optional("fragment_charge", 0, "n_atoms"),
    )


def split(batch: AtomicBatch) -> list[AtomicBatch]:
    """Return one batch for each structure, the inverse of :func:`concatenate`."""
    counts = batch.atoms_per_system()
    positions, numbers = batch.positions.split(counts), batch.atomic_numbers.split(counts)
    fragments = None if batch.fragment is None else batch.fragment.split(counts)
    charges = None if batch.fragment_charge is None else batch.fragment_charge.split(counts)
    return [
        AtomicBatch(
            positions=positions[k],
            atomic_numbers=numbers[k],
            cell=batch.cell[k : k + 1],
            pbc=batch.pbc[k : k + 1],
            system_idx=torch.zeros_like(numbers[k]),
            charge=None if batch.charge is None else batch.charge[k : k + 1],
            spin_multiplicity=None if batch.spin_multiplicity is None else batch.spin_multiplicity[k : k + 1],
            fragment=None if fragments is None else fragments[k],
            fragment_charge=None if charges is None else charges[k],
        )
        for k in range(batch.n_systems)
    ]
