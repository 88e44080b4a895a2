"""Torsion scans of butane and of a ring."""

import numpy as np
import pytest
import torch
from ase.build import molecule as ase_molecule

from mlff_core.judging.physics.torsion import bonds, rotatable_bonds, torsion_scan, turned
from mlff_core.structures.reading import batch_from_atoms


@pytest.fixture(name="butane")
def fixture_butane():
    return batch_from_atoms(ase_molecule("trans-butane"), dtype=torch.float64)


def test_butane_turns_about_its_middle_bond_only(butane):
    (bond,) = rotatable_bonds(butane)
    numbers = butane.atomic_numbers
    assert numbers[bond[0]] == numbers[bond[1]] == 6
    assert bonds(butane)[bond[0]].sum() == 4


def test_a_ring_does_not_turn():
    assert rotatable_bonds(batch_from_atoms(ase_molecule("C6H6"), dtype=torch.float64)) == []


def test_turning_keeps_bonds_and_changes_the_dihedral_by_the_angle(butane):
    (bond,) = rotatable_bonds(butane)
    given = butane.positions.clone()
    moved = turned(butane, bond, 60.0)
    assert torch.equal(butane.positions, given)
    before, after = bonds(butane), bonds(moved)
    assert (before == after).all()
    graph = bonds(butane) & (butane.atomic_numbers.numpy() > 1)
    i = next(a for a in np.flatnonzero(graph[bond[0]]) if a != bond[1])
    l = next(a for a in np.flatnonzero(graph[bond[1]]) if a != bond[0])  # noqa: E741 - a dihedral is i, j, k, l
    from ase import Atoms

    dihedral = [Atoms("C" * len(b.positions), b.positions.numpy()).get_dihedral(i, *bond, l) for b in (butane, moved)]
    assert (dihedral[1] - dihedral[0]) % 360 == pytest.approx(60.0, abs=1e-6) or (
        dihedral[0] - dihedral[1]
    ) % 360 == pytest.approx(60.0, abs=1e-6)


def test_a_potential_scanned_against_itself_has_no_error_and_a_stiffer_one_a_higher_barrier(springs, butane):
    (bond,) = rotatable_bonds(butane)
    same = torsion_scan(springs(), springs(), butane, bond)
    assert same.mae_mev == 0.0
    stiffer = torsion_scan(springs(k=40.0), springs(k=20.0), butane, bond)
    assert stiffer.barrier_error_mev == pytest.approx(1e3 * np.ptp(stiffer.reference))


def test_clashing_angles_are_left_out(springs, butane):
    (bond,) = rotatable_bonds(butane)
    scan = torsion_scan(springs(), springs(), butane, bond)
    assert 3 <= len(scan.angles_deg) <= 24
    # Hydrogens of eclipsed methyl groups (the cis form, 180° from trans) are 1.9 Å apart: no clash.
    assert 180.0 in scan.angles_deg
