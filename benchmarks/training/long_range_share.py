"""Share of the students' errors that comes from the teacher's interactions beyond a cutoff of 5 Å.

``python -m benchmarks long_range_share SET.h5 [--structures 600] [--s66 S66.py]``. SO3LR adds Coulomb and dispersion
energies over all pairs to the energy of its network within 4.5 Å. It is evaluated twice, once without the pairs beyond
5 Å; the difference is the far part. A student with this cutoff can learn it only as far as it correlates with the local
environments. The sharp cut leaves charges unbalanced, so the far part is an upper limit of what cannot be learned.

The part that is not learned follows from the errors of the shipped students on the same structures: the far part times
a factor is fitted to the errors. Minus the factor is the fraction of the far part that the student lacks; the fraction
of the squared error that the fit explains cannot be removed by more training within the cutoff. The same is done for
the interaction energies of S66; ``benchmarks/physics/s66.py`` describes their file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.command import parser, shipped_students, write
from benchmarks.physics.s66 import DEBIAN_PATH, interaction_energies, read_s66
from mlff_core import load
from mlff_core.data.hdf5 import Dataset
from mlff_core.plugins import host as plugins
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList, edge_vectors
from mlff_plugins.teachers import so3lr_potential

CUTOFF = 5.0
BATCH = 16


@contextmanager
def near_pairs_only() -> Iterator[None]:
    """Remove the pairs beyond the cutoff from the teacher inside this context."""
    all_pairs = so3lr_potential._all_pairs

    def near_pairs(batch: AtomicBatch) -> EdgeList:
        pairs = all_pairs(batch)
        return pairs.select((edge_vectors(batch, pairs) ** 2).sum(dim=1) < CUTOFF**2)

    so3lr_potential._all_pairs = near_pairs
    try:
        yield
    finally:
        so3lr_potential._all_pairs = all_pairs


def lacking(errors: np.ndarray, far: np.ndarray) -> dict[str, float]:
    """Return the fraction of the far part that is lacking, and the fraction of the squared error that it explains."""
    factor = float((errors * far).sum() / (far * far).sum())
    explained = factor**2 * float((far * far).sum()) / float((errors * errors).sum())
    return {
        "mean_error": float(np.abs(errors).mean()),
        "share_of_far_part_lacking": -factor,
        "share_of_squared_error": explained,
    }


def of_forces(path: Path, n: int, teacher: Potential, students: dict[str, Potential]) -> dict[str, Any]:
    """Return the results for forces and energies of ``n`` structures of a set; forces in eV/Å by component."""
    whole, far, energies, counts = [], [], [], []
    errors: dict[str, list[torch.Tensor]] = {name: [] for name in students}
    with Dataset(path) as dataset:
        rows = np.sort(np.random.default_rng(0).choice(len(dataset), min(n, len(dataset)), replace=False))
        for start in range(0, len(rows), BATCH):
            batch = dataset.read(rows[start : start + BATCH], dtype=teacher.dtype).batch
            full = teacher.predict(batch)
            with near_pairs_only():
                near = teacher.predict(batch)
            whole.append(full.forces.double())
            far.append(full.forces.double() - near.forces.double())
            energies.append(full.energy - near.energy)
            for name, student in students.items():
                errors[name].append(student.predict(batch.to(dtype=student.dtype)).forces.double() - whole[-1])
            for k in range(batch.n_systems):
                numbers = batch.atomic_numbers[batch.system_idx == k]
                counts.append(torch.bincount(numbers, minlength=20)[:20].double())
    forces, rest = torch.cat(whole), torch.cat(far)
    # A sum over elements is not an error of a student, since its reference energies are fitted.
    composition, energy = torch.stack(counts), torch.cat(energies).double()
    explained = composition @ torch.linalg.lstsq(composition, energy[:, None], driver="gelsd").solution
    residual = (energy - explained[:, 0]) / composition.sum(dim=1)
    return {
        "n_structures": len(rows),
        "force_mae_ev_per_angstrom": float(rest.abs().mean()),
        "share_of_force_variance": float((rest**2).sum() / (forces**2).sum()),
        "energy_mae_mev_per_atom": float(residual.abs().mean() * 1000),
        "students": {name: lacking(torch.cat(found).numpy(), rest.numpy()) for name, found in errors.items()},
    }


def of_s66(path: Path, teacher: Potential, students: dict[str, Potential]) -> dict[str, Any]:
    """Return the results for the interaction energies of S66, kcal/mol."""
    pairs = read_s66(path)
    whole = interaction_energies(teacher, pairs)
    with near_pairs_only():
        far = whole - interaction_energies(teacher, pairs)
    return {
        "far_part_mean_size": float(np.abs(far).mean()),
        "far_part_mean": float(far.mean()),
        "students": {
            name: lacking(interaction_energies(student, pairs) - whole, far) for name, student in students.items()
        },
    }


def main() -> None:
    options = parser(__doc__, "long_range_share.json")
    options.add_argument("set", type=Path)
    options.add_argument("--structures", type=int, default=600)
    options.add_argument("--s66", type=Path, default=DEBIAN_PATH)
    arguments = options.parse_args()
    teacher = plugins.teacher("so3lr").load({})
    students = {name: load(name, device="cpu") for name in shipped_students()}
    report = {
        "cutoff_angstrom": CUTOFF,
        **of_forces(arguments.set, arguments.structures, teacher, students),
        "s66_kcal_mol": of_s66(arguments.s66, teacher, students),
    }
    print(json.dumps(report, indent=1))
    write(arguments.out, report)


if __name__ == "__main__":
    main()
