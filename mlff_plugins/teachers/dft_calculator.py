"""An ASE calculator of PySCF: one self-consistent field and its gradient for each molecule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ase.calculators.calculator import Calculator, all_changes
from ase.data import chemical_symbols

from mlff_core.errors import InputError, UnsupportedError, first_line
from mlff_core.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE
from mlff_plugins.teachers.electrons import checked_state

if TYPE_CHECKING:
    from ase import Atoms

GRID_LEVEL = 3
"""PySCF's default. With level 4 the forces of ethanol change by 7e-4 eV/Å, in 1.2 times the time."""

CONVERGENCE = 1e-10
"""Hartree, between two cycles."""

HEAVIEST = 86
"""The last element of the def2 basis sets."""

FIRST_CORE = 37
"""The first element whose core the def2 basis sets replace."""


def calculator(name: str, functional: str, basis: str, atoms: Atoms) -> Any:
    """Return a new calculator for each molecule, so that no label depends on the one before.

    Raises
    ------
    InputError
        The charge and the multiplicity do not go together.
    UnsupportedError
        The structure has a cell.
    """
    if atoms.pbc.any():
        raise UnsupportedError(f"{name} computes molecules, but pbc is {atoms.pbc.tolist()}; use another teacher")
    charge, multiplicity = checked_state(name, atoms)
    return DFT(functional, basis, charge, multiplicity)


def check_functional(functional: str) -> None:
    """Refuse a functional that libxc does not know.

    Raises
    ------
    InputError
        The message names it.
    """
    from pyscf.dft import libxc

    try:
        libxc.parse_xc(functional)
    except Exception as error:  # KeyError and others, by the part of the name
        raise InputError(
            f"pyscf knows no functional {functional!r} ({first_line(error)}); try pbe0, b3lyp, wb97x-v or r2scan"
        ) from error


def has_grid_response(functional: str) -> bool:
    """Return True if the functional needs a grid, and PySCF differentiates it for this kind of functional too."""
    from pyscf.dft import libxc

    return libxc.xc_type(functional) in {"LDA", "GGA"} and not libxc.is_nlc(functional)


def needs_grid(functional: str) -> bool:
    """Return False for Hartree-Fock, which has no integrals on a grid."""
    from pyscf.dft import libxc

    return bool(libxc.xc_type(functional) != "HF")


def elements_of(basis: str) -> tuple[int, ...]:
    """Return the atomic numbers that a basis set has functions for.

    Raises
    ------
    InputError
        There are none: the basis is not known.
    """
    from pyscf import gto

    def known(z: int) -> bool:
        try:
            return bool(gto.basis.load(basis, chemical_symbols[z]))
        except Exception:  # a different type for each way of not being there
            return False

    found = tuple(z for z in range(1, HEAVIEST + 1) if known(z))
    if not found:
        raise InputError(f"pyscf knows no basis set {basis!r}; try def2-svp, def2-tzvp, cc-pvtz or 6-31g*")
    return found


class DFT(Calculator):
    """Energy, forces, meta-Löwdin charges and dipole of a molecule.

    Parameters
    ----------
    functional, basis
        As PySCF names them.
    charge
        Total charge, e.
    multiplicity
        2S + 1; unrestricted unless it is 1.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "forces", "charges", "dipole"]

    def __init__(self, functional: str, basis: str, charge: int, multiplicity: int) -> None:
        super().__init__()
        self.functional = functional
        self.basis = basis
        self.charge = charge
        self.multiplicity = multiplicity
        self._field: Any = None

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute the wanted properties, eV, eV/Å, e and e·Å about the origin; the field is kept for the next."""
        super().calculate(atoms, properties, system_changes)
        if system_changes or self._field is None:
            self._field = self._converged()
        field = self._field
        self.results["energy"] = float(field.e_tot) * EV_PER_HARTREE
        if "forces" in properties:
            gradient = field.nuc_grad_method()
            gradient.grid_response = has_grid_response(self.functional)
            self.results["forces"] = -gradient.kernel() * (EV_PER_HARTREE / ANGSTROM_PER_BOHR)
        if "charges" in properties:
            self.results["charges"] = field.mulliken_meta(verbose=0)[1]
        if "dipole" in properties:
            self.results["dipole"] = field.dip_moment(unit="AU", verbose=0) * ANGSTROM_PER_BOHR

    def _converged(self) -> Any:
        from pyscf import dft, gto

        symbols = [chemical_symbols[z] for z in self.atoms.numbers]
        positions = self.atoms.positions / ANGSTROM_PER_BOHR
        molecule = gto.M(
            atom=list(zip(symbols, positions.tolist(), strict=True)),
            unit="Bohr",
            basis=self.basis,
            ecp=self._cores(set(symbols)),
            charge=self.charge,
            spin=self.multiplicity - 1,
            verbose=0,
        )
        field = (dft.RKS if self.multiplicity == 1 else dft.UKS)(molecule)
        field.xc, field.conv_tol, field.chkfile = self.functional, CONVERGENCE, None
        field.grids.level = GRID_LEVEL
        field.kernel()
        if not field.converged:
            raise UnsupportedError(
                f"the self-consistent field of {self.atoms.get_chemical_formula()} did not converge in "
                f"{field.max_cycle} cycles; leave the structure out"
            )
        return field

    def _cores(self, symbols: set[str]) -> dict[str, str]:
        """Return the elements whose cores the basis set replaces."""
        from pyscf import gto

        def has_core(symbol: str) -> bool:
            try:
                return bool(gto.basis.load_ecp(self.basis, symbol))
            except Exception:  # a different type for each way of not being there
                return False

        heavy = {symbol for symbol in symbols if chemical_symbols.index(symbol) >= FIRST_CORE}
        return {symbol: self.basis for symbol in sorted(heavy) if has_core(symbol)}
