"""Relaxation of many structures in one batch, each to its own minimum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mlff_core.dynamics.batch_lbfgs import BatchLBFGS
from mlff_core.dynamics.held_torsions import HeldTorsions, Torsion, angles_and_gradients
from mlff_core.dynamics.relaxation import Relaxation
from mlff_core.dynamics.state import mobile_atoms
from mlff_core.errors import InputError, MlffError, UnsupportedError
from mlff_core.potentials.checks import check_results
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.structures.batch import AtomicBatch, concatenate, split
from mlff_core.structures.reading import batch_from_atoms

if TYPE_CHECKING:
    from ase import Atoms

BATCH_ATOMS = 4096
"""Atoms relaxed at once, about."""

FEWER = 0.7
"""The batch is made anew when fewer than this fraction of its structures is still moving."""


def relax_many(
    potential: Potential,
    frames: Sequence[Atoms],
    *,
    fmax: float = 0.01,
    max_steps: int = 500,
    batch_atoms: int = BATCH_ATOMS,
    hold: Sequence[Sequence[Torsion]] | None = None,
    on_done: Callable[[int], None] | None = None,
) -> list[Relaxation]:
    """Return structures at nearby minima of the energy; the cells stay as they are.

    Each structure has its own L-BFGS, so that it takes the path that it would take alone; those that are done
    leave the batch.

    Parameters
    ----------
    potential
        Gives energies and forces.
    frames
        Starting structures; ASE's ``FixAtoms`` is respected.
    fmax
        Largest force on an atom allowed at the end, eV/Å.
    max_steps
        Largest number of steps of each structure.
    batch_atoms
        Atoms of the structures relaxed at once, about.
    hold
        Torsions of each structure that keep their angles, the same number in every structure; None for none.
    on_done
        Called with the number of structures that are done.

    Raises
    ------
    InputError
        There are no structures, a number or a structure is invalid, or atoms overlap.
    UnsupportedError
        The potential gives no forces or does not support an element or the charge, or there is another constraint.
    """
    if not frames:
        raise InputError("at least one structure is needed to relax, got none")
    if not (np.isfinite(fmax) and fmax > 0):
        raise InputError(f"fmax must be positive, in eV/Å, got {fmax}")
    if max_steps < 1:
        raise InputError(f"max_steps must be at least 1, got {max_steps}")
    if "forces" not in potential.supports:
        raise UnsupportedError(f"{potential.card.name} gives no forces, which relaxing needs")
    done: list[Relaxation] = []
    for part in _parts([len(atoms) for atoms in frames], batch_atoms):
        own = None if hold is None else hold[part.start : part.stop]
        try:
            run = _Run(potential, frames[part.start : part.stop], own, fmax)
            done.extend(run.to_the_end(max_steps, len(done), on_done))
        except _FrameError as error:
            if len(frames) == 1:
                raise error.cause from None
            number = part.start + error.which
            raise type(error.cause)(f"frame {number} of {len(frames)}: {error.cause}") from error.cause
    return done


def has_only_fixed(atoms: Atoms) -> bool:
    """Return whether :func:`relax_many` respects all constraints of a structure: it knows ``FixAtoms`` only."""
    from ase.constraints import FixAtoms

    return all(isinstance(constraint, FixAtoms) for constraint in atoms.constraints)


def _parts(sizes: Sequence[int], batch_atoms: int) -> list[slice]:
    """Return consecutive slices of structures with about ``batch_atoms`` atoms each."""
    parts, start, total = [], 0, 0
    for k, size in enumerate(sizes):
        if k > start and total + size > batch_atoms:
            parts.append(slice(start, k))
            start, total = k, 0
        total += size
    return [*parts, slice(start, len(sizes))]


class _FrameError(Exception):
    """An error of one structure of a batch."""

    def __init__(self, which: int, cause: MlffError) -> None:
        super().__init__(str(cause))
        self.which, self.cause = which, cause


@dataclass
class _Moving:
    """The structures of a batch that are not done."""

    which: list[int]
    """Their numbers."""
    batch: AtomicBatch
    positions: Tensor
    """Shape (n_atoms, 3), Å, float64."""
    mobile: Tensor
    """1 for atoms that move and 0 for the others, shape (n_atoms, 1)."""
    held: HeldTorsions | None


class _Run:
    """The relaxation of one batch."""

    def __init__(
        self,
        potential: Potential,
        frames: Sequence[Atoms],
        hold: Sequence[Sequence[Torsion]] | None,
        fmax: float,
    ) -> None:
        self.potential, self.frames, self.hold, self.fmax = potential, frames, hold, fmax
        self.singles: list[AtomicBatch] = []
        self.mobile: list[Tensor] = []
        for which, atoms in enumerate(frames):
            try:
                # In float64 until it is evaluated, so that small moves of large systems are not rounded away.
                single = batch_from_atoms(atoms, dtype=torch.float64).to(potential.device)
                single.validate_values()
                mask = mobile_atoms(atoms, "relaxation")
            except MlffError as error:
                raise _FrameError(which, error) from error
            self.singles.append(single)
            ones = np.ones((len(atoms), 1)) if mask is None else mask.astype(np.float64)
            self.mobile.append(torch.from_numpy(ones).to(potential.device))
        # Near the origin, where single precision is at its best.
        self.start = [one.positions - one.positions.mean(dim=0).round() for one in self.singles]
        self.targets = None if hold is None else [self._angles(k) for k in range(len(frames))]
        self.found: list[Relaxation | None] = [None] * len(frames)
        self.energies_before = [0.0] * len(frames)
        self.moving = self._gather(list(range(len(frames))), self.start)
        self.optimizer = BatchLBFGS(self.moving.batch.system_idx, len(frames))
        self.verlet = VerletPotential(potential)

    def to_the_end(self, max_steps: int, before: int, on_done: Callable[[int], None] | None) -> list[Relaxation]:
        """Relax until all structures are done or have made ``max_steps`` steps; return the results in order.

        ``on_done`` is called with the number of those done, ``before`` of them in earlier batches.
        """
        for step in range(max_steps + 1):
            moving = self.moving
            energies, forces, full = self._evaluate()
            owner = moving.batch.system_idx
            lengths = forces.norm(dim=1)
            largest = lengths.new_zeros(len(moving.which)).scatter_reduce(0, owner, lengths, "amax")
            if step == 0:
                self.energies_before = energies.tolist()
            ended = (largest < self.fmax).tolist()
            for k, which in enumerate(moving.which):
                if self.found[which] is None and (ended[k] or step == max_steps):
                    self._finish(which, k, step, bool(ended[k]), energies, full, float(largest[k]))
            left = [k for k, which in enumerate(moving.which) if self.found[which] is None]
            if on_done is not None:
                on_done(before + len(self.frames) - len(left))
            if not left:
                break
            forces = forces * self._still_moving(left)[owner, None]
            moves = self.optimizer.step(forces)
            positions = moving.positions + moves
            if moving.held is not None:
                positions = moving.held.restored(positions)
                self.optimizer.moved(positions - moving.positions)
            moving.positions = positions
            if len(left) < FEWER * len(moving.which):
                self._drop(left)
        return [one for one in self.found if one is not None]

    def _still_moving(self, left: list[int]) -> Tensor:
        moves = torch.zeros(len(self.moving.which), dtype=torch.float64, device=self.potential.device)
        moves[left] = 1.0
        return moves

    def _evaluate(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return energies, the forces to follow, and all forces; (n_systems,), eV, and (n_atoms, 3), eV/Å."""
        moving = self.moving
        batch = moving.batch.with_positions(moving.positions)
        try:
            prediction = self.verlet.predict(batch, want=("energy", "forces"), dynamics=False)
            full = prediction.need("forces", self.potential.card.name, "which relaxing needs").double()
            if not bool(torch.isfinite(full.sum() + prediction.energy.sum())):
                raise InputError("a prediction is not finite")
        except MlffError as error:
            raise self._error_of_a_structure(error, batch) from error
        forces = full * moving.mobile
        if moving.held is not None:
            forces = moving.held.without_their_part(moving.positions, forces)
        return prediction.energy.double(), forces, full

    def _error_of_a_structure(self, error: MlffError, batch: AtomicBatch) -> Exception:
        """Return the error of the first structure that has one alone; ``error`` if none has."""
        for which, one in zip(self.moving.which, split(batch), strict=True):
            try:
                alone = self.potential.predict(one)
                forces = alone.need("forces", self.potential.card.name).double().cpu().numpy()
                check_results(self.potential.card, float(alone.energy[0]), forces)
            except MlffError as own:  # noqa: PERF203  after an error only
                return _FrameError(which, own)
        return error

    def _finish(
        self, which: int, k: int, step: int, converged: bool, energies: Tensor, forces: Tensor, largest: float
    ) -> None:
        from ase.calculators.singlepoint import SinglePointCalculator

        own = self.moving.batch.system_idx == k
        atoms = self.frames[which].copy()
        # Relative to the start: the batch may have been moved as a whole to the origin.
        moved = (self.moving.positions[own] - self.start[which]).cpu().numpy()
        atoms.set_positions(self.frames[which].positions + moved, apply_constraint=False)
        energy = float(energies[k])
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces[own].cpu().numpy())
        self.found[which] = Relaxation(atoms, converged, step, self.energies_before[which], energy, largest)

    def _gather(self, which: list[int], positions: Sequence[Tensor]) -> _Moving:
        batch = concatenate([self.singles[k] for k in which])
        held = None
        if self.hold is not None and self.targets is not None:
            first = [0, *accumulate(len(self.frames[k]) for k in which[:-1])]
            targets = torch.stack([self.targets[k] for k in which])
            held = HeldTorsions([self.hold[k] for k in which], targets, first, batch.system_idx)
        return _Moving(which, batch, torch.cat(list(positions)), torch.cat([self.mobile[k] for k in which]), held)

    def _drop(self, left: list[int]) -> None:
        """Keep the structures ``left``, by their place in the batch."""
        moving = self.moving
        parts = moving.positions.split(moving.batch.atoms_per_system())
        systems = self._still_moving(left) > 0
        atoms = systems[moving.batch.system_idx]
        self.moving = self._gather([moving.which[k] for k in left], [parts[k] for k in left])
        self.optimizer.keep(atoms, systems, self.moving.batch.system_idx)
        self.verlet = VerletPotential(self.potential)

    def _angles(self, k: int) -> Tensor:
        assert self.hold is not None
        quads = torch.tensor([list(one) for one in self.hold[k]], device=self.potential.device)
        return angles_and_gradients(self.start[k], quads)[0]
