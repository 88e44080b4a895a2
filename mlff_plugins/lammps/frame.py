"""What stays the same from step to step in LAMMPS: kept, since to make it anew costs more than a small student."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from mlff_core.structures.arrays import moved_near_origin
from mlff_core.structures.batch import AtomicBatch
from mlff_plugins.lammps.convert import Array, to_batch

_TYPE = np.dtype(np.int32)
"""Of an atom type in LAMMPS."""


class FrameKey(NamedTuple):
    """What LAMMPS holds besides positions, as bytes, which are quick to compare: the same key, the same frame."""

    tags: bytes
    types: bytes
    box: bytes


class Box(ctypes.Structure):
    """LAMMPS' box: corners and tilts in Å, and which directions are periodic."""

    _fields_ = (
        ("low", ctypes.c_double * 3),
        ("high", ctypes.c_double * 3),
        ("tilts", ctypes.c_double * 3),
        ("periodic", ctypes.c_int * 3),
        ("changes", ctypes.c_int),
    )


class Reader:
    """Reads what LAMMPS holds through its C library: the arrays that its Python module makes cost more.

    Parameters
    ----------
    lmp
        The LAMMPS instance.
    """

    def __init__(self, lmp: Any) -> None:
        self._lmp = lmp
        self._box = Box()
        doubles, integers = ctypes.POINTER(ctypes.c_double), ctypes.POINTER(ctypes.c_int)
        at = [ctypes.addressof(self._box) + getattr(Box, name).offset for name, _ in Box._fields_]
        tilts = [at[2] + k * ctypes.sizeof(ctypes.c_double) for k in range(3)]
        self._arguments = (
            *(ctypes.cast(place, doubles) for place in (at[0], at[1], *tilts)),
            *(ctypes.cast(place, integers) for place in at[3:]),
        )
        # A function of our own: LAMMPS' module changes its one's type of result with every array that it reads.
        prototype = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
        self._extract_atom = prototype(("lammps_extract_atom", lmp.lib))

    def read(self, tags: npt.NDArray[np.int64]) -> FrameKey:
        """Return what LAMMPS holds now; tags as it gives them, shape (n_atoms,), no unit."""
        lmp = self._lmp
        lmp.lib.lammps_extract_box(lmp.lmp, *self._arguments)
        types = ctypes.string_at(self._extract_atom(lmp.lmp, b"type"), _TYPE.itemsize * len(tags))
        return FrameKey(tags.tobytes(), types, bytes(self._box))


class OutputBuffer:
    """Numbers for LAMMPS, filled anew at each step: to make a pointer costs more than to fill it.

    Parameters
    ----------
    n
        How many.
    """

    def __init__(self, n: int) -> None:
        self.values = np.zeros(n)
        self.pointer = self.values.ctypes.data_as(ctypes.POINTER(ctypes.c_double))


_NO_VIRIAL = OutputBuffer(6)
_NO_VIRIAL.values[:] = np.nan


class Frame:
    """Atoms in the order of their tags, in their box.

    LAMMPS sorts its atoms anew now and then; in the order of their tags they stay the same structure.

    Parameters
    ----------
    key
        As :meth:`Reader.read` gives it.
    tags
        As LAMMPS holds its atoms, shape (n_atoms,), no unit.
    positions
        Shape (n_atoms, 3), Å, in LAMMPS' order.
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
    key
        What it was made of; while LAMMPS holds the same, only positions can differ.
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
    energies
        The energy of each atom for LAMMPS, in its order and unit.
    no_virials
        NaN for the virial of each atom: a model has none to give, and LAMMPS would take zeros without a word.
    """

    def __init__(
        self,
        key: FrameKey,
        tags: npt.NDArray[np.int64],
        positions: Array,
        numbers: npt.NDArray[np.int64],
        rotation: Array | None,
        charge: float | None,
        spin_multiplicity: int | None,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.key = key
        self._rotation = rotation
        self.order = np.argsort(tags)
        self.energies = OutputBuffer(len(tags))
        self.no_virials = (ctypes.POINTER(ctypes.c_double) * len(tags))(*[_NO_VIRIAL.pointer] * len(tags))
        box, types = Box.from_buffer_copy(key.box), np.frombuffer(key.types, _TYPE)
        self.cell = np.diag(np.subtract(box.high, box.low))
        self.cell[1, 0], self.cell[2, 1], self.cell[2, 0] = box.tilts
        self.volume = float(abs(np.linalg.det(self.cell)))
        self.is_periodic = any(box.periodic)
        self.batch = to_batch(
            moved_near_origin(positions[self.order]),
            numbers[types[self.order]],
            self.cell,
            np.array(box.periodic, dtype=bool),
            rotation=rotation,
            charge=charge,
            spin_multiplicity=spin_multiplicity,
        ).to(device, dtype)

    def at(self, positions: Array) -> AtomicBatch:
        """Return the same atoms at positions (n_atoms, 3), Å, in LAMMPS' order, for a model."""
        mine = positions.take(self.order, axis=0)
        mine = mine if self._rotation is None else mine @ self._rotation
        if self.batch.dtype != torch.float64:
            mine = moved_near_origin(mine)
        return self.batch.with_positions(torch.from_numpy(mine).to(self.batch.device, self.batch.dtype))
