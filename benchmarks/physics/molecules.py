"""The molecules of the checks, and their minima with the teacher, which are computed once and stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from benchmarks.physics.record import Job, say
from mlff_core.atomic_write import atomic_stream
from mlff_core.data.sampling.conformers import conformers
from mlff_core.judging.physics.frequencies import harmonic_frequencies
from mlff_core.judging.physics.relaxation import relaxed
from mlff_core.judging.physics.trajectory import Array
from mlff_core.structures.batch import AtomicBatch, single

LIST = Path(__file__).with_name("molecules.smi")
TIGHT = 1e-3
"""Largest force component at a minimum, eV/Å; small, since frequencies need an accurate minimum."""


def smiles_of(kind: str) -> dict[str, str]:
    """Return the SMILES of all molecules of the list for checks of this kind, by name."""
    rows = [line.split() for line in LIST.read_text().splitlines() if line and not line.startswith("#")]
    return {name: smiles for smiles, name, kinds in rows if kind in kinds.split(",")}


def molecules_of(kind: str, job: Job, n_quick: int) -> dict[str, AtomicBatch]:
    """Return RDKit's first conformer of each molecule of this kind, float64; only the first ``n_quick`` if quick."""
    found = {}
    for name, smiles in list(smiles_of(kind).items())[: job.size(None, n_quick)]:
        conformer = conformers(smiles, 1, seed=1)[0]
        found[name] = single(conformer.positions, conformer.atomic_numbers, dtype=torch.float64)
    return found


class TeachersMinima:
    """Minima and frequencies of the teacher, read from the folder of runs if an earlier check computed them."""

    def __init__(self, job: Job) -> None:
        self.potential = job.load_teacher()
        self.folder = job.teachers_work

    def minimum(self, name: str, molecule: AtomicBatch) -> AtomicBatch:
        """Return the teacher's minimum next to RDKit's conformer."""
        path = self.folder / f"{name}.npy"
        if not path.exists():
            say(f"the teacher relaxes {name}")
            _save(path, relaxed(self.potential, molecule, fmax=TIGHT).positions.numpy())
        return molecule.with_positions(torch.from_numpy(np.load(path)))

    def frequencies(self, name: str, minimum: AtomicBatch) -> Array:
        """Return the teacher's wavenumbers at its minimum, 1/cm."""
        path = self.folder / f"{name}.frequencies.npy"
        if not path.exists():
            say(f"the teacher's frequencies of {name}")
            _save(path, harmonic_frequencies(self.potential, minimum))
        found: Array = np.load(path)
        return found


def _save(path: Path, array: Array) -> None:
    with atomic_stream(path) as stream:
        np.save(stream, array)
