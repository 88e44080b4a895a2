"""A composite teacher: one method inside molecules, another between them.

E = Σ_f E_inside(f) + E_between(all) − Σ_f E_between(f), each molecule f alone and with its own charge. The forces of a
single molecule are those of ``inside``, and interactions are those of ``between``. It is size-consistent if both are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from mlff_core.card import ModelCard
from mlff_core.errors import UnsupportedError
from mlff_core.plugins import host
from mlff_core.plugins.requirements import require
from mlff_core.plugins.teacher import Teacher
from mlff_plugins.teachers.speed import ms_per_atom

if TYPE_CHECKING:
    from mlff_core.potentials.interface import Potential

DEFAULTS = ("so3lr", "gfn2-xtb")
FORWARDED = ("device", "dtype")


class FragmentsTeacher(Teacher):
    """Two teachers joined over the molecules of a structure."""

    name = "fragments"
    summary = "one teacher inside molecules (SO3LR), another between them (GFN2-xTB); for ions among molecules"
    ms_per_atom = ms_per_atom("fragments")
    requires = ("so3krates-torch>=0.2.1,<0.3", "tblite>=0.4", "rdkit>=2024.3")
    install_hint = "pip install 'mlff-hub[teachers,data]'"
    method = "SO3LR inside molecules, GFN2-xTB between them"
    licence = "MIT AND LGPL-3.0-or-later"
    elements = (1, 6, 7, 8, 9, 15, 16, 17)
    charges = "any"
    spin_multiplicities = "closed shell"
    gives = frozenset({"energy", "forces", "stress", "charges", "dipole"})
    options: ClassVar[Mapping[str, str]] = {
        "inside": "teacher of each single molecule, so3lr by default",
        "between": "teacher of the interactions, gfn2-xtb by default",
        "device": "of the teachers that take one",
        "dtype": "of the teachers that take one",
    }

    def load(self, options: Mapping[str, Any] | None = None) -> Potential:
        """Return the two teachers as one potential; see :meth:`Teacher.load`."""
        given = self.checked_options(options)
        names = given.get("inside", DEFAULTS[0]), given.get("between", DEFAULTS[1])
        if names == DEFAULTS:
            self.ensure_installed()
        require("fragments", ("rdkit>=2024.3",), self.install_hint)
        from mlff_plugins.teachers.fragments_potential import FragmentsPotential

        parts = []
        for name in names:
            teacher = host.teacher(name)
            teacher.ensure_installed()
            parts.append(
                teacher.load({key: given[key] for key in FORWARDED if key in given and key in teacher.options})
            )
        inside, between = parts
        elements = tuple(sorted(set(inside.card.elements) & set(between.card.elements)))
        if not elements:
            raise UnsupportedError(f"{names[0]} and {names[1]} have no element in common; choose other teachers")
        card = ModelCard(
            name=self.name,
            elements=elements,
            cutoff=0.0,
            architecture=f"{inside.card.architecture} and {between.card.architecture}",
            description=f"{names[0]} inside molecules, {names[1]} between them",
            n_parameters=inside.card.n_parameters,
            charges="any" if {inside.card.charges, between.card.charges} == {"any"} else "neutral",
            spin_multiplicities=self.spin_multiplicities,
            teacher=self.lineage(
                settings={"inside": dict(inside.card.teacher), "between": dict(between.card.teacher)},
                method=f"{names[0]} inside molecules, {names[1]} between them",
                package=inside.card.teacher["package"],
                sha256=inside.card.teacher["sha256"],
            ),
            limits=(
                "Molecules are those of the structure's bonds: no proton is handed over and no bond breaks.",
                "Closed shells only.",
            ),
            licence=self.licence,
        )
        return FragmentsPotential(inside, between, card)
