"""Frames from the students' own dynamics, and the uncertainty of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mlff_core.data.reader import Dataset
from mlff_core.data.structure import LabelledStructure
from mlff_core.dynamics import MDSettings, run_md
from mlff_core.errors import MlffError
from mlff_core.potentials.frames import predict_frames
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.watched import WatchedPotential
from mlff_plugins.active.settings import SamplingSection

if TYPE_CHECKING:
    from ase import Atoms

KIND = "active"
"""Kind of geometry of these frames in a data set."""

QUANTILE = 0.95


@dataclass(frozen=True)
class Found:
    """Frames of one round."""

    structures: list[LabelledStructure]
    """Structures without labels; each belongs to the molecule of its run's start."""
    deviations: npt.NDArray[np.float64]
    """Largest standard deviation of a force component in each, shape (n_frames,), eV/Å."""
    n_ended: int
    """Number of runs that ended early."""


def usual_deviation(potential: Potential, dataset: Dataset) -> float:
    """Return the largest force deviation that 95 % of the validation structures stay below, eV/Å."""
    frames = [to_atoms(structure) for structure in dataset.structures(dataset.indices("validation"))]
    return float(np.quantile(deviations(potential, frames), QUANTILE))


def deviations(potential: Potential, frames: list[Atoms]) -> npt.NDArray[np.float64]:
    """Return the largest standard deviation of a force component in each frame, shape (n_frames,), eV/Å."""
    rows = predict_frames(potential, frames, want=("energy", "forces_std"))
    return np.array([float(row["forces_std"].max()) for row in rows])


def sample(
    potential: Potential,
    dataset: Dataset,
    settings: SamplingSection,
    threshold: float,
    seed: tuple[int, ...],
    folder: Path,
    on_run: Callable[[int], None],
) -> Found:
    """Run or continue the dynamics of a round, and return its frames without the initial ones.

    Parameters
    ----------
    potential
        The committee.
    dataset
        Data set with a split; runs start from structures of its training part.
    settings
        Length, temperature and other settings of the runs.
    threshold
        eV/Å; a run ends above ``settings.ceiling`` times this.
    seed
        Seed of the choice of structures and of velocities.
    folder
        Of the runs.
    on_run
        Called with the number of finished runs.
    """
    import ase.io

    random = np.random.default_rng(seed)
    train = dataset.indices("train")
    chosen = random.choice(train, min(settings.trajectories, len(train)), replace=False)
    structures: list[LabelledStructure] = []
    frames: list[Atoms] = []
    n_ended = 0
    for k, start in enumerate(dataset.structures(chosen.tolist())):
        watched = WatchedPotential(potential, max_forces_std=settings.ceiling * threshold, on_uncertain="stop")
        steps = MDSettings(
            ensemble="nvt",
            n_steps=settings.n_steps,
            timestep_fs=settings.timestep_fs,
            temperature_kelvin=settings.temperature_kelvin,
            friction_per_ps=settings.friction_per_ps,
            seed=int(random.integers(2**31)),
            log_every=settings.frame_every,
            frame_every=settings.frame_every,
        )
        try:
            run_md(watched, to_atoms(start), steps, folder / str(k), restart=True)
        except MlffError:
            # Too uncertain, or the model failed: the frames before this are the useful ones.
            n_ended += 1
        trajectory = folder / str(k) / steps.trajectory
        if trajectory.exists():
            for frame in ase.io.read(trajectory, index=":"):
                if frame.info["step"] > 0:
                    frames.append(frame)
                    structures.append(_as_found(frame, start))
        on_run(k + 1)
    return Found(structures, deviations(potential, frames) if frames else np.zeros(0), n_ended)


def to_atoms(structure: LabelledStructure) -> Atoms:
    """Return a structure of a data set as ASE's."""
    from ase import Atoms

    atoms = Atoms(
        numbers=structure.atomic_numbers,
        positions=np.asarray(structure.positions, dtype=np.float64),
        cell=structure.cell,
        pbc=structure.pbc,
    )
    if structure.charge:
        atoms.info["charge"] = structure.charge
    if structure.spin_multiplicity != 1:
        atoms.info["spin_multiplicity"] = structure.spin_multiplicity
    return atoms


def _as_found(frame: Atoms, start: LabelledStructure) -> LabelledStructure:
    return LabelledStructure(
        atomic_numbers=start.atomic_numbers,
        positions=frame.get_positions().astype(np.float32),
        cell=start.cell,
        pbc=start.pbc,
        charge=start.charge,
        spin_multiplicity=start.spin_multiplicity,
        molecule_id=start.molecule_id,
        kind=KIND,
        split="train",
    )
