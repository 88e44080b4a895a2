"""Remove structures that would teach a student unphysical wells: ``python without_wells.py IN.h5 OUT.h5``.

Below 0.6 covalent lengths students have a repulsive core, so they cannot reproduce labels there. Above this the
teacher's own curves of two atoms have wells: of the 36 pairs of H C N O F P S Cl eight attract somewhere below 0.7
lengths, six of them pairs of P, S, Cl. The script removes structures with two atoms closer than 0.6 lengths, or two of
P, S, Cl closer than 0.75 lengths, and dimers that attract below 0.75 lengths.
"""

from __future__ import annotations

import sys

import numpy as np
from ase.data import covalent_radii

from mlff_core.data.hdf5 import Dataset, write_dataset
from mlff_core.data.structure import LabelledStructure


def has_no_well(structure: LabelledStructure) -> bool:
    positions = np.asarray(structure.positions, dtype=np.float64)
    vectors = positions[:, None] - positions[None]
    distances = np.linalg.norm(vectors, axis=2)
    np.fill_diagonal(distances, np.inf)
    radii = covalent_radii[structure.atomic_numbers]
    shares = distances / (radii[:, None] + radii[None])
    heavy = structure.atomic_numbers >= 15
    if shares.min() < 0.6 or shares[np.ix_(heavy, heavy)].min(initial=np.inf) < 0.75:
        return False
    if structure.n_atoms == 2 and shares.min() < 0.75 and structure.forces is not None:
        return bool(structure.forces[0] @ vectors[0, 1] > 0)
    return True


def main() -> None:
    source, target = sys.argv[1:]
    with Dataset(source) as data:
        kept = (structure for structure in data.structures() if has_no_well(structure))
        count = write_dataset(target, kept, teacher=data.teacher, created=data.created, license=data.license)
        print(f"{target}: {count} of {len(data)} structures")


if __name__ == "__main__":
    main()
