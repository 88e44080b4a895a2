"""Data that stay the same between LAMMPS steps; making them again would cost more than a small student."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.far import moved_near_origin
from mlff_plugins.lammps.convert import Array, to_batch

_TYPE = np.dtype(np.int32)
"""Number of an atom type in LAMMPS."""


class FrameKey(NamedTuple):
    """LAMMPS' state besides positions, as bytes that are quick to compare; equal keys mean the same frame."""

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
    """Reads LAMMPS' state through its C library, which is faster than the arrays of its Python module.

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
        # A separate function object: LAMMPS' module changes the result type of its own with every array that it reads.
        prototype = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
        self._extract_atom = prototype(("lammps_extract_atom", lmp.lib))

    def read(self, tags: npt.NDArray[np.int64]) -> FrameKey:
        """Return LAMMPS' current state; tags in LAMMPS' order, shape (n_atoms,)."""
        lmp = self._lmp
        lmp.lib.lammps_extract_box(lmp.lmp, *self._arguments)
        types = ctypes.string_at(self._extract_atom(lmp.lmp, b"type"), _TYPE.itemsize * len(tags))
        return FrameKey(tags.tobytes(), types, bytes(self._box))


class OutputBuffer:
    """An array for LAMMPS, filled at each step, since making a new pointer costs more.

    Parameters
    ----------
    n
        Length of the array.
    """

    def __init__(self, n: int) -> None:
        self.values = np.zeros(n)
        self.pointer = self.values.ctypes.data_as(ctypes.POINTER(ctypes.c_double))


_NO_VIRIAL = OutputBuffer(6)
_NO_VIRIAL.values[:] = np.nan


class Frame:
    """Atoms in the order of their tags, in their box.

    LAMMPS sorts its atoms from time to time; in the order of their tags the structure stays the same.

    Parameters
    ----------
    key
        As from :meth:`Reader.read`.
    tags
        Tags in LAMMPS' order of atoms, shape (n_atoms,).
    positions
        Shape (n_atoms, 3), Å, in LAMMPS' order.
    numbers
        Atomic number of each type, shape (n_types + 1,).
    rotation
        From the model's frame to LAMMPS', shape (3, 3); None where they are one.
    charge, spin_multiplicity
        Charge, e, and multiplicity, 2S + 1, of the whole system.
    dtype, device
        Of the model's tensors.

    Attributes
    ----------
    key
        Key of the LAMMPS state; while it stays the same, only positions can differ.
    order
        Order of the atoms by tag, shape (n_atoms,).
    cell
        Shape (3, 3), Å, in LAMMPS' form.
    volume
        Å³.
    is_periodic
        Whether any direction is.
    batch
        The structure for the model.
    energies
        The energy of each atom for LAMMPS, in its order and unit.
    no_virials
        NaN for the virial of each atom: a model does not have them, and LAMMPS would use zeros without a warning.
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
