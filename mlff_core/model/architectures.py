"""The tables of architectures and terms by name, and the description of a student in its model file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from mlff_core.errors import UnsupportedError
from mlff_core.model.painn import PaiNN
from mlff_core.model.student import Student
from mlff_core.model.term import Term
from mlff_core.model.zbl import ZBLRepulsion

ARCHITECTURES: dict[str, type[Student]] = {PaiNN.architecture: PaiNN}
"""Every network, by its name in model files."""

TERMS: dict[str, type[Term]] = {ZBLRepulsion.name: ZBLRepulsion}
"""Every term, by its name in model files."""

Described = list[dict[str, Any]]
"""The ``name`` and the options of each term."""


def describe_config(student: Student) -> dict[str, Any]:
    """Return a student's configuration as a model file holds it: numbers, text and lists."""
    config = asdict(student.config)
    config["elements"] = list(student.config.elements)
    return config


def describe_terms(student: Student) -> Described | None:
    """Return a student's terms as a model file holds them, or None if they are the default terms of its architecture.

    Raises
    ------
    UnsupportedError
        A term is not in :data:`TERMS`, so that no file with it could be opened again.
    """
    for name, term in student.terms.items():
        if TERMS.get(name) is not type(term):
            raise UnsupportedError(
                f"a model with the term {name!r} ({type(term).__name__}) cannot be saved: the table of terms has "
                f"{', '.join(TERMS)}; add it to mlff_core.model.architectures.TERMS"
            )
    described = _described(student.terms.values())
    return None if described == _described(type(student).default_terms(student.config)) else described


def make_student(
    architecture: str,
    config: Mapping[str, Any],
    terms: Described | None = None,
    state: Mapping[str, Tensor] | None = None,
) -> Student:
    """Return a student with fresh weights.

    Parameters
    ----------
    architecture
        A name from :data:`ARCHITECTURES`.
    config
        From :func:`describe_config`.
    terms
        From :func:`describe_terms`.
    state
        A state dict, tensors of any shape and any unit: the student gets the optional parts whose numbers it holds.

    Raises
    ------
    UnsupportedError
        This version does not know the architecture or a term.
    InputError
        The state dict holds a part that does not fit.
    """
    kind = architecture_called(architecture)
    shape = kind.read_config(config)
    return kind(shape, make_terms(kind, shape, terms)).add_parts(state or {})


def make_terms(kind: type[Student], config: Any, described: Described | None) -> Sequence[Term]:
    """Return the terms that a model file describes, or the default terms of the architecture if it describes none."""
    if described is None:
        return kind.default_terms(config)
    terms = []
    for each in described:
        options = dict(each)
        name = options.pop("name")
        if name not in TERMS:
            raise UnsupportedError(
                f"the energy has the term {name!r}; this version knows {', '.join(TERMS)}; update mlff-hub"
            )
        terms.append(TERMS[name].make(config, **options))
    return terms


def architecture_called(name: str) -> type[Student]:
    """Return the class of an architecture.

    Raises
    ------
    UnsupportedError
        This version does not know it.
    """
    if name not in ARCHITECTURES:
        raise UnsupportedError(f"this is a {name!r} model; this version knows {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def computes_as_written(student: Student) -> bool:
    """Return whether a student computes what the classes of the tables compute.

    False for a class that is not in the tables, and for a model with hooks or a replaced ``forward``: a kernel that
    implements the formulas of an architecture and its terms would ignore such changes.
    """
    return (
        ARCHITECTURES.get(student.architecture) is type(student)
        and all(TERMS.get(name) is type(term) for name, term in student.terms.items())
        and not any(
            "forward" in vars(module) or module._forward_hooks or module._forward_pre_hooks
            for module in student.modules()
        )
    )


def _described(terms: Any) -> Described:
    return [{"name": term.name, **term.options()} for term in terms]
