"""Heavier hydrogens, whose slower vibrations allow longer time steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.data import chemical_symbols, covalent_radii

from mlff_core.dynamics.state import Array
from mlff_core.errors import InputError
from mlff_core.structures.bonds import BOND
from mlff_core.structures.neighbors import edge_vectors, find_neighbors
from mlff_core.structures.reading import batch_from_atoms

if TYPE_CHECKING:
    from ase import Atoms


def with_heavy_hydrogens(atoms: Atoms, hydrogen_mass: float) -> Array:
    """Return masses with all hydrogens of one mass, shape (n_atoms,), amu; the total mass is unchanged.

    The mass is taken from the heavy atom to which a hydrogen is bonded, the nearest within 1.25 sums of covalent radii
    (K. A. Feenstra, B. Hess, H. J. C. Berendsen, J. Comput. Chem. 20, 786 (1999)). Averages over positions do not
    depend on masses; rates do.

    Parameters
    ----------
    atoms
        A molecule or a cell.
    hydrogen_mass
        amu.

    Raises
    ------
    InputError
        A hydrogen is not bonded to a heavier element, or a heavy atom would become lighter than its hydrogens.
    """
    masses: Array = np.asarray(atoms.get_masses(), dtype=np.float64).copy()
    hydrogens = np.flatnonzero(atoms.numbers == 1)
    if not len(hydrogens):
        return masses
    batch = batch_from_atoms(atoms)
    edges = find_neighbors(batch, BOND * (covalent_radii[1] + float(covalent_radii[atoms.numbers].max())))
    centers, neighbors = edges.centers.numpy(), edges.neighbors.numpy()
    lengths = edge_vectors(batch, edges).norm(dim=1).numpy()
    reach = BOND * (covalent_radii[1] + covalent_radii[atoms.numbers[neighbors]])
    bonds = (atoms.numbers[centers] == 1) & (atoms.numbers[neighbors] > 1) & (lengths < reach)
    for hydrogen in hydrogens:
        own = np.flatnonzero(bonds & (centers == hydrogen))
        if not len(own):
            raise InputError(
                f"hydrogen atom {hydrogen} is bonded to no heavier atom from which to take mass; relax the structure, "
                "or leave hydrogen_mass (--hydrogen-mass) out"
            )
        heavy = neighbors[own[np.argmin(lengths[own])]]
        masses[heavy] -= hydrogen_mass - masses[hydrogen]
        masses[hydrogen] = hydrogen_mass
    lightest = int(np.argmin(np.where(atoms.numbers > 1, masses, np.inf)))
    if masses[lightest] < hydrogen_mass:
        raise InputError(
            f"with hydrogens of {hydrogen_mass:g} amu the mass of atom {lightest} "
            f"({chemical_symbols[atoms.numbers[lightest]]}) would be {masses[lightest]:.3g} amu, less than theirs; "
            "give a lower hydrogen_mass (--hydrogen-mass); 3 amu suits organic molecules and water"
        )
    return masses
