"""Conversion for LAMMPS: its units, its restricted cells, its order of the virial."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.structures.batch import AtomicBatch, single
from mlff_core.units import KCAL_MOL_PER_EV

if TYPE_CHECKING:
    from mlff_core.structures.prediction import Prediction

Array = npt.NDArray[np.float64]

ENERGY_UNITS: dict[str, float] = {"metal": 1.0, "real": KCAL_MOL_PER_EV}
"""1 eV in the energy unit of each style of units; the length is Å in both."""

VIRIAL_ORDER = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""xx yy zz xy xz yz."""

_ROWS, _COLUMNS = np.array(VIRIAL_ORDER).T


class Results(NamedTuple):
    """Results for LAMMPS: energy, forces (n_atoms, 3), virial (6,), energies (n_atoms,), in its own units."""

    energy: float
    forces: Array
    virial: Array | None
    atom_energies: Array | None


def energy_unit(units: str) -> float:
    """Return 1 eV in the energy unit of LAMMPS' style ``units``.

    Raises
    ------
    UnsupportedError
        The style is not supported.
    """
    if units not in ENERGY_UNITS:
        raise UnsupportedError(
            f"a model in LAMMPS needs `units metal` or `units real`, got `units {units}`; change the input file"
        )
    return ENERGY_UNITS[units]


def to_batch(
    positions: Array,
    atomic_numbers: npt.NDArray[np.int64],
    cell: Array,
    pbc: npt.NDArray[np.bool_],
    *,
    rotation: Array | None = None,
    charge: float | None = None,
    spin_multiplicity: int | None = None,
) -> AtomicBatch:
    """Return LAMMPS' atoms as a batch in float64; lengths are Å on both sides.

    Parameters
    ----------
    positions
        Shape (n_atoms, 3), Å.
    atomic_numbers
        Shape (n_atoms,).
    cell
        Shape (3, 3), Å, rows are lattice vectors, lower triangular.
    pbc
        Shape (3,).
    rotation
        From the frame of the batch to LAMMPS', shape (3, 3); None where they are one. See
        :func:`restricted_cell`.
    charge
        Total charge, e.
    spin_multiplicity
        2S + 1.
    """
    return single(
        positions if rotation is None else positions @ rotation,
        atomic_numbers,
        cell if rotation is None else cell @ rotation,
        pbc,
        charge=charge,
        spin_multiplicity=spin_multiplicity,
        dtype=torch.float64,
    )


def from_prediction(prediction: Prediction, volume: float, unit: float, rotation: Array | None = None) -> Results:
    """Return the results for LAMMPS; the virial is −stress × volume.

    Parameters
    ----------
    prediction
        Prediction of one structure.
    volume
        Volume of the cell, Å³.
    unit
        1 eV in LAMMPS' energy unit.
    rotation
        As for :func:`to_batch`, shape (3, 3).
    """
    given = prediction.need("forces", "the model", "so LAMMPS cannot run it")
    forces, virial = _in_unit(given, unit), None
    if rotation is not None:
        forces = forces @ rotation.T
    if prediction.stress is not None:
        stress = _in_unit(prediction.stress[0], -volume * unit)
        if rotation is not None:
            stress = rotation @ stress @ rotation.T
        virial = stress[_ROWS, _COLUMNS]
    energies = prediction.atom_energies
    return Results(
        prediction.energy.item() * unit, forces, virial, None if energies is None else _in_unit(energies, unit)
    )


def _in_unit(values: torch.Tensor, unit: float) -> Array:
    product: Array = np.multiply(values.detach().cpu().numpy(), unit, dtype=np.float64)
    return product


def restricted_cell(cell: Array, pbc: npt.NDArray[np.bool_]) -> tuple[Array, Array]:
    """Return (lower-triangular cell, rotation), both (3, 3), in LAMMPS' form.

    Periodic lattice vectors come first. The others are replaced by unit vectors normal to them, so that the empty
    direction of a slab is not skewed. In a left-handed lattice the last vector is reversed. A row vector v becomes
    ``v @ rotation.T`` in LAMMPS, and is transformed back with ``v @ rotation``.

    Parameters
    ----------
    cell
        Shape (3, 3), Å, rows are lattice vectors.
    pbc
        Shape (3,).

    Raises
    ------
    InputError
        The periodic lattice vectors lie in one plane or line.
    """
    periodic = cell[pbc]
    full = np.eye(3)
    if len(periodic):
        _, _, basis = np.linalg.svd(periodic, full_matrices=True)
        full = np.concatenate([periodic, basis[len(periodic) :]])
    if np.linalg.det(full) < 0:
        full[2] *= -1
    q, r = np.linalg.qr(full.T)
    signs = np.sign(np.diag(r))
    if not signs.all():
        raise InputError("the periodic lattice vectors lie in one plane or line; give the true cell, or switch pbc off")
    return np.tril(r.T * signs), (q * signs).T
