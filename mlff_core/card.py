"""What is known about a model: the card that travels inside its file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ase.data import chemical_symbols

from mlff_core.errors import InputError


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
    limits
        Known limits, a sentence each.
    licence
        SPDX identifier of the weights' licence.
    created
        ISO 8601 time of the checkpoint.
    parent
        SHA-256 of the model file this one was fine-tuned or distilled from.
    """

    name: str
    elements: tuple[int, ...]
    cutoff: float
    architecture: str = "PaiNN"
    description: str = ""
    n_parameters: int = 0
    charges: str = "neutral"
    spin_multiplicities: str = "singlet"
    units: Mapping[str, str] = field(default_factory=lambda: {"length": "Angstrom", "energy": "eV"})
    teacher: Mapping[str, Any] = field(default_factory=dict)
    dataset: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    limits: tuple[str, ...] = ()
    licence: str = ""
    created: str = ""
    parent: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "elements", tuple(int(z) for z in self.elements))
        object.__setattr__(self, "limits", tuple(self.limits))

    @property
    def symbols(self) -> tuple[str, ...]:
        """Chemical symbols of the elements."""
        return tuple(chemical_symbols[z] for z in self.elements)

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts, lists, strings and numbers, ready for JSON."""
        plain = asdict(self)
        plain["elements"] = list(self.elements)
        plain["limits"] = list(self.limits)
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
