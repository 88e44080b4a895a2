"""Frames of liquids: ``python liquids.py MODEL LIST.smi OUT.extxyz [--boxes N] [--frames N]``.

Each line of the list has a molecule, or several in equal numbers separated by dots, and the density of the liquid,
g/cm³; a repeated line gets more boxes. A periodic box of about 100 atoms starts at low density, is compressed to within
8 % of the given density in the dynamics of a student, and then runs at 270 to 450 K until a molecule breaks. With
``--breaking`` the frames before a broken molecule are written, none if no molecule breaks: their labels correct the
student where it is wrong. If the script is killed, run it again: it continues with the next box.
"""

from __future__ import annotations

import argparse
import shutil
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms, units
from ase.data import covalent_radii
from scipy.spatial.transform import Rotation

import mlff_core
from mlff_core.data.sampling.conformers import conformers
from mlff_core.dynamics.integrators import Langevin
from mlff_core.dynamics.state import first_state, thermal_velocities
from mlff_core.dynamics.surface import HostSurface
from mlff_core.errors import MlffError
from mlff_core.potentials.interface import Potential
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.units import EV_PER_KELVIN, FS_PER_TIME_UNIT

N_ATOMS = 100
THIN = 1.8
"""Initial side of the box divided by its final side."""
PRESSINGS = 50
STEPS_BETWEEN_PRESSINGS = 20
TIMESTEP_FS = 0.5
FRICTION_PER_FS = 0.02
EQUILIBRATION_STEPS = 2000
STEPS_BETWEEN_FRAMES = 200
STEPS_BETWEEN_BREAKING_FRAMES = 16
LONGEST_BOND = 1.5
"""Largest bond length divided by the sum of covalent radii."""


def thin_box(molecules: list[Atoms], density: float, rng: np.random.Generator) -> tuple[Atoms, np.ndarray]:
    """Return a box with randomly rotated molecules on a lattice, and the molecule of each atom."""
    count = max(2, round(N_ATOMS / sum(len(molecule) for molecule in molecules)))
    placed = [molecules[k % len(molecules)] for k in rng.permutation(count * len(molecules))]
    grams = sum(molecule.get_masses().sum() for molecule in placed) / units.mol
    side = THIN * (grams / density * 1e24) ** (1 / 3)
    per_side = int(np.ceil(len(placed) ** (1 / 3)))
    sites = np.stack(np.meshgrid(*[np.arange(per_side)] * 3), -1).reshape(-1, 3) * (side / per_side)
    box = Atoms(cell=[side] * 3, pbc=True)
    for molecule, site in zip(placed, rng.permutation(sites), strict=False):
        turned = molecule.copy()
        turn = Rotation.random(random_state=int(rng.integers(2**31)))
        turned.positions = turn.apply(molecule.positions - molecule.positions.mean(axis=0)) + site
        box += turned
    return box, np.repeat(np.arange(len(placed)), [len(molecule) for molecule in placed])


def bonds_of(box: Atoms, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return atoms i, j of each bond and the sum of their covalent radii, Å."""
    i, j = np.nonzero(np.triu(owner[:, None] == owner[None], 1))
    reach = covalent_radii[box.numbers[i]] + covalent_radii[box.numbers[j]]
    bonded = np.linalg.norm(box.positions[i] - box.positions[j], axis=1) < 1.25 * reach
    return i[bonded], j[bonded], reach[bonded]


def press(box: Atoms, owner: np.ndarray, factor: float) -> None:
    """Scale the cell and the centres of the molecules by a factor; molecules keep their shape."""
    centres = np.array([box.positions[owner == k].mean(axis=0) for k in range(owner[-1] + 1)])
    box.positions += (factor - 1.0) * centres[owner]
    box.set_cell(box.cell * factor)


def move(potential: Potential, box: Atoms, n_steps: int, kelvin: float, rng: np.random.Generator) -> None:
    """Run a box in a bath."""
    surface = HostSurface(potential, batch_from_atoms(box))
    integrator = Langevin(
        surface,
        box.get_masses()[:, None],
        TIMESTEP_FS / FS_PER_TIME_UNIT,
        EV_PER_KELVIN * kelvin,
        FRICTION_PER_FS * FS_PER_TIME_UNIT,
        lambda: rng.standard_normal(box.positions.shape),
    )
    state = first_state(box.get_positions(), box.get_velocities(), np.asarray(box.cell)[None])
    state = surface.refresh(state, want_stress=False)
    for _ in range(n_steps):
        state = integrator.advance(state, want_stress=False)
    box.set_positions(state.positions)
    box.set_velocities(state.velocities)


def make_liquid(potential: Potential, box: Atoms, owner: np.ndarray, kelvin: float, rng: np.random.Generator) -> None:
    """Compress a box to its density."""
    box.set_velocities(thermal_velocities(box.get_masses()[:, None], kelvin, rng))
    for _ in range(PRESSINGS):
        press(box, owner, THIN ** (-1.0 / PRESSINGS))
        move(potential, box, STEPS_BETWEEN_PRESSINGS, kelvin, rng)


def frames_of(
    potential: Potential, box: Atoms, owner: np.ndarray, kelvin: float, n_frames: int, rng: np.random.Generator
) -> Iterator[Atoms]:
    """Yield frames of the compressed liquid until a molecule breaks."""
    bonds = bonds_of(box, owner)
    make_liquid(potential, box, owner, kelvin, rng)
    move(potential, box, EQUILIBRATION_STEPS, kelvin, rng)
    for _ in range(n_frames):
        move(potential, box, STEPS_BETWEEN_FRAMES, kelvin, rng)
        if is_broken(box, bonds):
            print("  a molecule broke", flush=True)
            return
        yield frame_of(box)


def breaking_frames_of(
    potential: Potential, box: Atoms, owner: np.ndarray, kelvin: float, n_frames: int, rng: np.random.Generator
) -> Iterator[Atoms]:
    """Yield the last frames before a molecule breaks; none if none breaks in the time of as many usual frames."""
    bonds, last = bonds_of(box, owner), deque[Atoms](maxlen=n_frames)
    make_liquid(potential, box, owner, kelvin, rng)
    try:
        for _ in range((EQUILIBRATION_STEPS + n_frames * STEPS_BETWEEN_FRAMES) // STEPS_BETWEEN_BREAKING_FRAMES):
            last.append(frame_of(box))
            move(potential, box, STEPS_BETWEEN_BREAKING_FRAMES, kelvin, rng)
            if is_broken(box, bonds):
                break
        else:
            return
    except MlffError as error:  # what breaks may end with overlapping atoms
        print(f"  {error}", flush=True)
    yield from last


def is_broken(box: Atoms, bonds: tuple[np.ndarray, np.ndarray, np.ndarray]) -> bool:
    """Return whether a bond is too long."""
    i, j, reach = bonds
    return bool((np.linalg.norm(box.positions[i] - box.positions[j], axis=1) > LONGEST_BOND * reach).any())


def frame_of(box: Atoms) -> Atoms:
    """Return a copy of the current box."""
    frame = Atoms(box.numbers, box.positions, cell=box.cell, pbc=True)
    frame.info["kind"] = "liquid"
    return frame


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("list", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--boxes", type=int, default=2, help="boxes for each line")
    parser.add_argument("--frames", type=int, default=10, help="frames of each box")
    parser.add_argument("--breaking", action="store_true", help="frames on the way to a broken molecule")
    parser.add_argument("--limit", type=int, help="lines of the list")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    potential = mlff_core.load(asked.model)
    parts = asked.out.with_suffix(".boxes")
    parts.mkdir(parents=True, exist_ok=True)
    lines = [line.split(maxsplit=2) for line in asked.list.read_text().splitlines() if line.strip()][: asked.limit]
    for number, (smiles, density, name) in enumerate(lines):
        starts = [conformers(part, 1, asked.seed)[0] for part in smiles.split(".")]
        molecules = [Atoms(start.atomic_numbers, start.positions) for start in starts]
        for turn in range(asked.boxes):
            part = parts / f"{number:03d}-{turn}.extxyz"
            if part.exists():
                continue
            rng = np.random.default_rng([asked.seed, number, turn])
            kelvin, squeeze = rng.uniform(270.0, 450.0), rng.uniform(0.92, 1.08)
            box, owner = thin_box(molecules, squeeze * float(density), rng)
            found: list[Atoms] = []
            try:
                follow = breaking_frames_of if asked.breaking else frames_of
                found.extend(follow(potential, box, owner, kelvin, asked.frames, rng))
            except MlffError as error:  # overlapping atoms, say
                print(f"  {error}", flush=True)
            save(part, found)
            print(f"{name}: {len(box)} atoms, {kelvin:.0f} K, {len(found)} frames", flush=True)
    save(asked.out, [frame for part in sorted(parts.iterdir()) for frame in frames_in(part)])
    shutil.rmtree(parts)


def save(path: Path, frames: list[Atoms]) -> None:
    """Write all frames or, if the script is killed, none."""
    unfinished = path.with_suffix(".tmp")
    ase.io.write(unfinished, frames, format="extxyz")
    unfinished.replace(path)


def frames_in(path: Path) -> list[Atoms]:
    """Return the frames of a file, which may be empty."""
    return [] if path.stat().st_size == 0 else ase.io.read(path, ":")


if __name__ == "__main__":
    main()
