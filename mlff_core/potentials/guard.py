"""A guard that warns of structures unlike the training data of a model, or stops there; it costs almost nothing.

A student is smooth everywhere but accurate only near its data: elsewhere the energy of an atom may be wrong by a
thousand eV. The ranges on the model's card (:class:`~mlff_core.domain.Domain`) are compared with the result of every
evaluation.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

import numpy as np
import torch
from ase.data import chemical_symbols
from ase.symbols import Symbols
from torch import Tensor

from mlff_core.card import ModelCard
from mlff_core.domain import Domain
from mlff_core.errors import InputError, OffDomainError
from mlff_core.kernels.protocol import Bounds
from mlff_core.structures.batch import MAX_ATOMIC_NUMBER, AtomicBatch
from mlff_core.structures.neighbors import EdgeList, edge_vectors, find_neighbors

Action = Literal["warn", "stop"]
VARIABLE = "MLFF_GUARD"
"""Environment variable with the default action."""


class OffDomainWarning(UserWarning):
    """A structure is unlike the training data of the model."""


class Guard:
    """Compares evaluations of one potential with the ranges of its training data.

    Parameters
    ----------
    name
        Name of the model, for messages.
    domain
        Ranges of the training data.
    action
        ``"warn"`` warns the first time; ``"stop"`` raises an error each time.

    Attributes
    ----------
    is_done
        Whether it has warned, and compares no more.
    """

    def __init__(self, name: str, domain: Domain, action: Action = "warn") -> None:
        self.name, self.domain, self.action = name, domain, action
        self.is_done = False
        self._held: list[str] | None = None
        self._warned_of_trial = False
        self._numbers: Tensor | None = None
        self._tables: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy in another process warns for itself.
        return Guard, (self.name, self.domain, self.action)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Compare nothing within this block; for made-up structures, as in the check of an export."""
        before, self.is_done = self.is_done, True
        try:
            yield
        finally:
            self.is_done = before

    @contextmanager
    def held(self) -> Iterator[list[str]]:
        """Collect what is found within this block in a list, for :meth:`act`."""
        self._held = []
        try:
            yield self._held
        finally:
            self._held = None

    def act(self, findings: Sequence[str], is_trial: bool) -> None:
        """Warn or stop because of what was found in a block of :meth:`held`.

        Parameters
        ----------
        findings
            What was found; empty does nothing.
        is_trial
            Whether it is an optimiser's trial step: this warns once, never stops, and the guard goes on.

        Raises
        ------
        OffDomainError
            Something was found in another structure than a trial step, and the action is ``"stop"``.
        """
        if not findings:
            return
        if not is_trial:
            self._act(findings[0])
        elif not self._warned_of_trial:
            self._warned_of_trial = True
            warnings.warn(
                f"{self.name} was not trained on structures like this one, whose energy is above the last: "
                f"{findings[0]}. It may be a trial step that the optimiser rejects; what follows is checked further on",
                OffDomainWarning,
                stacklevel=2,
            )

    def bounds(self, elements: tuple[int, ...]) -> Bounds:
        """Return the bounds for these elements, in their order; energies are relative to the reference energies."""
        ends = []
        for z in elements:
            reference = self.domain.reference_energies.get(z, 0.0)
            ends.append([end - reference for end in self.domain.energy_bounds(z)])
        lowest, highest = torch.tensor(ends, dtype=torch.float64).T.contiguous()
        closest = [[self.domain.closest(a, b) for b in elements] for a in elements]
        return Bounds(lowest, highest, torch.tensor(closest, dtype=torch.float64), self.domain.force_bound)

    def look_at_atoms(self, batch: AtomicBatch) -> None:
        """Warn of an odd number of electrons, or of a single element, if no training structure had that.

        A batch with the same atoms is checked once.

        Raises
        ------
        OffDomainError
            There is such a structure and the action is ``"stop"``.
        """
        if self.is_done or batch.atomic_numbers is self._numbers:
            return
        numbers = batch.atomic_numbers.tolist()
        ends = [0, len(numbers)] if batch.n_systems == 1 else [0, *np.cumsum(batch.atoms_per_system()).tolist()]
        charges = None if batch.charge is None else batch.charge.tolist()
        for system in range(batch.n_systems):
            # Lists: most structures are small, and one call of torch costs more than a loop over their atoms.
            own = numbers[ends[system] : ends[system + 1]]
            electrons = sum(own) - (0 if charges is None else round(charges[system]))
            if electrons % 2 and self.domain.is_even:
                self._act(
                    f"{_structure(batch, system)} has {electrons} electrons, and an odd number occurs in no structure "
                    "of the training data"
                )
            elif min(own) == max(own) and own[0] not in self.domain.pure:
                self._act(
                    f"{_structure(batch, system)} has atoms of one element only, and {chemical_symbols[own[0]]} alone "
                    "occurs in no structure of the training data"
                )
            if self.is_done:
                return
        self._numbers = batch.atomic_numbers

    def look_at_structures(self, batch: AtomicBatch) -> None:
        """Warn of atoms closer than in the training data, for a caller without edges.

        Raises
        ------
        OffDomainError
            There are such atoms and the action is ``"stop"``.
        """
        if self.is_done:
            return
        closest = self._table(batch.device)[2]
        self._look_at_distances(batch, find_neighbors(batch, float(closest.max())))

    def look(self, batch: AtomicBatch, edges: EdgeList | None, atom_energies: Tensor, forces: Tensor | None) -> None:
        """Compare one evaluation with the ranges.

        Parameters
        ----------
        batch
            The structures.
        edges
            Their neighbours; None leaves out the check of distances.
        atom_energies
            Shape (n_atoms,), eV.
        forces
            Shape (n_atoms, 3), eV/Å; None leaves out their check.

        Raises
        ------
        OffDomainError
            Something is outside its range and the action is ``"stop"``.
        """
        if self.is_done:
            return
        lowest, highest, _ = self._table(batch.device)
        numbers = batch.atomic_numbers
        energies = atom_energies.detach().double()
        # Written as a negation, so that NaN counts as beyond the range.
        beyond = ~((energies >= lowest[numbers]) & (energies <= highest[numbers]))
        if bool(beyond.any()):
            excess = torch.maximum(lowest[numbers] - energies, energies - highest[numbers])
            atom = int(excess.nan_to_num(nan=float("inf")).argmax())
            z = int(numbers[atom])
            reference = self.domain.reference_energies.get(z, 0.0)
            low, high = (end - reference for end in self.domain.energy_bounds(z))
            energy = float(energies[atom]) - reference
            self._act(
                f"{_place(batch, atom)} has an energy of {energy:.4g} eV relative to its reference, and the bound from "
                f"the training data is {high if energy > high else low:.4g} eV"
            )
        if edges is not None:
            self._look_at_distances(batch, edges)
        if forces is not None and not self.is_done:
            largest = forces.detach().abs().amax(dim=1)
            atom = int(largest.argmax())
            if not float(largest[atom]) <= self.domain.force_bound:
                self._act(
                    f"{_place(batch, atom)} has a force component of {float(largest[atom]):.4g} eV/Å, and the "
                    f"bound from the training data is {self.domain.force_bound:.4g} eV/Å"
                )

    def _look_at_distances(self, batch: AtomicBatch, edges: EdgeList) -> None:
        if self.is_done or edges.n_edges == 0:
            return
        closest = self._table(batch.device)[2]
        with torch.no_grad():
            lengths = torch.linalg.vector_norm(edge_vectors(batch, edges), dim=1).double()
        limits = closest[batch.atomic_numbers[edges.centers], batch.atomic_numbers[edges.neighbors]]
        edge = int((lengths - limits).argmin())
        if float(lengths[edge]) >= float(limits[edge]):
            return
        one, other = int(edges.centers[edge]), int(edges.neighbors[edge])
        self._act(
            f"{_place(batch, one)} and atom {other} ({chemical_symbols[int(batch.atomic_numbers[other])]}) are "
            f"{float(lengths[edge]):.3f} Å apart, and the bound from the training data is "
            f"{float(limits[edge]):.3f} Å"
        )

    def _table(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Return lowest and highest energy of an atom (119,), eV, and closest distance of a pair (119, 119), Å."""
        if device not in self._tables:
            known = sorted(self.domain.atom_energies)
            lowest = torch.full((MAX_ATOMIC_NUMBER + 1,), -self.domain.margin["atom_energy"], dtype=torch.float64)
            highest, closest = -lowest, torch.zeros((len(lowest), len(lowest)), dtype=torch.float64)
            for a in known:
                lowest[a], highest[a] = self.domain.energy_bounds(a)
                for b in known:
                    closest[a, b] = self.domain.closest(a, b)
            self._tables[device] = (lowest.to(device), highest.to(device), closest.to(device))
        return self._tables[device]

    def _act(self, finding: str) -> None:
        """Raise an error or warn, with the finding in the message."""
        if self._held is not None:
            self._held.append(finding)
            return
        if self.action == "stop":
            raise OffDomainError(
                f"{self.name} was not trained on structures like this: {finding}. Correct the structure, train "
                "on such structures, or continue with guard='warn' (--guard warn)"
            )
        self.is_done = True
        warnings.warn(
            f"{self.name} was not trained on structures like this, so its energies and forces may be far off: "
            f"{finding}. This warning comes once; guard='stop' (--guard stop) ends a run here",
            OffDomainWarning,
            stacklevel=2,
        )


def guard_of(card: ModelCard, action: str = "auto") -> Guard | None:
    """Return the guard of a model; None if its card has no domain or the guard is switched off.

    Parameters
    ----------
    card
        The model's card.
    action
        ``"warn"``, ``"stop"``, ``"off"``, or ``"auto"``: the value of ``MLFF_GUARD``, or ``"warn"`` if it is not set.

    Raises
    ------
    InputError
        The action is unknown.
    """
    source = "guard"
    if action == "auto":
        source, action = VARIABLE, os.environ.get(VARIABLE) or "warn"
    if action == "off":
        return None
    if action not in get_args(Action):
        raise InputError(f"{source} must be one of warn, stop and off, got {action!r}")
    return Guard(card.name, Domain.from_dict(card.domain), action) if card.domain else None  # type: ignore[arg-type]


def _place(batch: AtomicBatch, atom: int) -> str:
    """Return the name of an atom and its structure; atoms are numbered over the whole batch, as in every message."""
    symbol = chemical_symbols[int(batch.atomic_numbers[atom])]
    return f"atom {atom} ({symbol}) of {_structure(batch, int(batch.system_idx[atom]))}"


def _structure(batch: AtomicBatch, system: int) -> str:
    formula = Symbols(batch.atomic_numbers[batch.system_idx == system].tolist()).get_chemical_formula()
    return formula if batch.n_systems == 1 else f"{formula} (structure {system + 1} of {batch.n_systems})"
