"""Conversion for OpenMM: nm and kJ/mol there, Å and eV in the core, and OpenMM's reduced form of a cell."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from mlff_core.errors import InputError
from mlff_core.structures.batch import AtomicBatch, single
from mlff_core.structures.far import moved_near_origin
from mlff_core.structures.prediction import Prediction
from mlff_core.units import ANGSTROM_PER_NM, KJ_MOL_PER_EV

ENERGY = KJ_MOL_PER_EV
"""1 eV in kJ/mol."""

FORCE = KJ_MOL_PER_EV * ANGSTROM_PER_NM
"""1 eV/Å in kJ/mol/nm."""


def to_batch(
    positions_nm: npt.ArrayLike,
    box_nm: npt.ArrayLike | None,
    atomic_numbers: npt.ArrayLike,
    *,
    charge: float | None,
    spin_multiplicity: int | None,
    device: torch.device,
    dtype: torch.dtype,
    before: AtomicBatch | None = None,
) -> AtomicBatch:
    """Return one structure from OpenMM as a batch.

    Parameters
    ----------
    positions_nm
        Shape (n_atoms, 3), nm.
    box_nm
        Periodic box vectors, shape (3, 3), nm, rows; None where the structure is not periodic.
    atomic_numbers
        Shape (n_atoms,).
    charge
        Total charge, e; None means neutral.
    spin_multiplicity
        2S + 1; None means singlet.
    device, dtype
        Of the potential.
    before
        An earlier batch that differs in the positions only; all else is taken from it.
    """
    positions = np.asarray(positions_nm, dtype=np.float64) * ANGSTROM_PER_NM
    if before is not None:
        if dtype != torch.float64:
            positions = moved_near_origin(positions)
        return before.with_positions(torch.as_tensor(positions, dtype=dtype, device=device))
    return single(
        positions,
        atomic_numbers,
        None if box_nm is None else np.asarray(box_nm, dtype=np.float64) * ANGSTROM_PER_NM,
        box_nm is not None,
        charge=charge,
        spin_multiplicity=spin_multiplicity,
        device=device,
        dtype=dtype,
    )


def from_prediction(prediction: Prediction) -> tuple[float, npt.NDArray[np.float64]]:
    """Return (energy, kJ/mol, and forces, shape (n_atoms, 3), kJ/mol/nm) of a batch of one structure.

    Raises
    ------
    UnsupportedError
        The model gives no forces.
    """
    given = prediction.need("forces", "the model", "and OpenMM cannot run without them")
    forces: npt.NDArray[np.float64] = given.detach().cpu().double().numpy()
    return float(prediction.energy[0]) * ENERGY, forces * FORCE


def reduced_box(cell: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return (box vectors in OpenMM's reduced form, a proper rotation) for a cell of any orientation.

    OpenMM wants a = (aₓ, 0, 0), b = (bₓ, b_y, 0), c with aₓ, b_y, c_z > 0, 2|bₓ| ≤ aₓ, 2|cₓ| ≤ aₓ and 2|c_y| ≤ b_y.
    The box spans the same lattice as ``cell @ rotation``; positions turn with ``positions @ rotation`` and forces turn
    back with ``forces @ rotation.T``.

    Parameters
    ----------
    cell
        Shape (3, 3), Å (or any other length), rows are lattice vectors.

    Raises
    ------
    InputError
        The cell has no volume.
    """
    matrix = np.asarray(cell, dtype=np.float64)
    q, r = np.linalg.qr(matrix.T)
    if np.abs(np.diag(r)).min() < 1e-9:
        raise InputError("the periodic cell has no volume: its lattice vectors lie in one plane")
    # Signs of the columns of q are free; the rotation is made proper, so that a left-handed cell is not mirrored.
    rotation = q * np.sign(np.diag(r))
    rotation[:, 2] *= np.sign(np.linalg.det(rotation))
    box = np.tril(matrix @ rotation)
    # Reversing a lattice vector, or subtracting multiples of earlier vectors from it, does not change the lattice.
    box[2] *= np.sign(box[2, 2])
    box[2] -= box[1] * np.round(box[2, 1] / box[1, 1])
    box[2] -= box[0] * np.round(box[2, 0] / box[0, 0])
    box[1] -= box[0] * np.round(box[1, 0] / box[0, 0])
    return box, rotation


def same_box(box: npt.NDArray[np.float64] | None, other: npt.NDArray[np.float64] | None) -> bool:
    """Return whether two boxes, shape (3, 3), nm, are equal, or both None."""
    if box is None or other is None:
        return box is other
    return np.array_equal(box, other)
