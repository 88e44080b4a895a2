"""Dynamics of a periodic liquid with one of three engines, in pieces that depend only on their start and a seed.

All three run Langevin dynamics at the same temperature, friction and time step: mlff-hub itself, OpenMM through
``PythonForce``, and LAMMPS through ``fix external``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import write

from mlff_core.dynamics.integrators import Langevin
from mlff_core.dynamics.state import first_state
from mlff_core.dynamics.surface import HostSurface
from mlff_core.judging.physics.trajectory import Array
from mlff_core.potentials.interface import Potential
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.units import EV_PER_KELVIN, FS_PER_TIME_UNIT


@dataclass(frozen=True)
class Bath:
    """Time step, temperature and friction.

    Parameters
    ----------
    timestep_fs
        fs.
    temperature_kelvin
        K.
    friction_per_ps
        1/ps.
    """

    timestep_fs: float = 0.5
    temperature_kelvin: float = 300.0
    friction_per_ps: float = 5.0


@dataclass(frozen=True, eq=False)
class Piece:
    """Result of one piece of a run.

    Parameters
    ----------
    atoms
        The last structure, with velocities.
    positions
        Positions of every frame, shape (n_frames, n_atoms, 3), Å; wrapped or not.
    temperatures
        Temperature of every frame, shape (n_frames,), K, over all degrees of freedom.
    """

    atoms: Atoms
    positions: Array
    temperatures: Array


Engine = Callable[[Potential, Atoms, Bath, int, int, int], Piece]
"""(potential, start with velocities, bath, number of frames, steps between frames, seed) → piece."""


def temperature(atoms: Atoms, velocities: Array) -> float:
    """Return the temperature, K, of velocities, shape (n_atoms, 3), Å/Å√(amu/eV), over 3·n_atoms degrees of freedom."""
    twice_kinetic = float((atoms.get_masses()[:, None] * velocities**2).sum())
    return twice_kinetic / (3 * len(atoms) * EV_PER_KELVIN)


def _piece(atoms: Atoms, positions: list[Array], velocities: list[Array]) -> Piece:
    end = atoms.copy()
    end.set_positions(positions[-1])
    end.set_velocities(velocities[-1])
    return Piece(end, np.array(positions), np.array([temperature(atoms, v) for v in velocities]))


def ours(potential: Potential, atoms: Atoms, bath: Bath, n_frames: int, every: int, seed: int) -> Piece:
    """Return a piece from mlff-hub's integrator."""
    surface = HostSurface(potential, batch_from_atoms(atoms))
    rng = np.random.default_rng(seed)
    integrator = Langevin(
        surface,
        atoms.get_masses()[:, None],
        bath.timestep_fs / FS_PER_TIME_UNIT,
        EV_PER_KELVIN * bath.temperature_kelvin,
        bath.friction_per_ps * 1e-3 * FS_PER_TIME_UNIT,
        lambda: rng.standard_normal((len(atoms), 3)),
    )
    state = first_state(atoms.get_positions(), atoms.get_velocities(), np.asarray(atoms.cell)[None])
    state = surface.refresh(state, want_stress=False)
    positions, velocities = [], []
    for _ in range(n_frames):
        for _ in range(every):
            state = integrator.advance(state, want_stress=False)
        positions.append(state.positions)
        velocities.append(state.velocities)
    return _piece(atoms, positions, velocities)


def openmm(potential: Potential, atoms: Atoms, bath: Bath, n_frames: int, every: int, seed: int) -> Piece:
    """Return a piece from OpenMM's ``LangevinMiddleIntegrator``, with the model in a ``PythonForce``."""
    import openmm as mm
    from openmm import unit

    from mlff_plugins.openmm import create_force

    system = mm.System()
    system.setDefaultPeriodicBoxVectors(*(np.asarray(atoms.cell) * unit.angstrom))
    for mass in atoms.get_masses():
        system.addParticle(mass)
    system.addForce(create_force(potential, atoms.numbers, periodic=True, backend="pythonforce"))
    integrator = mm.LangevinMiddleIntegrator(
        bath.temperature_kelvin * unit.kelvin,
        bath.friction_per_ps / unit.picosecond,
        bath.timestep_fs * unit.femtosecond,
    )
    integrator.setRandomNumberSeed(1 + seed)
    context = mm.Context(system, integrator, mm.Platform.getPlatformByName("Reference"))
    context.setPositions(atoms.get_positions() * unit.angstrom)
    speed = unit.angstrom / unit.femtosecond
    context.setVelocities(atoms.get_velocities() / FS_PER_TIME_UNIT * speed)
    positions, velocities = [], []
    for _ in range(n_frames):
        integrator.step(every)
        state = context.getState(positions=True, velocities=True)
        positions.append(state.getPositions(asNumpy=True).value_in_unit(unit.angstrom))
        velocities.append(state.getVelocities(asNumpy=True).value_in_unit(speed) * FS_PER_TIME_UNIT)
    return _piece(atoms, positions, velocities)


def lammps(potential: Potential, atoms: Atoms, bath: Bath, n_frames: int, every: int, seed: int) -> Piece:
    """Return a piece from LAMMPS' ``fix langevin`` with ``fix nve``, with the model in ``fix external``."""
    from mlff_plugins.lammps import attach, open_lammps

    species = sorted(set(atoms.symbols))
    lmp = open_lammps()
    try:
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "start.data"
            wrapped = atoms.copy()
            wrapped.wrap()
            write(data, wrapped, format="lammps-data", masses=True, velocities=True, specorder=species, units="metal")
            lmp.commands_list(["units metal", "atom_style atomic", "atom_modify map array", f"read_data {data}"])
        lmp.commands_list(["pair_style zero 1.0 nocoeff", "pair_coeff * *", "neigh_modify every 1 delay 0 check yes"])
        attach(lmp, potential, species)
        damping_ps = 1.0 / bath.friction_per_ps
        kelvin = bath.temperature_kelvin
        lmp.commands_list(
            [
                f"timestep {1e-3 * bath.timestep_fs}",
                "fix move all nve",
                f"fix heat all langevin {kelvin} {kelvin} {damping_ps} {1 + seed}",
                "thermo 1000000000",
                "run 0 post no",
            ]
        )
        positions, velocities = [], []
        for _ in range(n_frames):
            lmp.command(f"run {every} pre no post no")
            positions.append(_gathered(lmp, "x", len(atoms)))
            velocities.append(_gathered(lmp, "v", len(atoms)) * 1e-3 * FS_PER_TIME_UNIT)
    finally:
        lmp.close()
    return _piece(atoms, positions, velocities)


def _gathered(lmp: object, name: str, n_atoms: int) -> Array:
    """Return a vector of every atom in the order of their tags, shape (n_atoms, 3), LAMMPS' unit."""
    return np.array(lmp.gather_atoms(name, 1, 3), dtype=float).reshape(n_atoms, 3)  # type: ignore[attr-defined]


ENGINES: dict[str, Engine] = {"ours": ours, "openmm": openmm, "lammps": lammps}
