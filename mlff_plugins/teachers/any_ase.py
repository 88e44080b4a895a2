"""Any ASE calculator as a teacher, by the name ``ase:module.Class``."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any, ClassVar

from mlff_core.card import ModelCard
from mlff_core.errors import InputError, MissingDependencyError
from mlff_core.plugins.options import check_names
from mlff_core.plugins.provider import Provider
from mlff_core.plugins.teacher import Teacher

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_core.potentials.interface import Potential

PREFIX = "ase:"


class AnyASE(Teacher):
    """The family ``ase:module.Class``; :meth:`for_name` gives the member, whose options are the class's arguments."""

    name = "ase:module.Class"
    summary = "any ASE calculator, such as ase:ase.calculators.emt.EMT; options are its keyword arguments"
    elements: ClassVar[tuple[int, ...]] = tuple(range(1, 119))
    gives = frozenset({"energy", "forces", "stress"})
    options: ClassVar[Mapping[str, str]] = {"NAME": "a keyword argument of the class"}

    def for_name(self, name: str) -> Provider | None:
        """Return the member of the family that ``name`` means, if it begins with ``ase:``."""
        if name == self.name or not name.startswith(PREFIX):
            return self if name == self.name else None
        member = type(self)()
        member.name = name  # type: ignore[misc]  # a family has a name for each member
        return member

    def load(self, options: Mapping[str, Any] | None = None) -> Potential:
        """Return the calculator as a potential; see :meth:`Teacher.load`."""
        from mlff_plugins.teachers.ase_backed import AseBackedPotential

        made, settings = self._calculator_class(), dict(options or {})
        _check_arguments(self.name, made, settings)
        try:
            calculator = made(**settings)
        except Exception as error:
            # A class raises its own types for a missing binary, a missing file, a bad value.
            raise InputError(f"{self.name} cannot be made from {settings}: {type(error).__name__}: {error}") from error
        supports = frozenset(calculator.implemented_properties) & self.gives
        package = _distribution(made.__module__.partition(".")[0])
        lineage = self.lineage(settings=settings, method=made.__name__, package=package)
        lineage["licence"] = _licence(package)
        card = ModelCard(
            name=self.name,
            elements=self.elements,
            cutoff=0.0,
            architecture=made.__name__,
            description=f"The ASE calculator {made.__module__}.{made.__name__}",
            teacher=lineage,
            limits=("Its own exceptions say which elements it knows; charge and spin are its options.",),
            licence=lineage["licence"],
        )
        return AseBackedPotential(card, supports, functools.partial(_emptied, calculator))

    def _calculator_class(self) -> Any:
        module_name, _, class_name = self.name.removeprefix(PREFIX).rpartition(".")
        if not module_name or not class_name:
            raise InputError(f"{self.name!r} names no class; wanted ase:module.Class, as ase:ase.calculators.emt.EMT")
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                f"{self.name} cannot be used: there is no module {error.name!r}; check the name, or install the "
                f"package that holds it: pip install {str(error.name).partition('.')[0]}"
            ) from error
        found = getattr(module, class_name, None)
        if not inspect.isclass(found) or not hasattr(found, "implemented_properties"):
            close = difflib.get_close_matches(class_name, vars(module), n=1)
            hint = f"did you mean {close[0]}?" if close else "wanted a class with implemented_properties"
            raise InputError(f"module {module_name} has no ASE calculator {class_name!r}; {hint}")
        return found


def _emptied(calculator: Any, atoms: Atoms) -> Any:
    """Return the one calculator without its results of the last structure."""
    atoms.info.clear()
    if hasattr(calculator, "reset"):
        calculator.reset()
    return calculator


def _check_arguments(name: str, made: Any, settings: Mapping[str, Any]) -> None:
    """Refuse an argument that neither the class, nor a parent it passes ``**kwargs`` to, nor its defaults name.

    Raises
    ------
    InputError
        Names the argument and the known ones.
    """
    known = set(getattr(made, "default_parameters", {}))
    for parent in inspect.getmro(made):
        if "__init__" not in vars(parent):
            continue
        parameters = list(inspect.signature(vars(parent)["__init__"]).parameters.values())[1:]
        known |= {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    check_names(f"teacher {name}", settings, known)


def _distribution(top_level: str) -> str:
    """Return the installed distribution that holds a top-level module; empty for a module that belongs to none."""
    return (metadata.packages_distributions().get(top_level) or [""])[0]


def _licence(distribution: str) -> str:
    """Return what an installed distribution says its licence is."""
    if not distribution:
        return "unknown"
    about = metadata.metadata(distribution)
    said = [about[key] for key in ("License-Expression", "License") if key in about]
    return str(said[0]).strip().splitlines()[0] if said else "unknown"
