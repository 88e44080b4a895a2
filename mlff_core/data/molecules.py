"""The molecules of a structure as columns: number and charge of the molecule that each atom belongs to."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mlff_core.errors import InputError

Array = npt.NDArray[Any]


def check_molecules(fragment: Array | None, fragment_charge: Array | None, total: int) -> None:
    """Check that each molecule has one charge, and that the charges add up.

    Parameters
    ----------
    fragment, fragment_charge
        Number and charge, e, of the molecule that each atom belongs to, shape (n_atoms,).
    total
        Charge of the structure, e.

    Raises
    ------
    InputError
        One of the two is missing, a number is negative, or charges differ or do not add up.
    """
    if fragment is None or fragment_charge is None:
        raise InputError("fragment and fragment_charge belong together, got only one of them; give both or none")
    for name, values in (("fragment", fragment), ("fragment_charge", fragment_charge)):
        if np.asarray(values).dtype.kind not in "iu":
            raise InputError(f"{name} must be whole numbers, got {np.asarray(values).dtype}; round or correct them")
    if int(np.min(fragment)) < 0:
        raise InputError(f"fragment must not be negative, got {np.min(fragment)}; number the molecules from 0")
    fragments, first, which = np.unique(fragment, return_index=True, return_inverse=True)
    charges = np.asarray(fragment_charge, dtype=np.int64)[first]
    differs = np.flatnonzero(charges[which] != fragment_charge)
    if len(differs):
        raise InputError(
            f"all atoms of a molecule must have the same fragment_charge, but those of molecule "
            f"{fragments[which[differs[0]]]} have {charges[which[differs[0]]]:+d} and "
            f"{int(np.asarray(fragment_charge)[differs[0]]):+d}; correct them"
        )
    if charges.sum() != total:
        raise InputError(
            f"the charges of the molecules, {', '.join(f'{charge:+d}' for charge in charges)}, add up to "
            f"{charges.sum():+d} e, but the total charge is {total:+d} e; correct one of them"
        )


def joined(parts: list[tuple[int, Array | None, Array | None, int]]) -> dict[str, Any]:
    """Return ``fragment`` and ``fragment_charge``, shape (n_atoms,), of several structures put together.

    Parameters
    ----------
    parts
        Of each structure the number of atoms, its two columns or None where it is one molecule, and its charge, e.
    """
    numbers, charges, n_before = [], [], 0
    for n_atoms, fragment, fragment_charge, charge in parts:
        own = np.zeros(n_atoms, dtype=np.int32) if fragment is None else np.asarray(fragment, dtype=np.int32)
        numbers.append(own + n_before)
        charges.append(np.full(n_atoms, charge) if fragment_charge is None else fragment_charge)
        n_before += int(own.max()) + 1
    return {"fragment": np.concatenate(numbers), "fragment_charge": np.concatenate(charges).astype(np.int8)}
