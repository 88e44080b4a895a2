"""Charges of atoms in LAMMPS: in a property of the user's, or as the atoms' charges."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.potentials.interface import Potential
from mlff_plugins.lammps.convert import Array

PROPERTY = "d_mlff_charge"
"""The property that receives charges, if the input file has made it with ``fix property/atom``."""


class ChargeOutput:
    """Writes a model's charges into arrays of LAMMPS; each is looked up at every step, since LAMMPS moves them.

    Parameters
    ----------
    lmp
        The LAMMPS instance.
    potential
        The model.
    write_q
        Whether the charges become the atoms' charges ``q``.

    Raises
    ------
    InputError
        ``write_q`` with an atom style without charges.
    UnsupportedError
        ``write_q`` with a model that gives no charges.
    """

    def __init__(self, lmp: Any, potential: Potential, write_q: bool) -> None:
        self._lmp, self._name = lmp, potential.card.name
        self._supported = "charges" in potential.supports
        self._write_q = write_q
        # A separate function object, as in :class:`~mlff_plugins.lammps.frame.Reader`.
        self._extract_atom = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(
            ("lammps_extract_atom", lmp.lib)
        )
        if write_q:
            self._check_supported("writing the atoms' charges q")
            if not lmp.extract_setting("q_flag"):
                raise InputError(
                    "the atoms have no charges q in this atom style; write `atom_style charge` or `full`, or "
                    f"take the charges from `fix charges all property/atom {PROPERTY}`"
                )

    def wanted(self) -> bool:
        """Return whether this step's charges have a place in LAMMPS.

        Raises
        ------
        UnsupportedError
            The property exists, but the model gives no charges.
        """
        if self._write_q:
            return True
        if not self._place(PROPERTY):
            return False
        self._check_supported(f"the property {PROPERTY}")
        return True

    def write(self, charges: Array, order: Any) -> None:
        """Write charges (n_atoms,), e, in the order of the tags; ``order`` (n_atoms,) sorts LAMMPS' atoms by tag."""
        for name in (PROPERTY, *(["q"] if self._write_q else [])):
            place = self._place(name)
            if place:
                np.ctypeslib.as_array((ctypes.c_double * len(charges)).from_address(place))[order] = charges

    def _place(self, name: str) -> int | None:
        found: int | None = self._extract_atom(self._lmp.lmp, name.encode())
        return found

    def _check_supported(self, what: str) -> None:
        if not self._supported:
            raise UnsupportedError(
                f"{self._name} gives no charges of atoms for {what}; fit them with `mlff charges fit`, or leave it out"
            )
