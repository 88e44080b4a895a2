"""Energy conservation: drift of the total energy of an isolated molecule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mlff_core.errors import MlffError
from mlff_core.judging.physics.trajectory import Array, Trajectory, run, thermal_velocities
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch, concatenate, split
from mlff_core.units import EV_PER_KELVIN


@dataclass(frozen=True, eq=False)
class EnergyDrift:
    """Conservation of the total energy E = potential + kinetic in one run."""

    drift_mev_per_atom_per_ps: float
    """Gradient of a straight line fitted to E(t) by least squares, over the number of atoms."""
    max_deviation_mev_per_atom: float
    """Largest deviation of E(t) from E(0), over the number of atoms; it includes the fluctuation of the integrator."""
    score: float
    """|Gradient of the line| × length of the run / standard deviation of the kinetic energy over the run, the ratio of
    mlipaudit 0.1.8; below 1 the drift is smaller than the exchange between potential and kinetic energy."""
    drift_percent_of_total: float
    """100 × |(E(end) − E(0)) / E(0)|, the older convention. It depends on the zero of energy: with atomic energies of
    10⁴ eV in E, any run looks perfect."""
    length_ps: float
    """Length of the run, ps."""
    temperature: float
    """Mean temperature of the run, K."""
    times_ps: Array
    """Shape (n_records,), ps."""
    deviation_mev_per_atom: Array
    """E(t) − E(0) over the number of atoms, shape (n_records,), meV/atom."""


def energy_drift(times_ps: Array, potential_energy: Array, kinetic_energy: Array, n_atoms: int) -> EnergyDrift:
    """Return the energy conservation of one run.

    Parameters
    ----------
    times_ps
        Shape (n_records,), ps, at least two.
    potential_energy, kinetic_energy
        Shape (n_records,), eV.
    n_atoms
        Number of atoms.
    """
    total = potential_energy + kinetic_energy
    gradient = float(np.polyfit(times_ps - times_ps[0], total - total[0], 1)[0])
    length = float(times_ps[-1] - times_ps[0])
    spread = float(kinetic_energy.std())
    deviation = 1e3 * (total - total[0]) / n_atoms
    return EnergyDrift(
        drift_mev_per_atom_per_ps=1e3 * gradient / n_atoms,
        max_deviation_mev_per_atom=float(np.abs(deviation).max()),
        score=abs(gradient) * length / spread if spread > 0 else float("nan"),
        drift_percent_of_total=100.0 * abs(float(total[-1] - total[0])) / abs(float(total[0])),
        length_ps=length,
        temperature=float(2.0 * kinetic_energy.mean() / (max(3 * n_atoms - 3, 1) * EV_PER_KELVIN)),
        times_ps=times_ps,
        deviation_mev_per_atom=deviation,
    )


def equilibrated(
    potential: Potential,
    batch: AtomicBatch,
    *,
    temperature: float = 300.0,
    length_ps: float = 0.5,
    timestep_fs: float = 0.5,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Trajectory:
    """Return a short Langevin run at ``temperature`` (K) with strong friction from relaxed structures.

    A run that starts hot from a minimum, or from an unrelaxed structure, shows the exchange of heat between modes as if
    it were drift.
    """
    generator = torch.Generator().manual_seed(seed)
    return run(
        potential,
        batch,
        thermal_velocities(batch, temperature, generator),
        n_steps=max(1, round(1e3 * length_ps / timestep_fs)),
        timestep_fs=timestep_fs,
        temperature=temperature,
        friction_per_ps=20.0,
        generator=generator,
        progress=progress,
    )


def nve(
    potential: Potential,
    start: Sequence[Trajectory],
    *,
    length_ps: float = 2.0,
    timestep_fs: float = 0.5,
    progress: Callable[[int], None] | None = None,
) -> list[EnergyDrift | str]:
    """Return the drift of each structure, or the reason why its run stopped.

    Parameters
    ----------
    potential
        Gives the forces, in any precision.
    start
        Equilibrated structures with their velocities, one trajectory per structure.
    length_ps
        ps.
    timestep_fs
        fs; 0.5 is suitable for molecules with hydrogens.
    progress
        Called with the number of steps done.
    """
    try:
        together = run(
            potential,
            concatenate([s.batch for s in start]),
            torch.cat([s.velocities for s in start]),
            n_steps=max(2, round(1e3 * length_ps / timestep_fs)),
            timestep_fs=timestep_fs,
            progress=progress,
        )
    except MlffError as error:
        if len(start) == 1:
            return [str(error)]
        # One structure stopped the run: run them one by one, so that the others still count.
        return [found for one in start for found in nve(potential, [one], length_ps=length_ps, timestep_fs=timestep_fs)]
    drifts: list[EnergyDrift | str] = []
    for k, count in enumerate(together.batch.atoms_per_system()):
        energies = together.potential_energy[:, k], together.kinetic_energy[:, k]
        finite = bool(np.isfinite(energies).all())
        drifts.append(energy_drift(together.times_ps, *energies, count) if finite else "the energy is not finite")
    return drifts


def boxed(batch: AtomicBatch, gap: float = 3.0) -> AtomicBatch:
    """Return one molecule in a periodic, slightly triclinic cell that leaves ``gap`` Å between images."""
    (molecule,) = split(batch)
    extent = molecule.positions.max(dim=0).values - molecule.positions.min(dim=0).values + gap
    cell = torch.diag(extent)
    cell[1, 0], cell[2, 0], cell[2, 1] = 0.1 * extent[0], -0.05 * extent[0], 0.1 * extent[1]
    return AtomicBatch(
        molecule.positions,
        molecule.atomic_numbers,
        cell[None],
        torch.ones_like(molecule.pbc),
        molecule.system_idx,
        molecule.charge,
        molecule.spin_multiplicity,
    )
