"""Charge and multiplicity for methods with electrons, which would silently compute another state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlff_core.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms


def checked_state(name: str, atoms: Atoms) -> tuple[int, int]:
    """Return the charge, e, and the spin multiplicity in ``atoms.info``.

    Raises
    ------
    InputError
        The charge is not a whole number, or the number of electrons does not allow the multiplicity.
    """
    charge, multiplicity = atoms.info["charge"], atoms.info["spin_multiplicity"]
    if not isinstance(charge, int):
        raise InputError(f"{name} needs a whole total charge in e, got {charge}")
    n_electrons = int(atoms.numbers.sum()) - charge
    if multiplicity < 1 or (n_electrons + multiplicity) % 2 == 0:
        parity = "an odd" if n_electrons % 2 == 0 else "an even"
        raise InputError(
            f"{atoms.get_chemical_formula()} with charge {charge:+d} e has {n_electrons} electrons, which cannot "
            f"have spin multiplicity {multiplicity}; set the charge, or {parity} spin multiplicity"
        )
    return charge, multiplicity
