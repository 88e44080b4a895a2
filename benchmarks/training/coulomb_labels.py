"""A data set whose labels lack the Coulomb energy of a student's charges.

``python -m benchmarks coulomb_labels CHARGES_MODEL SOURCE.h5 [MORE.h5 …] --structures 30000 --folder DIR`` writes
``plain.h5`` and ``without_coulomb.h5`` with the same structures: of each source an equal number, or all it has. From
the labels of the second ½ k Σ q q erf(r/4 Å)/r is subtracted, with the charges q(x) of the model, and from its forces
the whole derivative: that at fixed charges, and −Σ φ dq/dx by one pass of the kernel in the field of the potentials φ.
A network trained on them plus the term is thus a potential with exact forces, and can be compared with one trained on
``plain.h5`` for as many steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from benchmarks.command import parser, use_threads
from benchmarks.training.coulomb_term import DAMPING
from mlff_core import load
from mlff_core.data.reader import Dataset
from mlff_core.data.structure import LabelledStructure, batch_from_structures, packed_by_atoms
from mlff_core.data.writer import write_dataset
from mlff_core.kernels.cpu_kernel import CPUKernel
from mlff_core.structures.neighbors import find_neighbors
from mlff_core.units import COULOMB_EV_ANGSTROM


def potentials(positions: np.ndarray, charges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return φ, shape (n_atoms,), eV/e, and the forces at fixed charges, shape (n_atoms, 3), eV/Å.

    Parameters
    ----------
    positions
        Shape (n_atoms, 3), Å.
    charges
        Shape (n_atoms,), e.
    """
    vectors = positions[:, None] - positions[None, :]
    r = np.linalg.norm(vectors, axis=2)
    np.fill_diagonal(r, np.inf)
    erf = torch.erf(torch.from_numpy(r / DAMPING)).numpy()
    kernel = COULOMB_EV_ANGSTROM * erf / r
    gaussian = 2.0 / np.sqrt(np.pi) / DAMPING * np.exp(-((r / DAMPING) ** 2))
    derivative = COULOMB_EV_ANGSTROM * gaussian / r - kernel / r
    forces = -np.einsum("i,ij,ijk->ik", charges, charges[None, :] * derivative / r, vectors)
    return kernel @ charges, forces


def without_coulomb(kernel: CPUKernel, structures: list[LabelledStructure]) -> Iterator[LabelledStructure]:
    """Yield the structures with labels that lack the energy and forces of the charges."""
    for group in packed_by_atoms(structures, 1024):
        own = [structures[k] for k in group]
        batch = batch_from_structures(own).to(dtype=torch.float32)
        edges = find_neighbors(batch, 5.0)
        plain = kernel.evaluate(batch, edges, ("energy", "forces", "charges"))
        charges = plain.charges.double().numpy()
        ends = np.cumsum([0, *(one.n_atoms for one in own)])
        parts = [slice(a, b) for a, b in pairwise(ends)]
        found = [potentials(one.positions.astype(float), charges[p]) for one, p in zip(own, parts, strict=True)]
        phi = torch.from_numpy(np.concatenate([f[0] for f in found]))
        moved = (kernel.evaluate_in_field(batch, edges, phi).forces - plain.forces).double().numpy()
        for one, part, (own_phi, fixed) in zip(own, parts, found, strict=True):
            energy = one.energy - 0.5 * float(own_phi @ charges[part])
            yield replace(one, energy=energy, forces=(one.forces - fixed - moved[part]).astype(np.float32))


def main() -> None:
    options = parser(__doc__)
    options.add_argument("model")
    options.add_argument("sources", nargs="+", type=Path)
    options.add_argument("--structures", type=int, default=30000)
    options.add_argument("--folder", type=Path, required=True)
    arguments = options.parse_args()
    use_threads(1)
    kernel = CPUKernel(load(arguments.model, device="cpu", dtype="float32").model)
    structures: list[LabelledStructure] = []
    for path in arguments.sources:
        dataset = Dataset(path)
        n = min(len(dataset), arguments.structures // len(arguments.sources))
        rows = np.sort(np.random.default_rng(0).choice(len(dataset), n, replace=False))
        structures += [replace(one, molecule_id=None, smiles=None, split=None) for one in dataset.structures(rows)]
    about = {"command": "benchmarks coulomb_labels", "settings": {"structures": arguments.structures}}
    for name, content in (
        ("plain", iter(structures)),
        ("without_coulomb", without_coulomb(kernel, structures)),
    ):
        print(name, write_dataset(arguments.folder / f"{name}.h5", content, teacher=dataset.teacher, created=about))


if __name__ == "__main__":
    main()
