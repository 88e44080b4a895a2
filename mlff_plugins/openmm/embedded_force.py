"""``PythonForce`` of a student whose charges feel the point charges of a force field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import openmm
import openmm.app
import torch

from mlff_core.potentials.checks import check_atoms
from mlff_core.potentials.interface import Potential, check_takes_field
from mlff_plugins.openmm.convert import ENERGY, from_prediction
from mlff_plugins.openmm.embedding import Embedding, read_embedding, total_of
from mlff_plugins.openmm.force import ml_particles, total_charge
from mlff_plugins.openmm.force_module import DEFAULT_SKIN
from mlff_plugins.openmm.point_charges import PointCharges
from mlff_plugins.openmm.python_force import PotentialFunction, python_force


class EmbeddedFunction(PotentialFunction):
    """The function of a ``PythonForce`` on the ML atoms and the point charges after them.

    Its energy is the model's plus Σ_i (q_i − q⁰_i) φ_i, in which φ_i is the potential of the point charges and q⁰_i the
    charge that the force field's own Coulomb terms have counted. The q_i are the model's charges at these positions,
    shifted alike within each molecule, so that they sum to the molecule's charge.

    Parameters
    ----------
    potential, atomic_numbers, periodic, charge, spin_multiplicity, skin
        As for :class:`~mlff_plugins.openmm.python_force.PotentialFunction`; of the ML atoms.
    embedding
        The surroundings.
    """

    def __init__(
        self,
        potential: Potential,
        atomic_numbers: Sequence[int],
        periodic: bool,
        charge: float | None,
        spin_multiplicity: int | None,
        skin: float,
        embedding: Embedding,
    ) -> None:
        super().__init__(potential, atomic_numbers, periodic, charge, spin_multiplicity, skin)
        self._arguments = (*self._arguments, embedding)
        self._embedding = embedding
        self._others = PointCharges(embedding.charges, embedding.screening)
        self._totals, self._sizes = embedding.totals, np.bincount(embedding.molecule)

    def __call__(self, state: openmm.State) -> tuple[float, npt.NDArray[np.float64]]:
        """Return (energy, kJ/mol, and forces, shape (n_particles, 3), kJ/mol/nm) at the positions of a State."""
        positions, box = self._read(state)
        n_atoms = len(self._numbers)
        batch = self._batch(positions[:n_atoms], box)
        given = self._embedding
        with self._lock:
            around = self._others.around(positions[:n_atoms], positions[n_atoms:], box)
            # The shift of the charges, alike within a molecule, takes the mean of its potentials from each of them.
            mean = np.bincount(given.molecule, around.potentials) / self._sizes
            seeds = torch.from_numpy((around.potentials - mean[given.molecule]) / ENERGY)
            prediction = self._running.predict(batch, dynamics=self._moves_on(state), potentials=seeds)
        energy, forces = from_prediction(prediction)
        local = prediction.need("charges", "the model").detach().cpu().double().numpy()
        added = self._completed(local) - given.reference
        energy += float(self._totals @ mean - given.reference @ around.potentials)
        on_atoms, on_others = around.forces(added)
        return energy, np.concatenate([forces + on_atoms, on_others])

    def _completed(self, charges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return local charges, shape (n_atoms,), e, shifted to sum to each molecule's charge."""
        molecule = self._embedding.molecule
        missing = self._totals - np.bincount(molecule, charges)
        shifted: npt.NDArray[np.float64] = charges + (missing / self._sizes)[molecule]
        return shifted


def embedded_force(
    potential: Potential,
    topology: openmm.app.Topology,
    mm_system: openmm.System,
    atoms: Sequence[int],
    *,
    charge: float | None,
    spin_multiplicity: int | None,
) -> Any:
    """Return the force of a model among ML atoms, and of its charges' differences from the force field's with others.

    Parameters
    ----------
    potential
        A student with charges.
    topology, mm_system, atoms, charge, spin_multiplicity
        As for :func:`~mlff_plugins.openmm.create_mixed_system`.

    Raises
    ------
    UnsupportedError
        The model has no charges, does not support an element, the charge or the multiplicity; or as
        :func:`~mlff_plugins.openmm.embedding.read_embedding`.
    InputError
        The charge is not that of the force field.
    """
    check_takes_field(potential)
    numbers, _ = ml_particles(topology, atoms)
    embedding = read_embedding(topology, mm_system, atoms)
    total = total_of(embedding, total_charge(topology, atoms, charge))
    check_atoms(potential.card, numbers, total, spin_multiplicity)
    periodic = mm_system.usesPeriodicBoundaryConditions()
    function = EmbeddedFunction(potential, numbers, periodic, total, spin_multiplicity, DEFAULT_SKIN, embedding)
    return python_force(function, periodic, [*atoms, *embedding.particles])
