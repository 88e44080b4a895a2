"""The part of the teacher's forces that a cutoff of 5 Å leaves out: ``long_range_share.py SET.h5 [N]``.

SO3LR adds Coulomb and dispersion energies over all pairs to what its network says within 4.5 Å. Its forces are taken
twice on N structures (600) of a set, once with the pairs beyond 5 Å left out: a student with this cutoff knows of the
difference only what the environments between give away. The cut is a sharp one, which leaves charges unbalanced, so the
figures bound the part that cannot be learned from above. Prints JSON: the mean absolute difference by component (eV/Å),
the share of the forces' variance, and the mean absolute difference of the energies (meV/atom) after removing what a sum
over elements explains.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import torch

from mlff_core import plugins
from mlff_core.batch import AtomicBatch
from mlff_core.data.hdf5 import Dataset
from mlff_core.neighbors import EdgeList, edge_vectors
from mlff_plugins.teachers import so3lr_potential

CUTOFF = 5.0
BATCH = 16


def main(path: str, n: str = "600") -> None:
    teacher = plugins.teacher("so3lr").load({})
    all_pairs = so3lr_potential._all_pairs

    def near_pairs(batch: AtomicBatch) -> EdgeList:
        pairs = all_pairs(batch)
        return pairs.select((edge_vectors(batch, pairs) ** 2).sum(dim=1) < CUTOFF**2)

    with Dataset(path) as dataset:
        rows = np.sort(np.random.default_rng(0).choice(len(dataset), min(int(n), len(dataset)), replace=False))
        whole, near, energies, counts = [], [], [], []
        for start in range(0, len(rows), BATCH):
            batch = dataset.read(rows[start : start + BATCH], dtype=teacher.dtype).batch
            found = {}
            for name, pairs in (("whole", all_pairs), ("near", near_pairs)):
                so3lr_potential._all_pairs = pairs
                found[name] = teacher.predict(batch)
            so3lr_potential._all_pairs = all_pairs
            whole.append(found["whole"].forces)
            near.append(found["near"].forces)
            energies.append(found["whole"].energy - found["near"].energy)
            for k in range(batch.n_systems):
                numbers = batch.atomic_numbers[batch.system_idx == k]
                counts.append(torch.bincount(numbers, minlength=20)[:20].double())
    forces, rest = torch.cat(whole).double(), torch.cat(whole).double() - torch.cat(near).double()
    composition, energy = torch.stack(counts), torch.cat(energies)
    explained = composition @ torch.linalg.lstsq(composition, energy[:, None], driver="gelsd").solution
    residual = (energy - explained[:, 0]) / composition.sum(dim=1)
    report = {
        "cutoff_angstrom": CUTOFF,
        "n_structures": len(rows),
        "force_mae_ev_per_angstrom": float(rest.abs().mean()),
        "share_of_force_variance": float((rest**2).sum() / (forces**2).sum()),
        "energy_mae_mev_per_atom": float(residual.abs().mean() * 1000),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main(*sys.argv[1:])
