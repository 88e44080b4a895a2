"""The computation for i-PI: a potential, and a template with the atoms of i-PI's positions."""

from __future__ import annotations

import math

from mlff_core.errors import InputError, OverlapError
from mlff_core.potentials.checks import check_has_volume
from mlff_core.potentials.ensemble import Ensemble
from mlff_core.potentials.interface import CHARGES, DEVIATIONS, Potential
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.potentials.watched import WatchedPotential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.prediction import not_given
from mlff_core.structures.stress import volume
from mlff_plugins.ipi.convert import Copies, committee, from_prediction, to_batch
from mlff_plugins.ipi.protocol import Results, Structures, all_finite

DEFAULT_SKIN = 1.0
"""Å."""

SMALLEST_VOLUME = 1e-3
"""bohr³; smaller cells are checked closely."""


class Driver:
    """Computes the structures of i-PI's messages, all of a batch together.

    Parameters
    ----------
    potential
        The potential; its uncertainty may be watched.
    template
        One structure: its elements, in i-PI's order, its periodicity, charge and multiplicity.
    batch
        Largest number of structures to compute together, to limit the memory; None for all that i-PI sends.

    Raises
    ------
    InputError, UnsupportedError
        The potential cannot serve the template.
    """

    def __init__(self, potential: Potential, template: AtomicBatch, batch: int | None = None) -> None:
        if template.n_systems != 1:
            raise InputError(f"the template must be one structure, got {template.n_systems}")
        if batch is not None and batch < 1:
            raise InputError(f"batch must be auto or at least 1, got {batch}")
        potential.check(template)
        # i-PI requests a virial with all forces, and would interpret zeros as a pressure.
        needed = {"forces", "stress"} if bool(template.pbc.any()) else {"forces"}
        lacking = sorted(needed - potential.supports)
        if lacking:
            raise not_given(" and no ".join(lacking), potential.card.name, "which i-PI needs")
        self.potential = potential
        self._inner, self._watches = _unwrapped(potential)
        self.n_atoms = template.n_atoms
        self._template = template.to(potential.device, potential.dtype)
        self._has_cell = bool(template.pbc.any())
        # The dipole of a cell is not defined.
        charges = CHARGES - {"dipole"} if self._has_cell else CHARGES
        self._want = frozenset({"energy", *needed} | (potential.supports & (DEVIATIONS | charges)))
        self._batch = batch
        # One neighbour list for each part of a batch, which has the same beads at every step.
        self._parts: list[VerletPotential] = []
        # Two for each part, used alternately, so that the last structures are kept for a comparison.
        self._copies: dict[tuple[int, int], tuple[Copies, Copies]] = {}

    def __call__(self, structures: Structures) -> Results:
        """Return energies, forces and virials of structures in atomic units.

        Raises
        ------
        InputError, UnsupportedError
            As :meth:`mlff_core.potentials.interface.Potential.predict`.
        UncertaintyError
            The potential is watched and not sure enough.
        """
        n = len(structures.positions)
        if self._batch is None or n <= self._batch:
            return self._computed(structures, 0)
        parts = []
        for k, start in enumerate(range(0, n, self._batch)):
            stop = start + self._batch
            parts.append(self._computed(Structures(structures.cells[start:stop], structures.positions[start:stop]), k))
        return Results.joined(parts)

    def _computed(self, structures: Structures, k: int) -> Results:
        """Return the results of part ``k`` of a batch."""
        if k == len(self._parts):
            self._parts.append(VerletPotential(self.potential, DEFAULT_SKIN))
        n = len(structures.positions)
        pair = self._copies.get((k, n)) or (Copies(self._template, n), Copies(self._template, n))
        self._copies[k, n] = pair[1], pair[0]
        batch, potential = to_batch(structures, pair[0]), self._parts[k]
        # Atoms, charges and what is wanted are those of the template; positions and cell are new. To check i-PI's
        # arrays costs less than to check tensors.
        is_finite = all_finite(structures.positions)
        volumes: list[float] = []
        if self._has_cell:
            # Columns and rows give the same determinant; it is not finite if any number of a cell is not.
            volumes = [volume(cell) for cell in structures.cells.tolist()]
            is_finite = is_finite and math.isfinite(sum(volumes))
        if not is_finite:
            batch.validate_values()
        if self._has_cell and min(volumes) < SMALLEST_VOLUME:
            check_has_volume(batch)
        if not isinstance(self._inner, Ensemble):
            return from_prediction(potential.predict_checked(batch, self._want), structures, volumes)
        # The members one by one, since i-PI's committees use the result of each.
        edges, want = potential.edges(batch), self._want - DEVIATIONS
        members = self._inner.members
        try:
            found = [member.predict_checked(batch, want, edges) for member in members]
            potential.trials.passed(batch, None)
        except OverlapError as error:
            trial = potential.trials.met(batch, None, error)
            found = [trial.on(member.predict_checked(trial.stand_in, want)) for member in members]
        combined = self._inner.combined(found, DEVIATIONS)
        for watch in self._watches:
            watch.look(combined, batch)
        return committee([from_prediction(one, structures, volumes) for one in found], combined)


def _unwrapped(potential: Potential) -> tuple[Potential, list[WatchedPotential]]:
    """Return the potential, and the watcher of its uncertainty or None."""
    watches = []
    while isinstance(potential, VerletPotential | WatchedPotential):
        if isinstance(potential, WatchedPotential):
            watches.append(potential)
        potential = potential.potential
    return potential, watches
