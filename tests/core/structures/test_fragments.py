"""Molecules of a structure, found from distances."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from mlff_core.errors import UnsupportedError
from mlff_core.structures.fragments import find_fragments
from mlff_core.structures.reading import batch_from_atoms


def fragments_of(atoms):
    return find_fragments(batch_from_atoms(atoms, dtype=torch.float64))


def test_two_molecules_are_found_whatever_the_order_of_their_atoms():
    water, ammonia = molecule("H2O"), molecule("NH3")
    ammonia.positions += [4.0, 0, 0]
    both = water + ammonia
    order = np.random.default_rng(0).permutation(len(both))
    found = fragments_of(both[order])
    assert sorted(sorted(order[atoms].tolist()) for atoms in found.atoms) == [[0, 1, 2], [3, 4, 5, 6]]
    assert sorted(len(bonds) for bonds in found.bonds) == [2, 3]


def test_a_molecule_across_the_faces_of_its_cell_comes_in_one_piece():
    ethanol = molecule("CH3CH2OH")
    ethanol.set_cell([[8.0, 0, 0], [2.0, 7.5, 0], [-1.0, 1.5, 8.5]])
    ethanol.pbc = True
    wrapped = ethanol.copy()
    wrapped.positions += wrapped.cell.array.sum(axis=0) * 0.98
    wrapped.wrap()
    assert np.ptp(wrapped.positions, axis=0).max() > 5
    found = fragments_of(wrapped)
    assert len(found.atoms) == 1
    distances = np.linalg.norm(found.positions[:, None] - found.positions[None], axis=2)
    np.testing.assert_allclose(distances, ethanol.get_all_distances(), atol=1e-9)


def test_a_short_hydrogen_bond_is_no_bond():
    # FH…F⁻ with the proton 1.05 Å from one fluorine and 1.09 Å from the other, which both count as bonded by distance.
    pair = Atoms("FHF", [[0, 0, 0], [1.05, 0, 0], [2.14, 0, 0]])
    assert [atoms.tolist() for atoms in fragments_of(pair).atoms] == [[0, 1], [2]]


def test_atoms_alone_are_molecules():
    assert [atoms.tolist() for atoms in fragments_of(Atoms("ArAr", [[0, 0, 0], [4.0, 0, 0]])).atoms] == [[0], [1]]


def test_a_covalent_crystal_has_no_molecules():
    with pytest.raises(UnsupportedError, match="own periodic image"):
        fragments_of(bulk("C", "diamond", a=3.57))
