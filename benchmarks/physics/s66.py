"""S66 interaction energies: student, teacher and the reference.

J. Řezáč et al., J. Chem. Theory Comput. 7, 2427 (2011), doi:10.1021/ct2002946. Geometries and reference energies are
read from Psi4's ``S66.py`` (LGPL), which Debian's package ``psi4-data`` holds: ``apt-get download psi4-data && dpkg -x
psi4-data_*.deb psi4``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from ase import Atoms

from benchmarks.physics.record import Job, check, metric
from mlff_core.atomic_write import write_atomically
from mlff_core.judging.references.psi4_database import read_pairs
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch, concatenate, single
from mlff_core.units import KCAL_MOL_PER_EV

DEBIAN_PATH = Path("/usr/share/psi4/databases/S66.py")
GOAL = 0.5
FAMILIES = {"hydrogen bonds": range(1, 24), "dispersion": range(24, 47), "mixed": range(47, 67)}


@dataclass(frozen=True)
class Pair:
    """A pair of molecules: number and name in S66, both parts, and the reference energy, kcal/mol."""

    number: int
    name: str
    parts: tuple[AtomicBatch, AtomicBatch]
    reference_kcal_mol: float


def read_s66(path: Path) -> list[Pair]:
    """Return the pairs of Psi4's file in order.

    Raises
    ------
    InputError
        The file is missing or holds no pairs in Psi4's form.
    """
    found = [
        Pair(int(pair.name), pair.title, tuple(map(_batch, pair.parts)), pair.reference_kcal_mol)
        for pair in read_pairs(path)
    ]
    return sorted(found, key=lambda pair: pair.number)


def _batch(atoms: Atoms) -> AtomicBatch:
    return single(atoms.positions, atoms.numbers, dtype=torch.float64)


def interaction_energies(potential: Potential, pairs: list[Pair]) -> np.ndarray:
    """Return the energy of each pair minus those of its parts in the same geometry, shape (n_pairs,), kcal/mol."""
    structures = []
    for pair in pairs:
        whole = concatenate(pair.parts)
        structures += [single(whole.positions.numpy(), whole.atomic_numbers.numpy(), dtype=torch.float64), *pair.parts]
    energy = potential.predict(concatenate(structures), want=("energy",)).energy.double().cpu().numpy().reshape(-1, 3)
    return (energy[:, 0] - energy[:, 1] - energy[:, 2]) * KCAL_MOL_PER_EV


def teachers_energies(job: Job, pairs: list[Pair]) -> np.ndarray:
    """Return the teacher's interaction energies, stored in the folder of runs, shape (n_pairs,), kcal/mol."""
    path = job.teachers_work / f"s66-{len(pairs)}.txt"
    if not path.exists():
        found = interaction_energies(job.load_teacher(), pairs)
        write_atomically(path, "\n".join(f"{value:.6f}" for value in found).encode())
    return np.loadtxt(path, ndmin=1)


@check("s66", click.option("--s66", type=click.Path(path_type=Path), default=DEBIAN_PATH, help="Psi4's S66.py."))
def command(job: Job, s66: Path) -> None:
    """Compare the interaction energies of S66 with the teacher's and the reference."""
    pairs = read_s66(s66)[: job.size(None, 2)]
    model, taught = interaction_energies(job.load("float64"), pairs), teachers_energies(job, pairs)
    reference = np.array([pair.reference_kcal_mol for pair in pairs])
    error = np.abs(model - taught)
    metrics = [metric("S66, mean difference from the teacher", float(error.mean()), "kcal/mol", GOAL)]
    for family, numbers in FAMILIES.items():
        members = [k for k, pair in enumerate(pairs) if pair.number in numbers]
        if members:
            metrics.append(metric(f"S66 {family}, mean difference from the teacher", error[members].mean(), "kcal/mol"))
    metrics += [
        metric("S66, mean difference from the reference", float(np.abs(model - reference).mean()), "kcal/mol"),
        metric("S66, the teacher's from the reference", float(np.abs(taught - reference).mean()), "kcal/mol"),
    ]
    rows = [
        {"pair": pair.name, "model_kcal_mol": m, "teacher_kcal_mol": t, "reference_kcal_mol": pair.reference_kcal_mol}
        for pair, m, t in zip(pairs, model.round(3).tolist(), taught.round(3).tolist(), strict=True)
    ]
    job.write("s66", metrics, rows=rows)
