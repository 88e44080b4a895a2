"""``PythonForce``: any potential, called by OpenMM at every step."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import openmm
from openmm import unit

from mlff_core.potentials.interface import Potential
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.structures.batch import AtomicBatch
from mlff_plugins.openmm.convert import from_prediction, same_box, to_batch


class PotentialFunction:
    """The function of a ``PythonForce``: takes a State, returns energy and forces.

    It is pickled with its potential, so a System with it can be serialized if the potential can be pickled.

    Parameters
    ----------
    potential
        The potential.
    atomic_numbers
        Atomic numbers of the particles that the force acts on, in their order.
    periodic
        Whether to use the State's box vectors.
    charge
        Total charge, e; None means neutral.
    spin_multiplicity
        2S + 1; None means singlet.
    skin
        Å, of the neighbour list.
    """

    def __init__(
        self,
        potential: Potential,
        atomic_numbers: Sequence[int],
        periodic: bool,
        charge: float | None,
        spin_multiplicity: int | None,
        skin: float,
    ) -> None:
        self._arguments: tuple[Any, ...] = (potential, tuple(atomic_numbers), periodic, charge, spin_multiplicity, skin)
        self._numbers = np.asarray(atomic_numbers, dtype=np.int64)
        self._periodic, self._charge, self._multiplicity = periodic, charge, spin_multiplicity
        self._running = VerletPotential(potential, skin)
        self._step = 0
        self._before: tuple[AtomicBatch, npt.NDArray[np.float64] | None] | None = None
        # Contexts of one System share this object and may run in several threads, so the neighbour list needs a lock.
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments

    def __call__(self, state: openmm.State) -> tuple[float, npt.NDArray[np.float64]]:
        """Return (energy, kJ/mol, and forces, shape (n_atoms, 3), kJ/mol/nm) at the positions of a State."""
        positions, box = self._read(state)
        batch = self._batch(positions, box)
        with self._lock:
            return from_prediction(self._running.predict(batch, dynamics=self._moves_on(state)))

    def _read(self, state: openmm.State) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64] | None]:
        """Return positions, shape (n, 3), and box vectors, shape (3, 3), or None where not periodic, nm."""
        box = None
        if self._periodic:
            box = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer)
        return state.getPositions(asNumpy=True).value_in_unit(unit.nanometer), box

    def _batch(self, positions: npt.NDArray[np.float64], box: npt.NDArray[np.float64] | None) -> AtomicBatch:
        """Return the model's atoms as a batch, from positions (n_atoms, 3) and a box (3, 3), nm."""
        # Read once: another thread may replace the object.
        before, box_before = self._before or (None, None)
        batch = to_batch(
            positions,
            box,
            self._numbers,
            charge=self._charge,
            spin_multiplicity=self._multiplicity,
            device=self._running.device,
            dtype=self._running.dtype,
            before=before if same_box(box, box_before) else None,
        )
        self._before = batch, box
        return batch

    def _moves_on(self, state: openmm.State) -> bool:
        """Return whether this is another step of the simulation; a minimiser's evaluations are all at one."""
        before, self._step = self._step, state.getStepCount()
        return before != self._step


def python_force(function: PotentialFunction, periodic: bool, particles: Sequence[int] | None) -> openmm.PythonForce:
    """Return the force; ``particles`` are the indices it acts on, None for all."""
    force = openmm.PythonForce(function)
    force.setUsesPeriodicBoundaryConditions(periodic)
    if particles is not None:
        force.setParticles(list(particles))
    return force
