"""Every built-in teacher passes the shipped contract."""

from __future__ import annotations

from typing import ClassVar

import pytest
from ase import Atoms

from mlff_core.plugins import host as plugins
from mlff_core.plugins.engine import Tolerance
from mlff_core.testing.teacher_contract import TeacherContract


def skip_where_missing(name: str) -> pytest.MarkDecorator:
    missing = plugins.teacher(name).missing()
    return pytest.mark.skipif(bool(missing), reason="; ".join(missing))


@skip_where_missing("so3lr")
class TestSO3LR(TeacherContract):
    teacher = "so3lr"
    options: ClassVar[dict[str, str]] = {"device": "cpu"}


@skip_where_missing("so3lr")
class TestSO3LRInDoublePrecision(TeacherContract):
    teacher = "so3lr"
    options: ClassVar[dict[str, str]] = {"device": "cpu", "dtype": "float64"}
    force_tolerance = 1e-6
    stress_tolerance = 1e-8
    invariance = Tolerance(energy=1e-10, forces=1e-9, stress=1e-10)
    # Takes seconds, and the precision changes nothing there.
    test_a_worker_process_gives_the_same_labels_and_is_left_as_it_was = None


class _XTBContract(TeacherContract):
    force_tolerance = 3e-5

    def crystal(self) -> Atoms:
        # Water, since a self-consistent cell of ethanol takes seconds; away from the cell's faces, since tblite wraps
        # atoms into the cell and its energy jumps by 3e-6 eV where one crosses a face.
        atoms, *_ = self.bond()
        atoms.positions += [1.5, 1.2, 1.7]
        atoms.set_cell([[4.2, 0.1, -0.2], [-0.6, 4.0, 0.3], [0.4, 0.5, 4.4]])
        atoms.pbc = True
        return atoms


@skip_where_missing("gfn2-xtb")
class TestGFN2(_XTBContract):
    teacher = "gfn2-xtb"


@skip_where_missing("gfn1-xtb")
class TestGFN1(_XTBContract):
    teacher = "gfn1-xtb"
    # Takes seconds, and is the same code as for GFN2-xTB.
    test_a_worker_process_gives_the_same_labels_and_is_left_as_it_was = None


@skip_where_missing("fragments")
class TestFragments(_XTBContract):
    teacher = "fragments"
    options: ClassVar[dict[str, str]] = {"device": "cpu", "dtype": "float64"}
    # Takes seconds, and is the same code as for its parts.
    test_a_worker_process_gives_the_same_labels_and_is_left_as_it_was = None


@skip_where_missing("pyscf")
class TestPySCF(TeacherContract):
    teacher = "pyscf"
    options: ClassVar[dict[str, str]] = {"basis": "sto-3g"}
    force_tolerance = 1e-6
    # Its grid of points has the axes of space.
    invariance = Tolerance(energy=1e-4, forces=2e-3)

    def molecule(self) -> Atoms:
        atoms, *_ = self.bond()
        atoms.positions[2] += [0.05, 0.1, 0.2]
        return atoms


class _MetalsContract(TeacherContract):
    """Metals in a cluster and in a cell."""

    def molecule(self) -> Atoms:
        positions = [[0.1, 0.0, 0.0], [2.5, 0.1, 0.2], [1.1, 2.4, -0.1], [1.3, 0.9, 2.2], [3.4, 2.1, 1.6]]
        return Atoms("CuAuCuNiAg", positions)

    def crystal(self) -> Atoms:
        atoms = self.molecule()
        atoms.set_cell([[5.9, 0.3, -0.2], [-0.8, 4.9, 0.4], [0.5, 0.7, 4.6]])
        atoms.pbc = True
        return atoms

    def bond(self) -> tuple[Atoms, int, int, float]:
        # The copper dimer vibrates at 266 cm⁻¹.
        return Atoms("Cu2", [[0.0, 0.0, 0.0], [2.22, 0.0, 0.0]]), 0, 1, 8.3


class TestEMT(_MetalsContract):
    teacher = "ase:ase.calculators.emt.EMT"
    force_tolerance = 1e-6
    stress_tolerance = 1e-7
    invariance = Tolerance(energy=1e-10, forces=1e-9, stress=1e-10)


@skip_where_missing("chgnet")
class TestCHGNet(_MetalsContract):
    teacher = "chgnet"
    options: ClassVar[dict[str, str]] = {"device": "cpu"}
    # Its energy is wavy on the scale of the stencil, which a shorter one confirms.
    force_tolerance = 4e-3

    def bond(self) -> tuple[Atoms, int, int, float]:
        # At its own minimum, 0.08 Å beyond experiment's.
        return Atoms("Cu2", [[0.0, 0.0, 0.0], [2.30, 0.0, 0.0]]), 0, 1, 8.3


@skip_where_missing("sevennet")
class TestSevenNet(_MetalsContract):
    teacher = "sevennet"
    options: ClassVar[dict[str, str]] = {"device": "cpu"}
