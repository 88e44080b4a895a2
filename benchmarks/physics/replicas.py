"""Several molecules in one batch, run in pieces; a killed process continues after the last complete piece."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.physics.record import say
from mlff_core.atomic_write import atomic_stream
from mlff_core.errors import MlffError
from mlff_core.judging.physics.integrity import broken_bonds
from mlff_core.judging.physics.trajectory import Array, run
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch, concatenate, split


@dataclass(eq=False)
class Replica:
    """State of one molecule."""

    name: str
    """Name of the molecule."""
    start: AtomicBatch
    """Structure that defines its bonds."""
    positions: torch.Tensor
    velocities: torch.Tensor
    """Current state, shape (n_atoms, 3), Å and Å/Å√(amu/eV)."""
    times_ps: Array = field(default_factory=lambda: np.zeros(0))
    potential_energy: Array = field(default_factory=lambda: np.zeros(0))
    kinetic_energy: Array = field(default_factory=lambda: np.zeros(0))
    """Values of all records so far, shape (n_records,), ps and eV."""
    failure: str = ""
    """Reason of the end of its run; empty while it continues."""

    @property
    def batch(self) -> AtomicBatch:
        """The molecule at its current positions."""
        return self.start.with_positions(self.positions)


ARRAYS = ("positions", "velocities", "times_ps", "potential_energy", "kinetic_energy")


@dataclass(eq=False)
class Progress:
    """All replicas, the number of finished pieces, the state of the random numbers, and the processor time so far."""

    replicas: list[Replica]
    generator: torch.Generator
    n_pieces: int = 0
    cpu_seconds: float = 0.0

    def save(self, path: Path) -> None:
        """Write everything by rename."""
        found: dict[str, Any] = {"n_pieces": self.n_pieces, "cpu_seconds": self.cpu_seconds}
        found["random"] = self.generator.get_state().numpy()
        for k, replica in enumerate(self.replicas):
            found.update({f"{name}-{k}": np.asarray(getattr(replica, name)) for name in ARRAYS})
            found[f"start-{k}"] = replica.start.positions.numpy()
            found[f"numbers-{k}"] = replica.start.atomic_numbers.numpy()
            found[f"about-{k}"] = np.array([replica.name, replica.failure])
        with atomic_stream(path) as stream:
            np.savez(stream, **found)

    @classmethod
    def read(cls, path: Path) -> Progress:
        """Return the state written by :meth:`save`."""
        with np.load(path) as found:
            replicas = []
            while f"about-{len(replicas)}" in found:
                k = len(replicas)
                name, failure = (str(text) for text in found[f"about-{k}"])
                start = AtomicBatch(
                    torch.from_numpy(found[f"start-{k}"]),
                    torch.from_numpy(found[f"numbers-{k}"]),
                    torch.zeros(1, 3, 3, dtype=torch.float64),
                    torch.zeros(1, 3, dtype=torch.bool),
                    torch.zeros(len(found[f"numbers-{k}"]), dtype=torch.int64),
                )
                arrays = {key: found[f"{key}-{k}"] for key in ARRAYS}
                moving = {key: torch.from_numpy(arrays.pop(key)) for key in ("positions", "velocities")}
                replicas.append(Replica(name, start, **moving, **arrays, failure=failure))
            generator = torch.Generator()
            generator.set_state(torch.from_numpy(found["random"]))
            return cls(replicas, generator, int(found["n_pieces"]), float(found["cpu_seconds"]))


def advance(potential: Potential, replicas: list[Replica], generator: torch.Generator, **settings: Any) -> None:
    """Run all replicas for one piece in a batch; if the batch fails, run each alone.

    Parameters
    ----------
    potential
        The potential.
    replicas
        Changed in place.
    generator
        Random number generator of the bath.
    settings
        Of :func:`mlff_core.judging.physics.trajectory.run`.
    """
    try:
        together = run(
            potential,
            concatenate([replica.batch for replica in replicas]),
            torch.cat([replica.velocities for replica in replicas]),
            generator=generator,
            **settings,
        )
    except MlffError as error:
        if len(replicas) == 1:
            replicas[0].failure = str(error)
            return
        for replica in replicas:
            advance(potential, [replica], generator, **settings)
        return
    for replica, found, batch in zip(replicas, together.split(), split(together.batch), strict=True):
        # Far from the origin float32 coordinates are coarse, and a molecule in a bath diffuses.
        replica.positions = batch.positions.cpu() - batch.positions.cpu().mean(dim=0)
        replica.velocities = found.velocities.cpu()
        begin = replica.times_ps[-1] if len(replica.times_ps) else 0.0
        # The first record of a piece is the last one of the previous piece.
        keep = slice(1 if len(replica.times_ps) else 0, None)
        replica.times_ps = np.append(replica.times_ps, begin + found.times_ps[keep])
        replica.potential_energy = np.append(replica.potential_energy, found.potential_energy[keep, 0])
        replica.kinetic_energy = np.append(replica.kinetic_energy, found.kinetic_energy[keep, 0])
        n_broken = broken_bonds(replica.start, replica.batch)
        if n_broken:
            replica.failure = f"{n_broken} bonds broken at {replica.times_ps[-1]:g} ps"


def pieces(potential: Potential, progress: Progress, path: Path, n_pieces: int, **settings: Any) -> Iterator[Progress]:
    """Run up to ``n_pieces`` pieces in total; the state is saved and yielded after each.

    Parameters
    ----------
    potential
        The potential.
    progress
        State to continue from.
    path
        File for the state.
    n_pieces
        Total number of pieces, including finished ones.
    settings
        Settings of each piece, see :func:`advance`.
    """
    last = time.monotonic()
    while progress.n_pieces < n_pieces:
        alive = [replica for replica in progress.replicas if not replica.failure]
        if not alive:
            break
        before = time.process_time()
        advance(potential, alive, progress.generator, **settings)
        progress.cpu_seconds += time.process_time() - before
        progress.n_pieces += 1
        progress.save(path)
        if time.monotonic() - last > 60 or progress.n_pieces == n_pieces:
            last = time.monotonic()
            failed = sum(bool(replica.failure) for replica in progress.replicas)
            minutes = progress.cpu_seconds / 60
            say(f"piece {progress.n_pieces} of {n_pieces}, {failed} failed, {minutes:.1f} minutes of processor time")
        yield progress
