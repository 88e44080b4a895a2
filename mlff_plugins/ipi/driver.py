"""What computes for i-PI: a potential, and a template that says what i-PI's positions are positions of."""

from __future__ import annotations

import numpy as np

from mlff_core.batch import AtomicBatch
from mlff_core.errors import InputError, UnsupportedError
from mlff_core.potential import Potential, VerletPotential
from mlff_plugins.ipi.convert import from_prediction, to_batch
from mlff_plugins.ipi.protocol import Results, Structures

DEFAULT_SKIN = 1.0
"""Å."""


class Driver:
    """Computes the structures of i-PI's messages, all of a batch together.

    Parameters
    ----------
    potential
        What computes.
    template
        One structure: its elements, in i-PI's order, its periodicity, charge and multiplicity.
    batch
        Most structures computed together, which bounds the memory; None for as many as i-PI sends.

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
        # i-PI asks for a virial with all forces, and would take zeros for a pressure.
        needed = {"forces", "stress"} if bool(template.pbc.any()) else {"forces"}
        lacking = sorted(needed - potential.supports)
        if lacking:
            raise UnsupportedError(f"i-PI needs {' and '.join(lacking)}, which {potential.card.name} does not give")
        self.potential = potential
        self.n_atoms = template.n_atoms
        self._template = template.to(potential.device, potential.dtype)
        self._want = ("energy", *sorted(needed | (potential.supports & {"energy_std"})))
        self._batch = batch
        # A list of neighbours for each part of a batch, which is the same beads at every step.
        self._parts: list[VerletPotential] = []

    def __call__(self, structures: Structures) -> Results:
        """Return energies, forces and virials of structures in atomic units.

        Raises
        ------
        InputError, UnsupportedError
            As :meth:`mlff_core.potential.Potential.predict`.
        """
        n = len(structures.positions)
        size = n if self._batch is None else min(n, self._batch)
        parts = []
        for k, start in enumerate(range(0, n, size)):
            if k == len(self._parts):
                self._parts.append(VerletPotential(self.potential, DEFAULT_SKIN))
            part = Structures(structures.cells[start : start + size], structures.positions[start : start + size])
            batch = to_batch(part, self._template)
            parts.append(from_prediction(self._parts[k].predict(batch, want=self._want), batch))
        if len(parts) == 1:
            return parts[0]
        return Results(
            energies=np.concatenate([part.energies for part in parts]),
            forces=np.concatenate([part.forces for part in parts]),
            virials=np.concatenate([part.virials for part in parts]),
            extras=[extra for part in parts for extra in part.extras],
        )
