"""Liquid water: 64 molecules at 300 K and 0.997 g/cm³ through OpenMM and LAMMPS.

For the teacher's curve, an hour on one core:
``water so3lr --engines ours --length-ps 5 --equilibration-ps 2 --start runs/physics/<student>/start.extxyz``.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
import torch
from ase import Atoms
from ase.io import read, write

from benchmarks.physics.liquid import ENGINES, Bath, Piece
from benchmarks.physics.radial_distribution import difference, experiment, goo, mean_difference, mean_of
from benchmarks.physics.record import Job, check, metric, say
from mlff_core.atomic_write import atomic_stream
from mlff_core.dynamics.state import thermal_velocities
from mlff_core.errors import InputError
from mlff_core.judging.physics.relaxation import relaxed
from mlff_core.judging.physics.trajectory import Array
from mlff_core.structures.reading import batch_from_atoms
from mlff_plugins.benchmark.systems import water_box

VOLUME = 18.01528 / 0.997 / 0.602214076
"""Å³ a molecule: mass over density."""
EVERY = 20
"""Number of steps between frames, 10 fs in total."""
N_BLOCKS = 5
LONGEST_OH = 1.5
"""Å; a molecule with a longer O–H distance is broken."""


def broken_molecules(positions: Array, side: float) -> int:
    """Return the number of molecules, O H H each, with too long an O–H distance in any frame.

    positions (n_frames, n_atoms, 3) and side in Å.
    """
    molecules = positions.reshape(len(positions), -1, 3, 3)
    bonds = molecules[:, :, 1:] - molecules[:, :, :1]
    bonds -= side * np.round(bonds / side)
    too_far = ~(np.linalg.norm(bonds, axis=-1) <= LONGEST_OH)
    return int(too_far.any(axis=(0, 2)).sum())


def first_start(job: Job, n_molecules: int) -> Atoms:
    """Return a box of water relaxed by the model, with velocities of 300 K."""
    atoms = water_box(n_molecules)
    atoms.set_cell([(n_molecules * VOLUME) ** (1 / 3)] * 3, scale_atoms=True)
    batch = batch_from_atoms(atoms, dtype=torch.float64)
    say(f"relaxing {n_molecules} molecules of water")
    atoms.set_positions(relaxed(job.load("float32"), batch, fmax=0.1, max_steps=30).positions.cpu().numpy())
    masses = atoms.get_masses()[:, None]
    atoms.set_velocities(thermal_velocities(masses, Bath.temperature_kelvin, np.random.default_rng(1)))
    return atoms


class Run:
    """A run of one engine in pieces; a killed process continues after the last complete piece.

    Parameters
    ----------
    job
        The check.
    engine
        Name of the engine.
    label
        Purpose of the run; part of the file name.
    """

    def __init__(self, job: Job, engine: str, label: str) -> None:
        self.job, self.engine, self.label = job, engine, label
        self.path = job.work / f"water-{label}-{engine}.npz"
        self.positions, self.temperatures, self.cpu_seconds, self.n_pieces = [], [], 0.0, 0

    def run(self, start: Atoms, n_pieces: int, frames: int) -> Atoms:
        """Run until there are ``n_pieces`` pieces of ``frames`` frames each, and return the last structure."""
        atoms = start.copy()
        if self.path.exists():
            with np.load(self.path) as found:
                if not np.array_equal(found["start"], start.positions) or int(found["frames"]) != frames:
                    raise InputError(f"{self.path} belongs to another start or piece; move it away to start again")
                self.positions = list(found["positions"])
                self.temperatures = list(found["temperatures"])
                self.cpu_seconds, self.n_pieces = float(found["cpu_seconds"]), len(self.positions) // frames
                atoms.set_positions(found["end"])
                atoms.set_velocities(found["velocities"])
        potential = self.job.load("float32")
        while self.n_pieces < n_pieces:
            before = time.process_time()
            piece = ENGINES[self.engine](potential, atoms, Bath(), frames, EVERY, self.n_pieces)
            self.cpu_seconds += time.process_time() - before
            self._append(piece, start, frames)
            atoms = piece.atoms
            kelvin, minutes = piece.temperatures.mean(), self.cpu_seconds / 60
            done = f"piece {self.n_pieces} of {n_pieces}"
            say(f"{self.label}, {self.engine}: {done}, {kelvin:.0f} K, {minutes:.1f} minutes of processor time")
        return atoms

    def _append(self, piece: Piece, start: Atoms, frames: int) -> None:
        # float32 is accurate enough here and halves the file.
        self.positions += list(piece.positions.astype(np.float32))
        self.temperatures += list(piece.temperatures)
        self.n_pieces += 1
        with atomic_stream(self.path) as stream:
            np.savez(
                stream,
                start=start.positions,
                frames=frames,
                positions=np.array(self.positions),
                temperatures=np.array(self.temperatures),
                end=piece.atoms.positions,
                velocities=piece.atoms.get_velocities(),
                cpu_seconds=self.cpu_seconds,
            )

    def row(self, side: float) -> dict[str, object]:
        """Return the results of the run."""
        positions, temperatures = np.array(self.positions, dtype=float), np.array(self.temperatures)
        blocks = [goo(block[:, ::3], side) for block in np.array_split(positions, N_BLOCKS)]
        curves = np.array([g for _, g in blocks])
        g = curves.mean(axis=0)
        return {
            "engine": self.engine,
            "length_ps": len(positions) * EVERY * Bath.timestep_fs * 1e-3,
            "broken_molecules": broken_molecules(positions, side),
            "temperature": float(temperatures.mean()),
            "temperature_error": _block_error(np.array([b.mean() for b in np.array_split(temperatures, N_BLOCKS)])),
            "r": blocks[0][0].round(3).tolist(),
            "g": g.round(4).tolist(),
            "g_error": [round(_block_error(column), 4) for column in curves.T],
            "first_peak": float(g.max()),
            "first_peak_at": float(blocks[0][0][g.argmax()]),
        }


def _block_error(values: Array) -> float:
    """Return the standard error of the mean of blocks."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))


@check(
    "water",
    click.option(
        "--engines", default="openmm,lammps", show_default=True, help="Engines: ours (mlff-hub), openmm, lammps."
    ),
    click.option("--length-ps", type=float, help="Length of each run, ps; 20 by default."),
    click.option("--equilibration-ps", type=float, help="Equilibration before the runs, ps; 5 by default."),
    click.option("--start", type=click.Path(path_type=Path), help="Start from this structure and its velocities."),
)
def command(
    job: Job, engines: str, length_ps: float | None, equilibration_ps: float | None, start: Path | None
) -> None:
    """Run 64 molecules of water for 20 ps in each engine and compare their structure."""
    piece_ps = job.size(0.5, 0.05)
    frames = round(1e3 * piece_ps / Bath.timestep_fs / EVERY)
    equilibration = job.size(5.0, 0.05) if equilibration_ps is None else equilibration_ps
    length = length_ps or job.size(20.0, 0.1)
    path = job.work / "start.extxyz"
    if not path.exists():
        atoms = read(start) if start else first_start(job, job.size(64, 8))
        before = job.work / "water-before.extxyz"
        if not before.exists():
            _write(before, atoms)
        bath = Run(job, "ours", "equilibration")
        _write(path, bath.run(read(before), round(equilibration / piece_ps), frames))
        bath.path.unlink(missing_ok=True)
    atoms = read(path)
    side = float(atoms.cell.lengths()[0])
    rows, seconds = [], 0.0
    for engine in engines.split(","):
        run = Run(job, engine, "run")
        run.run(atoms, round(length / piece_ps), frames)
        rows.append(run.row(side))
        seconds += run.cpu_seconds
    temperatures = [row["temperature"] for row in rows]
    off = max(abs(value / Bath.temperature_kelvin - 1) for value in temperatures)
    metrics = [
        metric("water, molecules broken", sum(row["broken_molecules"] for row in rows), "", 0),
        metric("water, temperature off", 100 * off, "%", 3.0),
        *(metric(f"water, temperature in {row['engine']}", row["temperature"], "K") for row in rows),
        *(metric(f"water, first peak of g(OO) in {row['engine']}", row["first_peak"], "") for row in rows),
    ]
    if len(rows) == 2:
        largest, ratio = difference(*rows)
        metrics.append(metric("water, g(OO) of the two engines apart", ratio, "standard errors (rms)", 2.0))
        metrics.append(metric("water, g(OO) of the two engines, largest difference", largest, ""))
    if (measured := experiment()) is not None:
        mean = mean_of(rows)
        apart = mean_difference(mean["r"], mean["g"], *measured)
        metrics.append(metric("water, g(OO) from experiment, mean difference", apart, ""))
    metrics.append(metric("water, length of each run", min(row["length_ps"] for row in rows), "ps"))
    job.write("water", metrics, seconds, rows=rows)


def _write(path: Path, atoms: Atoms) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part.extxyz")
    write(beside, atoms, format="extxyz")
    beside.replace(path)
