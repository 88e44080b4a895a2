"""Torsion scans: the energy over one or two torsion angles, all else relaxed or rigid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from mlff_core.dynamics.batched_relaxation import relax_many
from mlff_core.dynamics.held_torsions import Torsion
from mlff_core.errors import InputError
from mlff_core.judging.physics.torsion import turned
from mlff_core.potentials.frames import predict_frames
from mlff_core.potentials.interface import Potential
from mlff_core.structures.bonds import bonded
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.units import KCAL_MOL_PER_EV

if TYPE_CHECKING:
    from ase import Atoms

Array = npt.NDArray[np.float64]

ROUNDS = 30
"""Most rounds in which points of a relaxed scan start again from their neighbours."""

STRAIGHT = 165.0
"""Three atoms at a larger angle lie on a line, degrees."""

LOWER = 1e-3
"""A point that starts from a neighbour replaces the old one if its energy is lower by more than this, eV."""


@dataclass(frozen=True, eq=False)
class Scan:
    """Energies over a grid of torsion angles."""

    torsions: list[Torsion]
    angles_deg: Array
    """Angles of each point, shape (n_points, n_torsions), degrees, from −180."""
    frames: list[Atoms | None]
    """Geometry of each point; None where atoms would come as close as bonded ones, or a bond broke."""
    energies: Array
    """Shape (n_points,), eV; NaN where there is no geometry."""
    n_not_converged: int
    """Relaxations that did not converge."""
    teacher: Array | None = None
    """Energies of another potential at the same geometries, shape (n_points,), eV."""

    @property
    def relative_kcal_mol(self) -> Array:
        """Energies above the lowest, shape (n_points,), kcal/mol."""
        return above_lowest(self.energies)

    @property
    def teacher_relative_kcal_mol(self) -> Array | None:
        """The teacher's energies above its own lowest, shape (n_points,), kcal/mol."""
        return None if self.teacher is None else above_lowest(self.teacher)


def above_lowest(energies: Array) -> Array:
    """Return energies in kcal/mol above the lowest, shape (n,), of energies in eV; NaN stays.

    Examples
    --------
    >>> above_lowest(np.array([-1.0, np.nan, -0.9])).round(2).tolist()
    [0.0, nan, 2.31]
    """
    relative: Array = (energies - np.nanmin(energies)) * KCAL_MOL_PER_EV
    return relative


def torsion_choices(atoms: Atoms) -> list[Torsion]:
    """Return one torsion about each bond that can be turned, with a heavy atom at each end, or else with hydrogens."""
    near = bonded(atoms.positions, atoms.numbers)
    heavy = atoms.numbers > 1
    with_heavy_ends: list[Torsion] = []
    others: list[Torsion] = []
    for j, k in np.argwhere(np.triu(near) & heavy & heavy[:, None]).tolist():
        if _in_ring(near, j, k):
            continue
        # The neighbours of each end, heavy ones first.
        before, after = (
            sorted((int(a) for a in np.flatnonzero(near[end]) if a != other), key=lambda a: not heavy[a])
            for end, other in ((j, k), (k, j))
        )
        if before and after and not _is_straight(atoms, torsion := (before[0], j, k, after[0])):
            (with_heavy_ends if heavy[before[0]] and heavy[after[0]] else others).append(torsion)
    return with_heavy_ends or others


def _in_ring(near: npt.NDArray[np.bool_], j: int, k: int) -> bool:
    """Return whether atoms that are bonded, by a table (n_atoms, n_atoms), are connected without their bond too."""
    without = near.copy()
    without[j, k] = without[k, j] = False
    reached = np.zeros(len(near), dtype=bool)
    reached[k] = True
    for _ in range(len(near)):
        reached = reached | without[reached].any(axis=0)
    return bool(reached[j])


def check_torsion(atoms: Atoms, torsion: Torsion) -> None:
    """Check that a torsion is a chain of four bonded atoms about a bond that is in no ring.

    Raises
    ------
    InputError
        It is not.
    """
    named = "-".join(map(str, torsion))
    if not all(0 <= atom < len(atoms) for atom in torsion) or len(set(torsion)) < 4:
        raise InputError(f"the torsion {named} must be four different atoms of 0 to {len(atoms) - 1}; count from 0")
    near = bonded(atoms.positions, atoms.numbers)
    for a, b in pairwise(torsion):
        if not near[a, b]:
            raise InputError(
                f"the torsion {named} needs bonds between its atoms, but {atoms.symbols[a]} {a} and "
                f"{atoms.symbols[b]} {b} are {atoms.get_distance(a, b):.2f} Å apart; count atoms from 0, in the order "
                "of the file or of the SMILES"
            )
    if _is_straight(atoms, torsion):
        raise InputError(f"three atoms of the torsion {named} lie on a line, so it has no angle; choose another")
    _, j, k, _ = torsion
    if _in_ring(near, j, k):
        raise InputError(f"the middle bond of the torsion {named} is in a ring, so it cannot be turned; choose another")


def _is_straight(atoms: Atoms, torsion: Torsion) -> bool:
    """Return whether three successive atoms of a torsion lie on a line."""
    return bool(max(atoms.get_angle(*torsion[:3]), atoms.get_angle(*torsion[1:])) > STRAIGHT)


def at_angles(atoms: Atoms, torsions: Sequence[Torsion], angles_deg: Sequence[float]) -> Atoms:
    """Return a molecule with its torsions at these angles, degrees, turned about their bonds."""
    moved = atoms.copy()
    for torsion, angle in zip(torsions, angles_deg, strict=True):
        turn = angle - moved.get_dihedral(*torsion)
        batch = batch_from_atoms(moved, dtype=torch.float64)
        positions = turned(batch, (torsion[1], torsion[2]), turn).positions.numpy()
        moved.set_positions(moved.positions + positions - batch.positions.numpy())
    return moved


def scan(
    potential: Potential,
    atoms: Atoms,
    torsions: Sequence[Torsion],
    *,
    n: int,
    rigid: bool = False,
    fmax: float = 0.01,
    max_steps: int = 1000,
    teacher: Potential | None = None,
    on_done: Callable[[int], None] | None = None,
) -> Scan:
    """Return the energies over a full turn of one torsion, or over all pairs of angles of two.

    A rigid scan only turns the molecule about its bonds. In a relaxed one each point is relaxed from there with the
    torsions held, and then points start again from the geometries of their neighbours, as long as that lowers an
    energy: the energy of a point does not depend on the way to it (Y. Qiu et al., J. Chem. Phys. 152, 244116 (2020),
    doi:10.1063/5.0009232). All points of a round are computed in batches.

    Parameters
    ----------
    potential
        Gives energies and forces.
    atoms
        The molecule, at a minimum.
    torsions
        One or two.
    n
        Number of angles of each, evenly spaced over a full turn.
    rigid
        Turn only, do not relax.
    fmax, max_steps
        See :func:`~mlff_core.dynamics.batched_relaxation.relax_many`.
    teacher
        Another potential, to compute the same geometries.
    on_done
        Called with the number of finished points.

    Raises
    ------
    InputError
        A torsion cannot be turned, or no point is left.
    """
    if not 1 <= len(torsions) <= 2:
        raise InputError(f"a scan is of one or two torsions, got {len(torsions)}; leave some out")
    if len({frozenset(torsion[1:3]) for torsion in torsions}) < len(torsions):
        raise InputError("the two torsions are about the same bond, which turns both; choose two bonds")
    for torsion in torsions:
        check_torsion(atoms, torsion)
    angles = np.array(list(product(-180.0 + 360.0 * np.arange(n) / n, repeat=len(torsions))))
    grid = _Grid(potential, atoms, list(torsions), angles, n)
    starts = grid.starts([(atoms, k) for k in range(len(angles))])
    if rigid:
        grid.evaluate(starts, on_done)
    else:
        changed = grid.relax(starts, fmax, max_steps, on_done)
        for _ in range(ROUNDS):
            if not changed:
                break
            origins = [(grid.frame(k), m) for k in changed for m in grid.neighbours(k)]
            changed = grid.relax(grid.starts(origins), fmax, max_steps, None)
    here = [k for k, frame in enumerate(grid.frames) if frame is not None]
    if not here:
        raise InputError(
            f"no point of the scan is left with {potential.card.name}: at every angle atoms come as close as bonded "
            "ones, or a bond breaks; give a less crowded molecule, or another model"
        )
    of_teacher = None
    if teacher is not None:
        of_teacher = np.full(len(angles), np.nan)
        rows = predict_frames(teacher, [grid.frame(k) for k in here], want=("energy",))
        of_teacher[here] = [row["energy"] for row in rows]
    return Scan(list(torsions), angles, grid.frames, grid.energies, int(grid.unfinished[here].sum()), of_teacher)


class _Grid:
    """The points of a scan, with the best geometry found for each."""

    def __init__(self, potential: Potential, atoms: Atoms, torsions: list[Torsion], angles: Array, n: int) -> None:
        self.potential, self.torsions, self.angles, self.n = potential, torsions, angles, n
        self.bonds = bonded(atoms.positions, atoms.numbers)
        self.frames: list[Atoms | None] = [None] * len(angles)
        self.energies = np.full(len(angles), np.nan)
        self.unfinished = np.zeros(len(angles), dtype=bool)

    def frame(self, k: int) -> Atoms:
        """Return the geometry of a point that has one."""
        frame = self.frames[k]
        assert frame is not None
        return frame

    def neighbours(self, k: int) -> list[int]:
        """Return the points next to a point of the grid."""
        if len(self.torsions) == 1:
            return [(k - 1) % self.n, (k + 1) % self.n]
        row, column = divmod(k, self.n)
        rows = [(row + step) % self.n * self.n + column for step in (-1, 1)]
        return rows + [row * self.n + (column + step) % self.n for step in (-1, 1)]

    def starts(self, origins: list[tuple[Atoms, int]]) -> list[tuple[Atoms, int]]:
        """Return molecules turned to the angles of points, without those whose atoms came as close as bonded ones."""
        made = [(at_angles(atoms, self.torsions, self.angles[k]), k) for atoms, k in origins]
        return [(atoms, k) for atoms, k in made if not (bonded(atoms.positions, atoms.numbers) & ~self.bonds).any()]

    def evaluate(self, starts: list[tuple[Atoms, int]], on_done: Callable[[int], None] | None) -> None:
        """Set energies and geometries of points without relaxing."""
        rows = predict_frames(self.potential, [atoms for atoms, _ in starts], want=("energy",), on_frames=on_done)
        for (atoms, k), row in zip(starts, rows, strict=True):
            self.frames[k], self.energies[k] = atoms, row["energy"]

    def relax(
        self, starts: list[tuple[Atoms, int]], fmax: float, max_steps: int, on_done: Callable[[int], None] | None
    ) -> list[int]:
        """Relax from these geometries and return the points whose energies became lower."""
        if not starts:
            return []
        done = relax_many(
            self.potential,
            [atoms for atoms, _ in starts],
            hold=[self.torsions] * len(starts),
            fmax=fmax,
            max_steps=max_steps,
            on_done=on_done,
        )
        lower = set()
        for (_, k), one in zip(starts, done, strict=True):
            whole = bonded(one.atoms.positions, one.atoms.numbers)[self.bonds].all()
            if whole and not one.energy > self.energies[k] - LOWER:  # also where there was none
                self.frames[k], self.energies[k] = one.atoms, one.energy
                self.unfinished[k] = not one.converged
                lower.add(k)
        return sorted(lower)
