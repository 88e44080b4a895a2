"""GFN1-xTB and GFN2-xTB: semiempirical tight binding, through tblite's ASE calculator.

C. Bannwarth, S. Ehlert, S. Grimme, J. Chem. Theory Comput. 15, 1652 (2019), doi:10.1021/acs.jctc.8b01176;
S. Grimme, C. Bannwarth, P. Shushkov, J. Chem. Theory Comput. 13, 1989 (2017), doi:10.1021/acs.jctc.7b00118.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from mlff_core.card import ModelCard
from mlff_core.errors import UnsupportedError
from mlff_core.plugins.teacher import Teacher
from mlff_plugins.teachers.electrons import checked_state
from mlff_plugins.teachers.speed import ms_per_atom

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_core.potentials.interface import Potential

ACCURACY = 0.1
"""tblite's numerical accuracy. With its default of 1 the forces of displaced ethanol deviate from the energy gradient
by 6e-5 eV/Å, with 0.1 by 3e-6, in the same time."""

ELECTRONIC_TEMPERATURE_K = 300.0
"""tblite's default."""


class _XTB(Teacher):
    """A method of tblite; ``method`` is its name in tblite."""

    requires = ("tblite>=0.4",)
    install_hint = "pip install 'mlff-hub[teachers]'"
    package = "tblite"
    licence = "LGPL-3.0-or-later"
    elements: ClassVar[tuple[int, ...]] = tuple(range(1, 87))
    charges = "any"
    spin_multiplicities = "any"
    gives = frozenset({"energy", "forces", "stress", "charges", "dipole"})

    def load(self, options: Mapping[str, Any] | None = None) -> Potential:
        """Return the method as a potential; see :meth:`Teacher.load`."""
        self.checked_options(options)
        self.ensure_installed()
        from mlff_plugins.teachers.ase_backed import AseBackedPotential

        settings = {"accuracy": ACCURACY, "electronic_temperature_kelvin": ELECTRONIC_TEMPERATURE_K}
        card = ModelCard(
            name=self.name,
            elements=self.elements,
            cutoff=0.0,
            architecture=self.method,
            description=self.summary,
            charges=self.charges,
            spin_multiplicities=self.spin_multiplicities,
            teacher=self.lineage(settings=settings),
            limits=(
                "A cell must be periodic in all three directions or in none.",
                "In a cell the energy jumps by about 3e-6 eV when an atom crosses a face, since tblite wraps it.",
            ),
            licence=self.licence,
        )
        return AseBackedPotential(card, self.gives, functools.partial(_calculator, self.name, self.method))


class GFN2(_XTB):
    """GFN2-xTB."""

    name = "gfn2-xtb"
    summary = "GFN2-xTB, semiempirical tight binding with multipoles and D4 dispersion"
    ms_per_atom = ms_per_atom("gfn2-xtb")
    method = "GFN2-xTB"


class GFN1(_XTB):
    """GFN1-xTB."""

    name = "gfn1-xtb"
    summary = "GFN1-xTB, semiempirical tight binding with D3 dispersion and halogen bonds"
    ms_per_atom = ms_per_atom("gfn1-xtb")
    method = "GFN1-xTB"


def _calculator(name: str, method: str, atoms: Atoms) -> Any:
    """Return a new calculator for each structure, since a kept one would start from the charges of the last structure.

    Raises
    ------
    InputError, UnsupportedError
        tblite would silently replace the charge, multiplicity or periodicity by another.
    """
    from tblite.ase import TBLite

    # tblite itself takes any pair and silently computes another multiplicity.
    charge, multiplicity = checked_state(name, atoms)
    if atoms.pbc.any() and not atoms.pbc.all():
        # tblite treats any periodic direction as three.
        raise UnsupportedError(
            f"{name} supports molecules and fully periodic cells, but pbc is {atoms.pbc.tolist()}; "
            "use a cell with vacuum and pbc on in all directions"
        )
    return TBLite(
        method=method,
        charge=charge,
        multiplicity=multiplicity,
        accuracy=ACCURACY,
        electronic_temperature=ELECTRONIC_TEMPERATURE_K,
        verbosity=0,
    )
