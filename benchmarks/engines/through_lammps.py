"""Steps through LAMMPS."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from ase import Atoms, units

from benchmarks.engines.trio import TIMESTEP_FS, Run, Trio, frames_of_a_run, predict_steps, still, wants
from mlff_core import load


def lammps_steps(frame: Atoms, drive: Callable[[Any, list[str]], Any]) -> tuple[Run, Any]:
    """Return steps of LAMMPS with ``fix nve``, and the instance; ``drive`` adds the forces."""
    from mlff_plugins.lammps import open_lammps

    lmp = open_lammps()
    periodic = bool(frame.pbc.any())
    species = sorted(set(frame.get_chemical_symbols()))
    lows, highs = frame.positions.min(0) - 20, frame.positions.max(0) + 20
    if periodic:
        lows, highs = np.zeros(3), frame.cell.lengths()
    bounds = " ".join(f"{low} {high}" for low, high in zip(lows, highs, strict=True))
    kind = "p" if periodic else "f"
    for line in (
        "units metal",
        "atom_modify map array",
        f"boundary {kind} {kind} {kind}",
        f"region box block {bounds}",
        f"create_box {len(species)} box",
    ):
        lmp.command(line)
    types = [species.index(symbol) + 1 for symbol in frame.get_chemical_symbols()]
    velocities = frame.get_velocities() * units.fs * 1e3
    lmp.create_atoms(
        len(frame), list(range(1, len(frame) + 1)), types, frame.positions.ravel().tolist(), velocities.ravel().tolist()
    )
    for k, symbol in enumerate(species):
        lmp.command(f"mass {k + 1} {frame.get_masses()[frame.get_chemical_symbols().index(symbol)]}")
    lmp.command("pair_style zero 6.0 nocoeff")
    lmp.command("pair_coeff * *")
    lmp.command(f"timestep {TIMESTEP_FS * 1e-3}")
    drive(lmp, species)
    lmp.command("fix move all nve")
    lmp.command("thermo 1000000")
    lmp.command("run 0 post no")
    # Without "pre no" each command would compute the forces of its first step again.
    return lambda n: lmp.command(f"run {n} pre no post no"), lmp


@contextlib.contextmanager
def lammps(frame: Atoms, model: str) -> Iterator[Trio]:
    from mlff_plugins.lammps import attach

    potential = load(model, device="cpu")
    frames = frames_of_a_run(frame, potential)

    def nothing(lmp: Any, species: list[str]) -> None:
        def called(_: Any, step: int, n_local: int, tags: Any, positions: Any, forces: Any) -> None:
            forces[:] = 0.0

        lmp.command("fix zero all external pf/callback 1 1")
        lmp.set_fix_external_callback("zero", called)

    step, first = lammps_steps(frame, lambda lmp, species: attach(lmp, potential, species))
    zero, second = lammps_steps(still(frame), nothing)
    yield Trio(step, zero, predict_steps(frame, potential, frames, (*wants(frame), "atom_energies")))
    first.close()
    second.close()
