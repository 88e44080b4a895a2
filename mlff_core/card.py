"""What is known about a model: the card that travels inside its file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ase.data import chemical_symbols

from mlff_core.domain import Domain
from mlff_core.errors import InputError

UNITS = {"length": "Angstrom", "energy": "eV"}
CHARGES = ("neutral", "any")
SPIN_MULTIPLICITIES = ("singlet", "any")


@dataclass(frozen=True)
class ModelCard:
    """Lineage, limits and measured quality of a potential; JSON all the way down.

    Parameters
    ----------
    name
        What people call it.
    elements
        Atomic numbers it knows, rising.
    cutoff
        Distance beyond which an atom has no direct effect on another, Å; 0 where there is none (a teacher).
    architecture
        ``"PaiNN"``, or the method of a teacher.
    description
        A sentence for people.
    n_parameters
        Trainable parameters.
    charges
        Total charges it can serve, e: ``"neutral"`` or ``"any"``.
    spin_multiplicities
        ``"singlet"`` or ``"any"``.
    units
        Always Å and eV; written down so that the file says it by itself.
    teacher
        ``name``, ``method``, ``package``, ``version``, ``sha256`` of its weights, ``licence``.
    dataset
        ``name``, ``sha256``, ``n_structures``, ``licence``.
    training
        The resolved training settings.
    metrics
        What validation measured, with the data it was measured on.
    domain
        What training data looked like, as :class:`~mlff_core.domain.Domain` writes it; empty where it was not measured.
    limits
        Known limits, a sentence each.
    licence
        SPDX identifier of the weights' licence.
    created
        ISO 8601 time of the checkpoint.
    parent
        SHA-256 of the model file this one was fine-tuned or distilled from.

    Raises
    ------
    InputError
        No name, an element outside 1–118, a cutoff that is no length, a word that means nothing here, other units, or
        a text, number or table where another of these belongs.
    """

    name: str
    elements: tuple[int, ...]
    cutoff: float
    architecture: str = "PaiNN"
    description: str = ""
    n_parameters: int = 0
    charges: str = "neutral"
    spin_multiplicities: str = "singlet"
    units: Mapping[str, str] = field(default_factory=lambda: dict(UNITS))
    teacher: Mapping[str, Any] = field(default_factory=dict)
    dataset: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    domain: Mapping[str, Any] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    licence: str = ""
    created: str = ""
    parent: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.limits, str):
            raise InputError(f"limits of a model card must be a list of texts, got {self.limits!r}")
        try:
            object.__setattr__(self, "elements", tuple(int(z) for z in self.elements))
            object.__setattr__(self, "cutoff", float(self.cutoff))
            object.__setattr__(self, "limits", tuple(self.limits))
        except (TypeError, ValueError) as error:
            raise InputError(f"elements, cutoff or limits of the model card cannot be read: {error}") from None
        if not isinstance(self.name, str) or not self.name:
            raise InputError(f"a model card needs a name, got {self.name!r}")
        self._check_kinds()
        if not self.elements or min(self.elements) < 1 or max(self.elements) > 118:
            raise InputError(f"elements of a model card must be atomic numbers in 1–118, got {self.elements}")
        if not (math.isfinite(self.cutoff) and self.cutoff >= 0):
            raise InputError(f"cutoff of a model card must be a length in Å, got {self.cutoff}")
        for key, known in (("charges", CHARGES), ("spin_multiplicities", SPIN_MULTIPLICITIES)):
            if getattr(self, key) not in known:
                raise InputError(f"{key} of a model card must be one of {', '.join(known)}, got {getattr(self, key)!r}")
        if dict(self.units) != UNITS:
            raise InputError(f"units of a model card must be {UNITS}, got {dict(self.units)}")

    def _check_kinds(self) -> None:
        wanted = {
            "a text": (str, ("architecture", "description", "licence", "created", "parent")),
            "a table": (Mapping, ("units", "teacher", "dataset", "training", "metrics", "domain")),
        }
        for what, (kind, keys) in wanted.items():
            for key in keys:
                if not isinstance(getattr(self, key), kind):
                    raise InputError(f"{key} of a model card must be {what}, got {getattr(self, key)!r}")
        if self.domain:
            Domain.from_dict(self.domain)
        if type(self.n_parameters) is not int or self.n_parameters < 0:
            raise InputError(f"n_parameters of a model card must be a whole number, got {self.n_parameters!r}")
        if not all(isinstance(limit, str) for limit in self.limits):
            raise InputError(f"limits of a model card must be texts, got {self.limits!r}")

    @property
    def symbols(self) -> tuple[str, ...]:
        """Chemical symbols of the elements."""
        return tuple(chemical_symbols[z] for z in self.elements)

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers, as JSON has them.

        Raises
        ------
        InputError
            An entry is neither of these nor a number or array of numpy or torch.
        """
        try:
            plain: dict[str, Any] = json.loads(json.dumps(asdict(self), default=_plain))
        except (TypeError, ValueError) as error:
            raise InputError(f"the model card of {self.name} holds what JSON cannot: {error}") from None
        if not plain["domain"]:
            del plain["domain"]  # so that a card without one is written as it always was
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> ModelCard:
        """Return the card that :meth:`to_dict` wrote.

        Raises
        ------
        InputError
            A key is missing or unknown.
        """
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(plain) - known)
        if unknown:
            raise InputError(f"the model card has unknown keys {unknown}; known are {sorted(known)}")
        for key in ("name", "elements", "cutoff"):
            if key not in plain:
                raise InputError(f"the model card lacks {key!r}")
        return cls(**plain)


def _plain(value: Any) -> Any:
    """Return a number or array of numpy or torch as plain numbers."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{value!r} of type {type(value).__name__}; give a number, a string, a list or a dict")
