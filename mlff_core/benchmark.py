"""How long an MD step takes: moving atoms, neighbour search included, never the same structure twice."""

from __future__ import annotations

import platform
import re
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import covalent_radii

from mlff_core.batch import AtomicBatch
from mlff_core.errors import InputError, MlffError
from mlff_core.md.integrators import VelocityVerlet
from mlff_core.md.state import MDState, Surface, thermal_velocities, without_drift
from mlff_core.potential import Potential
from mlff_core.structures import batch_from_atoms
from mlff_core.units import FS_PER_TIME_UNIT

SYSTEMS = (
    "ethanol-9",
    "hexanol-21",
    "pentadecylamine-49",
    "pentadecylamine-49x32",
    "water-192",
    "water-648",
    "water-1536",
)
"""Timed unless others are asked for: a molecule of n atoms, ``x32`` a batch of 32 of them, a periodic box of water."""

CHAINS = {"ethanol-9": (2, 8), "hexanol-21": (6, 8), "hexylamine-22": (6, 7), "pentadecylamine-49": (15, 7)}
"""Carbon atoms in the chain, and the atomic number of its end."""

WATER_VOLUME = 29.97
"""Å³ a molecule, at 0.998 g/cm³."""

TIMESTEP_FS = 0.5
TEMPERATURE_KELVIN = 300.0
SHORTEST_REPEAT_S = 0.1


@dataclass(frozen=True)
class Timing:
    """How long steps of one system take.

    Parameters
    ----------
    system
        Its name.
    n_atoms, n_systems
        Of all structures together.
    ms_per_step
        Median over the repeats of the mean over the steps of a repeat, ms.
    ms_per_step_min, ms_per_step_max
        Fastest and slowest repeat, ms.
    atoms_per_s
        Atoms times steps in a second, by the median.
    ns_per_day
        At 0.5 fs a step.
    n_repeats, steps_per_repeat
        What was timed.
    neighbour_searches_per_step
        The others were served by the list under the skin.
    message
        Why there is no timing; empty where there is one.
    """

    system: str
    n_atoms: int
    n_systems: int
    ms_per_step: float | None = None
    ms_per_step_min: float | None = None
    ms_per_step_max: float | None = None
    atoms_per_s: float | None = None
    ns_per_day: float | None = None
    n_repeats: int = 0
    steps_per_repeat: int = 0
    neighbour_searches_per_step: float | None = None
    message: str = ""


def time_steps(
    potential: Potential,
    system: str,
    *,
    n_repeats: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Return how long steps of velocity Verlet at 300 K take, energy, forces and neighbours included.

    One trajectory runs through warm-up and repeats, so that every step has positions of its own and neighbour searches
    are as frequent as in a simulation. A system that the model does not know, or falls apart under, is a row with a
    message.

    Parameters
    ----------
    potential
        What is timed.
    system
        A name such as those in :data:`SYSTEMS`; ``water-N`` takes any multiple of three, ``xK`` any batch.
    n_repeats
        Of at least 0.1 s and 10 steps each.
    clock
        Seconds.

    Raises
    ------
    InputError
        No system has this name, or ``n_repeats`` is no positive number.
    """
    if n_repeats < 1:
        raise InputError(f"n_repeats must be at least 1, got {n_repeats}")
    frames = build(system)
    n_atoms = sum(len(frame) for frame in frames)
    masses = np.concatenate([frame.get_masses() for frame in frames])[:, None]
    batch = batch_from_atoms(frames, device=potential.device, dtype=potential.dtype)
    surface = Surface(potential, batch)
    stepper = VelocityVerlet(surface, masses, TIMESTEP_FS / FS_PER_TIME_UNIT)
    try:
        state = surface.refresh(_start(batch, masses), want_stress=False)
        state, seconds = _steps(stepper, state, 10, potential.device, clock)
        n_steps = max(10, int(np.ceil(SHORTEST_REPEAT_S / max(seconds / 10, 1e-9))))
        # The first calls of a compiled or tuned kernel take longer, so the length is found again after them.
        state, seconds = _steps(stepper, state, n_steps, potential.device, clock)
        n_steps = max(10, int(np.ceil(SHORTEST_REPEAT_S / max(seconds / n_steps, 1e-9))))
        builds = surface.n_builds
        times = []
        for _ in range(n_repeats):
            state, seconds = _steps(stepper, state, n_steps, potential.device, clock)
            times.append(seconds / n_steps)
    except MlffError as error:
        return Timing(system, n_atoms, len(frames), message=str(error))
    median = statistics.median(times)
    return Timing(
        system=system,
        n_atoms=n_atoms,
        n_systems=len(frames),
        ms_per_step=1e3 * median,
        ms_per_step_min=1e3 * min(times),
        ms_per_step_max=1e3 * max(times),
        atoms_per_s=n_atoms / median,
        ns_per_day=86400 / median * TIMESTEP_FS * 1e-6,
        n_repeats=n_repeats,
        steps_per_repeat=n_steps,
        neighbour_searches_per_step=(surface.n_builds - builds) / (n_repeats * n_steps),
    )


def _start(batch: AtomicBatch, masses: np.ndarray[Any, np.dtype[np.float64]]) -> MDState:
    positions = batch.positions.double().cpu().numpy()
    velocities = thermal_velocities(masses, TEMPERATURE_KELVIN, np.random.default_rng(0))
    cell = batch.cell.double().cpu().numpy()
    return MDState(0, positions, without_drift(velocities, masses), cell, float("nan"), np.zeros_like(positions))


def _steps(
    stepper: VelocityVerlet, state: MDState, n_steps: int, device: torch.device, clock: Callable[[], float]
) -> tuple[MDState, float]:
    """Return the state after the steps and the seconds they took."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = clock()
    for _ in range(n_steps):
        state = stepper.advance(state, want_stress=False)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return state, clock() - began


def build(system: str) -> list[Atoms]:
    """Return the structures of a system by its name, such as ``"ethanol-9"``, ``"hexanol-21x32"``, ``"water-504"``.

    A number alone is the molecule of so many atoms, or else so much water; ``"32x49"`` is a batch of 32 of it.

    Raises
    ------
    InputError
        No system has this name.

    Examples
    --------
    >>> [len(frame) for frame in build("hexanol-21x2")]
    [21, 21]
    >>> [frame.get_chemical_formula() for frame in build("2x22")]
    ['C6H15N', 'C6H15N']
    """
    if number := re.fullmatch(r"(?:(?P<copies>[1-9]\d*)x)?(?P<n_atoms>[1-9]\d*)", system):
        known = {name.rsplit("-", 1)[1]: name for name in CHAINS}
        one = known.get(number["n_atoms"], f"water-{number['n_atoms']}")
        return build(f"{one}x{number['copies']}" if number["copies"] else one)
    match = re.fullmatch(r"(?P<one>.+?)(x(?P<copies>[1-9]\d*))?", system)
    one, copies = (match["one"], int(match["copies"] or 1)) if match else (system, 1)
    if one in CHAINS:
        frame = chain(*CHAINS[one])
    elif (water := re.fullmatch(r"water-([1-9]\d*)", one)) and int(water[1]) % 3 == 0:
        frame = water_box(int(water[1]) // 3)
    else:
        raise InputError(
            f"no system is called {system!r}; there are {', '.join(CHAINS)}, each also as a batch such as x32, and "
            "water-N with N atoms, a multiple of 3; 49 and 32x49 are short for the molecule of 49 atoms, or water"
        )
    return [_shaken(frame, seed) for seed in range(copies)]


def chain(n_carbon: int, end: int) -> Atoms:
    """Return a stretched alkane whose last group is OH (``end`` 8) or NH₂ (7), with the bonds of an alkane.

    Examples
    --------
    >>> chain(2, 8).get_chemical_formula()
    'C2H6O'
    """
    heavy = [6] * n_carbon + [end]
    length, half = 1.52, np.deg2rad(111.5) / 2
    sites = np.array([[k * length * np.sin(half), (k % 2) * length * np.cos(half), 0.0] for k in range(len(heavy))])
    numbers, positions = list(heavy), list(sites)
    for k, number in enumerate(heavy):
        up = 1.0 if k % 2 else -1.0
        outward = np.array([0.0, up * np.cos(half), np.sin(half)])
        directions = [outward, outward * [1, 1, -1]]
        # Where the chain ends, a hydrogen takes the place of the next link.
        link = np.array([np.sin(half), -up * np.cos(half), 0.0])
        if k == 0:
            directions.append(link * [-1, 1, 1])
        if k == len(heavy) - 1:
            directions = [link, *directions][: {8: 1, 7: 2}[end]]
        bond = float(covalent_radii[number] + covalent_radii[1])
        numbers += [1] * len(directions)
        positions += [sites[k] + bond * direction for direction in directions]
    return Atoms(numbers=numbers, positions=positions)


def water_box(n_molecules: int) -> Atoms:
    """Return a periodic cube of water molecules at the density of the liquid, on a lattice, alike but for small turns.

    Examples
    --------
    >>> len(water_box(64)), water_box(64).cell.lengths().round(2).tolist()
    (192, [12.43, 12.43, 12.43])
    """
    from scipy.spatial.transform import Rotation

    side = (n_molecules * WATER_VOLUME) ** (1 / 3)
    per_side = int(np.ceil(round(n_molecules ** (1 / 3), 6)))
    grid = np.stack(np.meshgrid(*[np.arange(per_side)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    # Empty sites, where the number is no cube, are spread over the box.
    sites = grid[np.linspace(0, len(grid) - 1, n_molecules).round().astype(int)] * (side / per_side)
    angle = np.deg2rad(104.5)
    molecule = np.array([[0, 0, 0], [0.96, 0, 0], [0.96 * np.cos(angle), 0.96 * np.sin(angle), 0]])
    turns = Rotation.from_rotvec(np.random.default_rng(0).normal(scale=0.2, size=(n_molecules, 3)))
    positions = sites[:, None, :] + np.stack([turns.apply(atom) for atom in molecule], axis=1)
    return Atoms("OH2" * n_molecules, positions=positions.reshape(-1, 3), cell=[side] * 3, pbc=True)


def _shaken(frame: Atoms, seed: int) -> Atoms:
    """Return the structure with each atom moved a little, so that no two copies are alike."""
    frame = frame.copy()
    frame.positions += np.random.default_rng(seed).normal(scale=0.02, size=frame.positions.shape)
    return frame


def machine(device: torch.device) -> dict[str, Any]:
    """Return what the timings were taken on: processor, threads, device, versions."""
    packages = ("mlff-hub", "torch", "numpy", "ase", "vesin")
    return {
        "processor": _processor(),
        "platform": platform.platform(),
        "torch_threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "versions": {"python": platform.python_version(), **{name: metadata.version(name) for name in packages}},
    }


def commit() -> str | None:
    """Return the commit this package is run from, with ``-dirty`` where files have changed since.

    None where it is installed otherwise, or there is no git.
    """
    folder = Path(__file__).parents[1]
    if not (folder / ".git").exists():
        return None
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} × {names[0]}" if names else platform.processor()


def selected(names: Sequence[str]) -> list[str]:
    """Return the systems asked for, all of :data:`SYSTEMS` if none; each must exist.

    Raises
    ------
    InputError
        No system has one of the names.
    """
    chosen = [name.strip() for name in names if name.strip()] or list(SYSTEMS)
    for name in chosen:
        build(name)
    return chosen
