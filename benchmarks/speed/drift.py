"""Drift of the total energy in NVE, with the CPU kernel and the reference: ``python -m benchmarks drift MODEL``.

    python -m benchmarks drift MODEL [--system water-24] [--runs 3] [--steps 2000] [--json FILE]

Velocity Verlet, 0.5 fs, float32, from 300 K. Both kernels start from the same positions, relaxed with the model, and
the same velocities. The drift is the rate of change in a linear fit of the total energy, the fluctuation the root mean
square residual.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.command import parser, write
from mlff_core import load
from mlff_core.dynamics.integrators import VelocityVerlet
from mlff_core.dynamics.state import Array, MDState, first_state, thermal_velocities, without_drift
from mlff_core.dynamics.surface import HostSurface
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.units import FS_PER_TIME_UNIT
from mlff_plugins.benchmark.systems import build

TIMESTEP_FS = 0.5


def relaxed(surface: HostSurface, positions: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Return positions, (n_atoms, 3), Å, after 200 short steps of gradient descent."""
    for _ in range(200):
        _, forces, _ = surface.evaluate(positions, cell, want_stress=False)
        positions = positions + 0.02 * forces / max(1.0, np.abs(forces).max())
    return positions


def run(surface: HostSurface, start: MDState[Array], masses: np.ndarray, n_steps: int) -> tuple[float, float]:
    """Return drift, meV/atom/ps, and fluctuation, meV/atom."""
    surface.forget()
    stepper = VelocityVerlet(surface, masses, TIMESTEP_FS / FS_PER_TIME_UNIT)
    state = surface.refresh(start, want_stress=False)
    energies = []
    for _ in range(n_steps):
        state = stepper.advance(state, want_stress=False)
        energies.append(state.energy + state.kinetic_energy(masses))
    times = np.arange(n_steps) * TIMESTEP_FS * 1e-3
    values = 1e3 * (np.array(energies) - energies[0]) / len(masses)
    drift, offset = np.polyfit(times, values, 1)
    return float(drift), float(np.std(values - drift * times - offset))


def main() -> None:
    options = parser(__doc__)
    options.add_argument("model")
    options.add_argument("--system", default="water-24")
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--steps", type=int, default=2000)
    arguments = options.parse_args()
    (frame,) = build(arguments.system)
    batch = batch_from_atoms(frame)
    masses = frame.get_masses()[:, None]
    cell = batch.cell.double().numpy()
    surfaces = {
        kernel: HostSurface(load(arguments.model, device="cpu", kernel=kernel), batch)
        for kernel in ("reference", "cpu")
    }
    positions = relaxed(surfaces["cpu"], frame.positions, cell)
    rows = []
    for seed in range(arguments.runs):
        velocities = without_drift(thermal_velocities(masses, 300.0, np.random.default_rng(seed)), masses)
        start = first_state(positions, velocities, cell)
        for kernel, surface in surfaces.items():
            drift, fluctuation = run(surface, start, masses, arguments.steps)
            rows.append(
                {
                    "kernel": kernel,
                    "seed": seed,
                    "drift_mev_per_atom_ps": drift,
                    "fluctuation_mev_per_atom": fluctuation,
                }
            )
            print(f"{kernel:9s} seed {seed}: {drift:+.4f} meV/atom/ps, {fluctuation:.4f} meV/atom", flush=True)
    content = {
        "model": Path(arguments.model).name,
        "system": arguments.system,
        "steps": arguments.steps,
        "timestep_fs": TIMESTEP_FS,
        "rows": rows,
    }
    write(arguments.out, content)


if __name__ == "__main__":
    main()
