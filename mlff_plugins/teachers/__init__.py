"""Teachers: models and methods that label structures for students."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlff_core.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlff_core.plugins.teacher import Teacher


@hookimpl
def mlff_register_teachers() -> Iterable[Teacher]:
    """Return the built-in teachers; no engine is imported."""
    from mlff_plugins.teachers.any_ase import AnyASE
    from mlff_plugins.teachers.chgnet import CHGNet
    from mlff_plugins.teachers.dft import PySCF
    from mlff_plugins.teachers.fragments import FragmentsTeacher
    from mlff_plugins.teachers.mace import MACE
    from mlff_plugins.teachers.orb import Orb
    from mlff_plugins.teachers.sevennet import SevenNet
    from mlff_plugins.teachers.so3lr import SO3LR
    from mlff_plugins.teachers.xtb import GFN1, GFN2

    return [SO3LR(), GFN2(), GFN1(), FragmentsTeacher(), SevenNet(), CHGNet(), PySCF(), Orb(), MACE(), AnyASE()]
