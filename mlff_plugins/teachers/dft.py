"""Density functional theory with PySCF: any functional and any basis, for spot checks and small sets.

Q. Sun et al., J. Chem. Phys. 153, 024109 (2020), doi:10.1063/5.0006074.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from mlff_core.card import ModelCard
from mlff_core.plugins.teacher import Teacher
from mlff_plugins.teachers.speed import ms_per_atom

if TYPE_CHECKING:
    from mlff_core.potentials.interface import Potential


class PySCF(Teacher):
    """The slow one: hundreds of times slower than the networks, and the level that they were trained on."""

    name = "pyscf"
    summary = "density functional theory with PySCF, PBE0/def2-SVP by default; for spot checks and small sets"
    ms_per_atom = ms_per_atom("pyscf")
    requires = ("pyscf>=2.6",)
    install_hint = "pip install 'mlff-hub[pyscf]'"
    package = "pyscf"
    method = "PBE0/def2-SVP"
    licence = "Apache-2.0"
    elements: ClassVar[tuple[int, ...]] = tuple(range(1, 87))
    charges = "any"
    spin_multiplicities = "any"
    gives = frozenset({"energy", "forces", "charges", "dipole"})
    options: ClassVar[Mapping[str, str]] = {
        "functional": "a functional of libxc, pbe0 by default",
        "basis": "a basis set of the package, def2-svp by default; its effective core potentials are used",
    }

    def load(self, options: Mapping[str, Any] | None = None) -> Potential:
        """Return the functional and basis as a potential; see :meth:`Teacher.load`."""
        given = self.checked_options(options)
        self.ensure_installed()
        from mlff_plugins.teachers.ase_backed import AseBackedPotential
        from mlff_plugins.teachers.dft_calculator import (
            CONVERGENCE,
            GRID_LEVEL,
            calculator,
            check_functional,
            elements_of,
            has_grid_response,
            needs_grid,
        )
        from mlff_plugins.teachers.torch_globals import torch_globals_kept

        functional, basis = str(given.get("functional", "pbe0")), str(given.get("basis", "def2-svp"))
        with torch_globals_kept():
            check_functional(functional)
            elements = elements_of(basis)
            grid_response = has_grid_response(functional)
            neglects_grid = needs_grid(functional) and not grid_response
        method = self.method if not given else f"{functional}/{basis}"
        limits = ["Molecules only: no cell.", "No dispersion correction beyond the functional's own."]
        if neglects_grid:
            limits.append("The motion of the integration grid is neglected, about 1e-3 eV/Å in the forces.")
        card = ModelCard(
            name=self.name,
            elements=elements,
            cutoff=0.0,
            architecture="Kohn-Sham DFT",
            description=f"{method} with PySCF",
            charges=self.charges,
            spin_multiplicities=self.spin_multiplicities,
            teacher=self.lineage(
                settings={
                    "functional": functional,
                    "basis": basis,
                    "grid_level": GRID_LEVEL,
                    "convergence_hartree": CONVERGENCE,
                    "grid_response": grid_response,
                    "charges": "meta-Löwdin",
                },
                method=method,
            ),
            limits=tuple(limits),
            licence=self.licence,
        )
        made = functools.partial(calculator, self.name, functional, basis)
        return AseBackedPotential(card, self.gives, made, torch_globals_kept)
