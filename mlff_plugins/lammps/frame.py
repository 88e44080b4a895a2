"""What stays the same from step to step in LAMMPS: kept, since to make it anew costs more than a small student."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mlff_core.batch import AtomicBatch
from mlff_plugins.lammps.convert import Array, to_batch


class Box:
    """LAMMPS' box, read into the same memory each time.

    Parameters
    ----------
    lmp
        The LAMMPS instance.
    """

    def __init__(self, lmp: Any) -> None:
        self._lmp = lmp
        self._corners = (ctypes.c_double * 3)(), (ctypes.c_double * 3)()
        self._tilts = tuple(ctypes.c_double() for _ in range(3))
        self._periodic, self._changes = (ctypes.c_int * 3)(), ctypes.c_int()
        references = (*map(ctypes.byref, self._tilts), self._periodic, ctypes.byref(self._changes))
        self._arguments = (*self._corners, *references)

    def read(self) -> tuple[Any, ...]:
        """Return low and high corners (3 each), the tilts xy, yz, xz, Å, and which directions are periodic."""
        self._lmp.lib.lammps_extract_box(self._lmp.lmp, *self._arguments)
        corners, tilts = (list(corner) for corner in self._corners), (tilt.value for tilt in self._tilts)
        return (*corners, *tilts, list(self._periodic))


class Frame:
    """Atoms in the order of their tags, in their box.

    LAMMPS sorts its atoms anew now and then; in the order of their tags they stay the same structure.

    Parameters
    ----------
    tags, types
        As LAMMPS holds its atoms, shape (n_atoms,), no unit.
    positions
        Shape (n_atoms, 3), Å, in LAMMPS' order.
    box
        As :meth:`Box.read` gives it.
    numbers
        Atomic number of each type, shape (n_types + 1,), no unit.
    rotation
        From the model's frame to LAMMPS', shape (3, 3), no unit; None where they are one.
    charge, spin_multiplicity
        Of the whole system, e and 2S + 1.
    dtype, device
        Of the model's tensors.

    Attributes
    ----------
    order
        The atoms by tag, shape (n_atoms,), no unit.
    cell
        Shape (3, 3), Å, as LAMMPS has it.
    volume
        Å³.
    is_periodic
        Whether any direction is.
    batch
        The structure as the model takes it.
    """

    def __init__(
        self,
        tags: npt.NDArray[np.int64],
        types: npt.NDArray[np.int64],
        positions: Array,
        box: tuple[Any, ...],
        numbers: npt.NDArray[np.int64],
        rotation: Array | None,
        charge: float | None,
        spin_multiplicity: int | None,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._tags, self._types, self._box = tags.copy(), types.copy(), box
        self._rotation = rotation
        self.order = np.argsort(tags)
        low, high, xy, yz, xz, periodic = box
        self.cell = np.diag(np.subtract(high, low))
        self.cell[1, 0], self.cell[2, 0], self.cell[2, 1] = xy, xz, yz
        self.volume = float(abs(np.linalg.det(self.cell)))
        self.is_periodic = any(periodic)
        self.batch = to_batch(
            positions[self.order],
            numbers[types[self.order]],
            self.cell,
            np.array(periodic, dtype=bool),
            rotation=rotation,
            charge=charge,
            spin_multiplicity=spin_multiplicity,
        ).to(device, dtype)

    def holds(self, tags: npt.NDArray[np.int64], types: npt.NDArray[np.int64], box: tuple[Any, ...]) -> bool:
        """Return whether nothing but positions can differ.

        Parameters
        ----------
        tags, types
            As LAMMPS holds its atoms now, shape (n_atoms,), no unit.
        box
            As :meth:`Box.read` gives it.
        """
        return box == self._box and np.array_equal(tags, self._tags) and np.array_equal(types, self._types)

    def at(self, positions: Array) -> AtomicBatch:
        """Return the same atoms at positions (n_atoms, 3), Å, in LAMMPS' order, for a model."""
        mine = positions[self.order]
        mine = mine if self._rotation is None else mine @ self._rotation
        return self.batch.with_positions(torch.from_numpy(mine).to(self.batch.device, self.batch.dtype))
