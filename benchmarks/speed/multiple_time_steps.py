"""Multiple time steps: speed, energy conservation and distributions: ``python -m benchmarks multiple_time_steps``.

    python -m benchmarks multiple_time_steps --structure aspirin.extxyz [--model NAME=FILE ...] [--only PART ...]

Each row is written as soon as it is measured, and rows in the JSON file are not measured again. Models in FILE get the
name that is given; the names of the rows below are looked up among them, then among the shipped models and teachers.
One thread; times are processor time, since the machine may have other work, and those to compare are interleaved.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from benchmarks.command import parser, use_threads, write
from benchmarks.physics.dihedrals import dihedral, distribution
from benchmarks.physics.radial_distribution import goo
from mlff_core.cli.any_potential import open_potential
from mlff_core.dynamics.integrators import Langevin, VelocityVerlet
from mlff_core.dynamics.masses import with_heavy_hydrogens
from mlff_core.dynamics.multiple_time_steps import MultipleTimeSteps
from mlff_core.dynamics.state import Array, MDState, first_state, thermal_velocities, without_drift
from mlff_core.dynamics.surface import HostSurface
from mlff_core.errors import InputError
from mlff_core.potentials.interface import Potential
from mlff_core.structures.reading import batch_from_atoms, read_structures
from mlff_core.units import EV_PER_KELVIN, FS_PER_TIME_UNIT
from mlff_plugins.benchmark.systems import build

INNER_FS = 0.5
KELVIN = 300.0
HEAVY = 3.0
PEPTIDE = "CC(=O)N[C@@H](C)C(=O)NC"
PHI, PSI = (1, 3, 4, 6), (3, 4, 6, 8)
"""Atoms of the dihedral angles of alanine dipeptide, in the order of its SMILES."""


@dataclass(frozen=True)
class Way:
    """Potentials and steps of a run."""

    outer: str
    inner: str | None = None
    n_inner: int = 1
    heavy: bool = False

    @property
    def row(self) -> dict[str, Any]:
        """Return the entries that name it in a row."""
        return {
            "outer": self.outer,
            "inner": self.inner,
            "outer_step_fs": self.n_inner * INNER_FS,
            "hydrogen_mass": HEAVY if self.heavy else None,
        }


INNERS = ("organic-ultra-tiny", "organic-tiny", "organic-original")
TUNED = ("tuned-ultra-tiny", "tuned-tiny", "tuned-original")
TEACHER = [
    Way("so3lr"),
    *(Way("so3lr", inner, k) for inner in (*INNERS, *TUNED) for k in (4, 6, 8)),
    *(Way("so3lr", inner, k, heavy=True) for inner in ("organic-original", *TUNED) for k in (8, 10, 12)),
]
SPEED = [Way("so3lr"), *(Way("so3lr", inner, k) for inner in INNERS for k in (4, 6, 8, 10, 12))]
"""Speed depends on the size of the inner model, not on its weights."""
STUDENT = [
    Way("organic-original"),
    *(Way("organic-original", "organic-ultra-tiny", k) for k in (2, 3, 4, 6)),
    *(Way("organic-original", "organic-ultra-tiny", k, heavy=True) for k in (4, 6, 8)),
]


class Bench:
    """The structures, the models, and the moving of one in the other."""

    def __init__(self, models: dict[str, Path]) -> None:
        self.models = models

    @cache  # noqa: B019  # lives as long as the program
    def potential(self, name: str) -> Potential:
        """Return a model or teacher in float32."""
        found, _ = open_potential(str(self.models.get(name, name)), device="cpu", dtype="float32", guard="off")
        return found

    def is_here(self, way: Way) -> bool:
        """Return whether its models were given."""
        return not any(name.startswith("tuned-") and name not in self.models for name in (way.outer, way.inner or ""))

    def start(self, frames: list[Atoms], relaxing: str, heavy: bool, seed: int) -> tuple[MDState[Array], Array, Any]:
        """Return frames after 1 ps of Langevin dynamics of a cheap model, their masses (n_atoms, 1), amu, and batch."""
        batch = batch_from_atoms(frames)
        masses = np.concatenate(
            [with_heavy_hydrogens(frame, HEAVY) if heavy else frame.get_masses() for frame in frames]
        )[:, None]
        random = np.random.default_rng(seed)
        surface = HostSurface(self.potential(relaxing), batch)
        velocities = thermal_velocities(masses, KELVIN, random)
        state = first_state(batch.positions.double().numpy(), velocities, batch.cell.double().numpy())
        state = surface.refresh(state, want_stress=False)
        bath = bathed(surface, masses, INNER_FS, 10.0, random)
        for _ in range(2000):
            state = bath.advance(state, want_stress=False)
        return first_state(state.positions, state.velocities, state.cell), masses, batch

    def steps(
        self, way: Way, batch: Any, masses: Array, random: np.random.Generator | None, friction_per_ps: float = 1.0
    ) -> tuple[Any, HostSurface]:
        """Return the integrator of a way (in a bath where there are random numbers), and its outer surface."""
        outer = HostSurface(self.potential(way.outer), batch)
        surface = outer if way.inner is None else HostSurface(self.potential(way.inner), batch)
        if random is None:
            inner: Any = VelocityVerlet(surface, masses, INNER_FS / FS_PER_TIME_UNIT)
        else:
            inner = bathed(surface, masses, INNER_FS, friction_per_ps, random)
        return (inner if way.inner is None else MultipleTimeSteps(outer, inner, way.n_inner)), outer


def bathed(
    surface: HostSurface, masses: Array, timestep_fs: float, friction_per_ps: float, random: np.random.Generator
) -> Langevin[Array]:
    """Return Langevin dynamics at 300 K; ``masses`` has shape (n_atoms, 1), amu."""
    return Langevin(
        surface,
        masses,
        timestep_fs / FS_PER_TIME_UNIT,
        EV_PER_KELVIN * KELVIN,
        friction_per_ps * FS_PER_TIME_UNIT / 1000.0,
        lambda: random.standard_normal((len(masses), 3)),
    )


def conservation(bench: Bench, way: Way, frame: Atoms, length_ps: float) -> dict[str, Any]:
    """Return drift and fluctuation of the total energy in NVE; both None if the run broke."""
    start, masses, batch = bench.start([frame], "organic-tiny", way.heavy, seed=1)
    start = first_state(start.positions, without_drift(start.velocities, masses), start.cell)
    stepper, outer = bench.steps(way, batch, masses, None)
    state = outer.refresh(start, want_stress=False)
    times, energies = [], []
    began = time.process_time()
    try:
        for k in range(1, round(1000 * length_ps / INNER_FS / way.n_inner) + 1):
            state = stepper.advance(state, want_stress=False)
            times.append(k * way.n_inner * INNER_FS / 1000)
            energies.append(1e3 * (state.energy + state.kinetic_energy(masses)) / len(masses))
    except InputError as error:
        return {"broke": str(error), "drift_mev_per_atom_ps": None, "fluctuation_mev_per_atom": None}
    drift, offset = np.polyfit(times, energies, 1)
    rest = np.array(energies) - drift * np.array(times) - offset
    return {
        "length_ps": length_ps,
        "drift_mev_per_atom_ps": float(drift),
        "fluctuation_mev_per_atom": float(rest.std()),
        "cpu_seconds": time.process_time() - began,
    }


def throughput(bench: Bench, ways: list[Way], frames: list[Atoms], rounds: int, piece_fs: float) -> list[float]:
    """Return ns/day of processor time of each way: the median of interleaved pieces."""
    runs = []
    for way in ways:
        start, masses, batch = bench.start(frames, "organic-ultra-tiny", way.heavy, seed=2)
        stepper, outer = bench.steps(way, batch, masses, np.random.default_rng(0))
        runs.append([stepper, outer.refresh(start, want_stress=False)])
    rates: list[list[float]] = [[] for _ in ways]
    for turn in range(rounds + 1):
        for way, run, own in zip(ways, runs, rates, strict=True):
            n_steps = max(1, round(piece_fs / INNER_FS / way.n_inner))
            began = time.process_time()
            for _ in range(n_steps):
                run[1] = run[0].advance(run[1], want_stress=False)
            if turn:  # the first warms up
                seconds = time.process_time() - began
                own.append(n_steps * way.n_inner * INNER_FS * 86400e-6 / seconds)
    return [float(np.median(own)) for own in rates]


def sampled(bench: Bench, way: Way, frames: list[Atoms], length_ps: float, seed: int) -> tuple[Array, float, float]:
    """Return positions every 20 fs, (n_frames, n_systems, n_atoms, 3), Å, mean temperature, kelvin, and CPU time, s."""
    start, masses, batch = bench.start(frames, "organic-ultra-tiny", way.heavy, seed)
    stepper, outer = bench.steps(way, batch, masses, np.random.default_rng(1000 + seed))
    state = outer.refresh(start, want_stress=False)
    n_steps, every = round(1000 * length_ps / INNER_FS / way.n_inner), max(1, round(20 / INNER_FS / way.n_inner))
    positions, kinetic = [], []
    began = time.process_time()
    for k in range(1, n_steps + 1):
        state = stepper.advance(state, want_stress=False)
        if k > n_steps // 10 and k % every == 0:  # a tenth for the way's own potential to take over
            positions.append(state.positions.reshape(len(frames), -1, 3))
            kinetic.append(state.kinetic_energy(masses))
    temperature = 2 * float(np.mean(kinetic)) / (3 * len(masses) * EV_PER_KELVIN)
    return np.array(positions), temperature, time.process_time() - began


def peptide(bench: Bench, way: Way, length_ps: float, copies: int, seed: int) -> dict[str, Any]:
    """Return the distributions of the two dihedral angles of alanine dipeptide."""
    frames = read_structures(PEPTIDE) * copies
    positions, temperature, seconds = sampled(bench, way, frames, length_ps, seed)
    return {
        "phi": distribution(dihedral(positions, PHI)),
        "psi": distribution(dihedral(positions, PSI)),
        "temperature_kelvin": temperature,
        "cpu_seconds": seconds,
        "length_ps": length_ps,
        "copies": copies,
    }


def water(bench: Bench, way: Way, length_ps: float, seed: int) -> dict[str, Any]:
    """Return g(r) of oxygens in a box of 24 molecules, with its error over eight parts of the run."""
    (frame,) = build("water-72")
    positions, temperature, seconds = sampled(bench, way, [frame], length_ps, seed)
    oxygens = positions[:, 0, frame.numbers == 8]
    curves = [goo(part, float(frame.cell[0, 0])) for part in np.array_split(oxygens, 8)]
    g = np.array([curve for _, curve in curves])
    return {
        "r": curves[0][0].tolist(),
        "g": g.mean(axis=0).tolist(),
        "g_error": (g.std(axis=0, ddof=1) / np.sqrt(len(g))).tolist(),
        "temperature_kelvin": temperature,
        "cpu_seconds": seconds,
        "length_ps": length_ps,
    }


def plain_and_split() -> Iterator[tuple[Way, int]]:
    """Yield the ways whose distributions are compared, with their seeds: the plain one twice."""
    yield from ((Way("organic-original"), seed) for seed in (0, 1))
    yield Way("organic-original", "organic-ultra-tiny", 4), 2
    yield Way("organic-original", "organic-ultra-tiny", 6, heavy=True), 3


def main() -> None:
    """Measure what is not in the file yet."""
    options = parser(__doc__, "multiple_time_steps.json")
    options.add_argument("--structure", required=True, help="relaxed structure for speed and energy: aspirin")
    options.add_argument("--model", action="append", default=[], metavar="NAME=FILE")
    parts = ("speed", "energy", "water", "peptide")
    options.add_argument("--only", nargs="+", choices=parts, default=parts)
    options.add_argument("--length-ps", type=float, default=1.0, help="of each run of the part energy")
    options.add_argument("--peptide-ps", type=float, default=5.0)
    options.add_argument("--water-ps", type=float, default=20.0)
    arguments = options.parse_args()
    use_threads(1, flush_denormals=True)
    models = {name: Path(path) for name, path in (pair.split("=", 1) for pair in arguments.model)}
    bench, frame = Bench(models), read_structures(arguments.structure)[0]
    content: dict[str, Any] = {"structure": frame.get_chemical_formula(), "inner_step_fs": INNER_FS}
    if arguments.out.exists():
        content = json.loads(arguments.out.read_text())

    def missing(part: str, row: dict[str, Any]) -> bool:
        return not any(row.items() <= found.items() for found in content.setdefault(part, []))

    def add(part: str, row: dict[str, Any]) -> None:
        content[part].append(row)
        write(arguments.out, content)
        print(part, {key: value for key, value in row.items() if not isinstance(value, list | dict)}, flush=True)

    if "speed" in arguments.only:
        many = {"system": "aspirin", "copies": 1}, {"system": "aspirin", "copies": 16}
        for ways, where in ((SPEED, many[0]), (STUDENT, many[0]), (STUDENT, many[1])):
            chosen = [way for way in ways if bench.is_here(way)]
            if missing("speed", {**chosen[0].row, **where}):
                rates = throughput(bench, chosen, [frame] * where["copies"], 3, 24.0 if ways is SPEED else 48.0)
                for way, rate in zip(chosen, rates, strict=True):
                    add("speed", {**way.row, **where, "cpu_ns_per_day": rate, "factor": rate / rates[0]})
    if "energy" in arguments.only:
        for way in itertools.chain(TEACHER, STUDENT):
            if bench.is_here(way) and missing("energy", way.row):
                add("energy", {**way.row, **conservation(bench, way, frame, arguments.length_ps)})
    for part in ("water", "peptide"):
        for way, seed in plain_and_split() if part in arguments.only else ():
            row = {**way.row, "seed": seed}
            if missing(part, row):
                if part == "water":
                    add(part, {**row, **water(bench, way, arguments.water_ps, seed)})
                else:
                    add(part, {**row, **peptide(bench, way, arguments.peptide_ps, 8, seed)})


if __name__ == "__main__":
    main()
