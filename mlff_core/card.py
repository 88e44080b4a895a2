"""The card of a model: what is known about it, stored inside the model file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from ase.data import chemical_symbols

from mlff_core.domain import Domain
from mlff_core.errors import InputError

UNITS = {"length": "Angstrom", "energy": "eV"}
NONMETALS = frozenset({1, 2, 5, 6, 7, 8, 9, 10, 14, 15, 16, 17, 18, 32, 33, 34, 35, 36, 51, 52, 53, 54, 85, 86})
"""Elements whose compounds with an even number of electrons are closed-shell as a rule; no metals."""

CHARGES = ("neutral", "closed-shell", "any")
SPIN_MULTIPLICITIES = ("closed shell", "singlet", "any")

CLOSED_SHELL = "Neutral, closed-shell structures only."
"""Limit on the card of a student that was trained on neutral closed shells."""

LONGEST_CUTOFF = 100.0
"""Longest cutoff, Å; an atom in a solid or liquid has about 400,000 neighbours within it."""


@dataclass(frozen=True)
class ModelCard:
    """Lineage, limits and measured errors of a potential; every entry can be written as JSON.

    Raises
    ------
    InputError
        The name is missing, an element lies outside 1–118, the cutoff is not a length, ``charges`` or
        ``spin_multiplicities`` has an unknown value, the units are others, or an entry has the wrong type.
    """

    name: str
    """Name of the model."""
    elements: tuple[int, ...]
    """Atomic numbers it knows, in rising order."""
    cutoff: float
    """Distance beyond which an atom has no direct effect on another, Å; 0 where there is none (a teacher)."""
    architecture: str = "PaiNN"
    """``"PaiNN"``, or the method of a teacher."""
    description: str = ""
    """A sentence for users."""
    n_parameters: int = 0
    """Number of trainable parameters."""
    charges: str = "neutral"
    """Total charges it can compute, e. ``"neutral"``: 0. ``"closed-shell"``: any, but the energy does not depend on it:
    the model knows ions by their atoms and bonds, and the charge serves to count electrons. ``"any"``: an input."""
    spin_multiplicities: str = "singlet"
    """``"closed shell"``: an odd number of electrons is refused. ``"singlet"``: the model knows nothing of spin, as a
    model of metals; a multiplicity other than 1 is refused, any number of electrons is taken. ``"any"``: the
    multiplicity is an input."""
    units: Mapping[str, str] = field(default_factory=lambda: dict(UNITS))
    """Always Å and eV; stored so that the file can be read without this documentation."""
    teacher: Mapping[str, Any] = field(default_factory=dict)
    """``name``, ``method``, ``package``, ``version``, ``sha256`` of its weights, ``licence``."""
    dataset: Mapping[str, Any] = field(default_factory=dict)
    """``name``, ``sha256``, ``n_structures``, ``licence``."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """The resolved training settings."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Errors measured by validation, with the data they were measured on."""
    domain: Mapping[str, Any] = field(default_factory=dict)
    """Ranges of the training data, as :class:`~mlff_core.domain.Domain` writes them; empty if not measured."""
    limits: tuple[str, ...] = ()
    """Known limits, a sentence each."""
    licence: str = ""
    """SPDX identifier of the weights' licence."""
    created: str = ""
    """ISO 8601 time of the checkpoint."""
    parent: str = ""
    """SHA-256 of the model file this one was fine-tuned or distilled from."""

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
        if self.cutoff > LONGEST_CUTOFF:
            raise InputError(f"cutoff of a model card must be at most {LONGEST_CUTOFF:g} Å, got {self.cutoff:g}")
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
    def is_even_without_charge(self) -> bool:
        """Whether the atoms alone must have an even number of electrons, for an engine that knows no total charge."""
        return self.spin_multiplicities == "closed shell" and self.charges == "neutral"

    @property
    def symbols(self) -> tuple[str, ...]:
        """Chemical symbols of the elements."""
        return tuple(chemical_symbols[z] for z in self.elements)

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers, as JSON has them.

        Raises
        ------
        InputError
            An entry is none of these, and no number or array of numpy or torch.
        """
        try:
            plain: dict[str, Any] = json.loads(json.dumps(asdict(self), default=_plain))
        except (TypeError, ValueError) as error:
            raise InputError(f"the model card of {self.name} cannot be written as JSON: {error}") from None
        if not plain["domain"]:
            del plain["domain"]  # so that a card without one is written as before
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
        card = cls(**plain)
        # Cards of earlier versions have "singlet" for every student, and closed shells only in the text of the limits.
        if (
            card.spin_multiplicities == "singlet"
            and CLOSED_SHELL in card.limits
            and NONMETALS.issuperset(card.elements)
        ):
            return replace(card, spin_multiplicities="closed shell")
        return card


def _plain(value: Any) -> Any:
    """Return a number or array of numpy or torch as plain numbers."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{value!r} of type {type(value).__name__}; give a number, a string, a list or a dict")
