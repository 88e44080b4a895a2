"""``atom_charges``: the charges that a model gives the atoms of a Context."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openmm.app
from openmm import unit

from mlff_core.errors import UnsupportedError
from mlff_core.models.opening import opened
from mlff_core.potentials.interface import Potential
from mlff_plugins.openmm.convert import to_batch
from mlff_plugins.openmm.force import is_periodic, ml_particles, total_charge


def atom_charges(
    context: openmm.Context,
    model: str | Path | Potential,
    topology_or_atomic_numbers: openmm.app.Topology | Sequence[int],
    *,
    atoms: Iterable[int] | None = None,
    periodic: bool | None = None,
    charge: float | None = None,
    spin_multiplicity: int | None = None,
) -> npt.NDArray[np.float64]:
    """Return the charges that a model gives the atoms of a Context at their present positions.

    OpenMM asks a force for energy and forces only, so the charges are a call of their own. They are local: they depend
    on the positions, and need not add up to the total charge.

    Parameters
    ----------
    context
        The Context; positions and box are read from it.
    model, topology_or_atomic_numbers, atoms, periodic, charge, spin_multiplicity
        As for :func:`~mlff_plugins.openmm.create_force`.

    Returns
    -------
    charges
        Shape (n_atoms,), e, in the order of ``atoms``.

    Raises
    ------
    InputError, UnsupportedError
        As :func:`~mlff_plugins.openmm.create_force`; or the model gives no charges.
    """
    potential = opened(model)
    if "charges" not in potential.supports:
        raise UnsupportedError(
            f"{potential.card.name} gives no charges of atoms; fit them to it with `mlff charges fit`, or open a model "
            "that has them"
        )
    numbers, particles = ml_particles(topology_or_atomic_numbers, atoms)
    total = total_charge(topology_or_atomic_numbers, particles, charge)
    state = context.getState(positions=True)
    positions = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    box = None
    if is_periodic(topology_or_atomic_numbers) if periodic is None else periodic:
        box = state.getPeriodicBoxVectors(asNumpy=True).value_in_unit(unit.nanometer)
    batch = to_batch(
        positions if particles is None else positions[particles],
        box,
        numbers,
        charge=total,
        spin_multiplicity=spin_multiplicity,
        device=potential.device,
        dtype=potential.dtype,
    )
    charges = potential.predict(batch, want=("charges",)).need("charges", potential.card.name)
    found: npt.NDArray[np.float64] = charges.detach().cpu().double().numpy()
    return found
