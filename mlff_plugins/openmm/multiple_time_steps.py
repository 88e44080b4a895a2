"""``create_mts``: multiple time steps in OpenMM, a cheap model at the short steps and an accurate one at the long."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import openmm
from openmm import unit

from mlff_core.errors import InputError
from mlff_core.models.opening import opened
from mlff_core.potentials.difference import Difference
from mlff_plugins.openmm.force import create_force

if TYPE_CHECKING:
    import openmm.app

    from mlff_core.potentials.interface import Potential

FAST, SLOW = 0, 1
"""Force groups of the inner model and of the difference."""


def create_mts(
    system: openmm.System,
    topology_or_atomic_numbers: openmm.app.Topology | Sequence[int],
    outer: str | Path | Potential,
    inner: str | Path | Potential,
    *,
    inner_steps: int,
    timestep_fs: float,
    temperature_kelvin: float | None = None,
    friction_per_ps: float = 1.0,
    atoms: Iterable[int] | None = None,
    periodic: bool | None = None,
    charge: float | None = None,
    spin_multiplicity: int | None = None,
) -> openmm.CustomIntegrator:
    """Add both models to a System, and return the integrator that steps with them.

    The force of the inner model is in force group 0, beside the forces that the System has, and the difference
    outer − inner in group 1: the energy of the System is that of the outer model, and groups 0 and 1 are computed
    ``inner_steps`` times and once in a step.

    Parameters
    ----------
    system
        Gets the two forces; its masses decide the longest step (3 amu for hydrogen).
    topology_or_atomic_numbers, atoms, periodic, charge, spin_multiplicity
        See :func:`~mlff_plugins.openmm.force.create_force`.
    outer
        The accurate potential: a name, a path or a potential; ``mlff_core.plugins.host.teacher("so3lr").load()`` gives
        a teacher.
    inner
        The cheap one.
    inner_steps
        Inner steps in one step.
    timestep_fs
        Outer step, fs.
    temperature_kelvin
        Temperature of a Langevin thermostat, kelvin; None for constant energy.
    friction_per_ps
        Of the thermostat, 1/ps.

    Raises
    ------
    InputError
        A number is out of range, or a force of the System is in another group than 0.
    UnsupportedError
        A model does not support an element or the charge.
    """
    if inner_steps < 1:
        raise InputError(f"inner_steps must be at least 1, got {inner_steps}")
    for name, value in (("timestep_fs", timestep_fs), ("friction_per_ps", friction_per_ps)):
        if not 0 < value < float("inf"):
            raise InputError(f"{name} must be positive and finite, got {value}")
    others = [force for force in system.getForces() if force.getForceGroup() != FAST]
    if others:
        raise InputError(
            f"the System has a {type(others[0]).__name__} in force group {others[0].getForceGroup()}, which the "
            "integrator would leave out; put all forces into group 0"
        )
    accurate, cheap = opened(outer), opened(inner)
    chosen = None if atoms is None else list(atoms)
    for potential, group in ((cheap, FAST), (Difference(accurate, cheap), SLOW)):
        force = create_force(
            potential,
            topology_or_atomic_numbers,
            atoms=chosen,
            backend="pythonforce",
            periodic=periodic,
            charge=charge,
            spin_multiplicity=spin_multiplicity,
        )
        force.setForceGroup(group)
        system.addForce(force)
    step, groups = timestep_fs * unit.femtosecond, [(SLOW, 1), (FAST, inner_steps)]
    if temperature_kelvin is None:
        return openmm.MTSIntegrator(step, groups)
    if not 0 < temperature_kelvin < float("inf"):
        raise InputError(f"temperature_kelvin must be positive and finite, got {temperature_kelvin}")
    return openmm.MTSLangevinIntegrator(
        temperature_kelvin * unit.kelvin, friction_per_ps / unit.picosecond, step, groups
    )
