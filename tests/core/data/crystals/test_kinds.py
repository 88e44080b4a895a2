"""Kinds of geometry of crystals: what each changes, and what all keep."""

import numpy as np
import pytest
import torch
from ase.build import bulk, molecule

from mlff_core.data.crystals import parse
from mlff_core.data.hdf5 import LabelledStructure
from mlff_core.data.sampling import (
    STRATEGIES,
    Exchange,
    Interstitial,
    Lattice,
    Melt,
    Packing,
    SamplingContext,
    StackingFault,
    SurfaceSlab,
    Thermal,
    Vacancy,
    closest_contact,
)
from mlff_core.data.sampling.crystal.supercell import LINDEMANN, nearest_distance
from mlff_core.errors import InputError
from mlff_core.testing.reference_potential import PairPotential

KINDS = ("lattice", "thermal", "exchange", "vacancy", "interstitial", "surface", "stacking_fault", "packing", "melt")
STILL = {"strain": 0.0, "melting_min": 0.0, "melting_max": 0.0}
CONTEXT = SamplingContext(PairPotential())


def start_of(line, seed=0):
    atoms = parse(line).atoms(np.random.default_rng(seed))
    return LabelledStructure(
        atoms.numbers.astype(np.uint8), atoms.positions, cell=np.array(atoms.cell), pbc=np.ones(3, bool), molecule_id=7
    )


COPPER, ALLOY, CARBIDE = start_of("Cu fcc 3.61"), start_of("Cu3Au L1_2 3.75"), start_of("SiC zincblende 4.36")
# Elements of the pair potential.
NITRIDE = start_of("CN rocksalt 4.0")


def rng(seed=0):
    return np.random.default_rng(seed)


def strain_of(made, start):
    """Return the strain of a cell that is not repeated."""
    return np.linalg.inv(start.cell) @ made.cell - np.eye(3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_crystals_of_the_same_molecule_and_molecules_are_not_served(kind):
    strategy = STRATEGIES[kind](**({"steps_between": 5} if kind == "melt" else {}))
    start = NITRIDE if kind == "melt" else ALLOY
    first, second, other = (strategy.sample(start, rng(seed), CONTEXT) for seed in (1, 1, 2))
    assert len(first) == strategy.n
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.positions, b.positions)
        np.testing.assert_array_equal(a.atomic_numbers, b.atomic_numbers)
    assert any(not np.array_equal(a.positions, b.positions) for a, b in zip(first, other, strict=True))
    for made in first:
        assert (made.kind, made.molecule_id, made.positions.dtype) == (kind, 7, np.float32)
        assert made.pbc.all()
        assert np.linalg.det(made.cell) > 0
        assert set(made.atomic_numbers.tolist()) <= set(start.atomic_numbers.tolist())
    water = molecule("H2O")
    assert not strategy.serves(LabelledStructure(water.numbers, water.positions))
    slab = LabelledStructure(
        water.numbers, water.positions, cell=np.diag([5.0, 5.0, 9.0]), pbc=np.array([True, True, False])
    )
    assert not strategy.serves(slab)


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_are_off_by_default_so_that_molecular_crystals_get_none(kind):
    assert not STRATEGIES[kind]().enabled


def test_supercells_have_as_many_atoms_as_the_settings_say_and_many_shapes():
    made = Lattice(n=60, atoms_min=12, atoms_max=30).sample(COPPER, rng(), SamplingContext())
    assert {m.n_atoms for m in made} == {12, 16, 20, 24, 28}
    (huge,) = Lattice(n=1, atoms_min=1, atoms_max=2).sample(ALLOY, rng(), SamplingContext())
    assert huge.n_atoms == 4


def test_strains_reach_twelve_percent_in_length_and_shear_and_are_symmetric():
    made = Lattice(n=400, melting_max=0.0, atoms_min=4, atoms_max=4).sample(COPPER, rng(), SamplingContext())
    strains = np.array([strain_of(m, COPPER) for m in made])
    assert np.abs(strains).max() <= 0.12 + 1e-9
    np.testing.assert_allclose(strains, strains.transpose(0, 2, 1), atol=1e-9)
    for i, j in ((0, 0), (1, 1), (0, 1), (1, 2)):
        assert strains[:, i, j].max() > 0.1
        assert strains[:, i, j].min() < -0.1
    # Half of the amplitudes are below half of the largest.
    assert np.mean(np.abs(strains).max(axis=(1, 2)) < 0.06) > 0.35


def test_heat_is_that_of_lindemanns_rule():
    made = Thermal(n=80, strain=0.0, melting_min=1.0, melting_max=1.0, atoms_min=4, atoms_max=4).sample(
        COPPER, rng(), SamplingContext()
    )
    moves = np.stack([m.positions - COPPER.positions for m in made])
    assert moves.std() == pytest.approx(LINDEMANN * 3.61 / np.sqrt(2), rel=0.05)
    assert np.sqrt((moves**2).sum(axis=2).mean()) == pytest.approx(0.1 * 3.61 / np.sqrt(2), rel=0.05)


def test_a_vacancy_leaves_the_others_in_place():
    for made in Vacancy(n=20, most=2, **STILL, atoms_min=8, atoms_max=8).sample(COPPER, rng(), SamplingContext()):
        assert made.n_atoms in (6, 7)
        assert nearest_distance(made) == pytest.approx(3.61 / np.sqrt(2), abs=1e-4)
    assert Vacancy(most=1, atoms_min=1, atoms_max=1).sample(start_of("Ni sc 2.5"), rng(), SamplingContext()) == []


def test_an_interstitial_is_in_a_hole_and_no_atom_is_nearer_than_the_settings_say():
    made = Interstitial(n=20, **STILL, contact_min=0.8, contact_max=0.8).sample(COPPER, rng(), SamplingContext())
    assert len(made) > 15
    for one in made:
        assert one.n_atoms % 4 == 1
        assert nearest_distance(one) > 0.795 * 3.61 / np.sqrt(2)
        assert closest_contact(one) > 0.65


def test_an_exchange_keeps_the_composition_and_moves_nothing():
    strategy = Exchange(n=30, **STILL, atoms_min=16, atoms_max=16, disorder=0.0)
    places = bulk("Cu", "fcc", 3.75, cubic=True)
    changed = 0
    for made in strategy.sample(ALLOY, rng(), SamplingContext()):
        assert (made.atomic_numbers == 79).sum() == 4
        ordered = np.isclose(np.mod(made.positions + 0.1, 3.75), 0.1, atol=1e-3).all(axis=1)
        # One pair of antisites.
        assert (ordered & (made.atomic_numbers != 79)).sum() == 1
        changed += 1
        assert np.isclose(nearest_distance(made), places.get_distance(0, 1), atol=1e-4)
    assert changed == 30
    assert Exchange().sample(COPPER, rng(), SamplingContext()) == []


def test_a_slab_has_vacuum_and_its_atoms_are_those_of_the_crystal():
    made = SurfaceSlab(n=40, **STILL, vacuum_min=5.0, vacuum_max=9.0).sample(COPPER, rng(), SamplingContext())
    assert len(made) > 30
    heights = set()
    for slab in made:
        assert slab.n_atoms <= 36
        normal = slab.cell[2] / np.linalg.norm(slab.cell[2])
        np.testing.assert_allclose(slab.cell[:2] @ normal, 0.0, atol=1e-6)
        thickness = np.ptp(slab.positions @ normal)
        assert 5.0 - 1e-3 < np.linalg.norm(slab.cell[2]) - thickness < 9.0 + 1e-3
        assert nearest_distance(slab) == pytest.approx(3.61 / np.sqrt(2), abs=1e-4)
        heights.add(round(float(thickness), 1))
    assert len(heights) > 4


def test_a_stacking_fault_keeps_the_distances_within_its_stack_and_changes_those_across():
    strategy = StackingFault(n=60, **STILL, planes=((1, 1, 1),), opening=0.0)
    made = strategy.sample(COPPER, rng(), SamplingContext())
    shifts = []
    for one in made:
        bulk_density = 3.61**3 / 4
        assert abs(np.linalg.det(one.cell)) / one.n_atoms == pytest.approx(bulk_density, rel=1e-4)
        shifts.append(nearest_distance(one))
    # On top of each other the layers are a√3/3 apart, in the hollows a/√2.
    assert min(shifts) < 2.2
    assert 2.42 < max(shifts) < 3.61 / np.sqrt(2) + 1e-3
    wide = StackingFault(n=30, **STILL, planes=((1, 1, 1),), opening=0.3).sample(COPPER, rng(), SamplingContext())
    assert max(abs(np.linalg.det(one.cell)) / one.n_atoms for one in wide) > 1.02 * 3.61**3 / 4


def test_a_packing_has_no_lattice_left_and_no_short_distance():
    made = Packing(n=20, contact_min=0.8, contact_max=0.8).sample(COPPER, rng(), SamplingContext())
    assert len(made) > 15
    for one in made:
        assert nearest_distance(one) > 0.795 * 3.61 / np.sqrt(2)
        volume = np.linalg.det(one.cell) / one.n_atoms / (3.61**3 / 4)
        assert 0.99 < volume < 1.26
        scaled = np.mod(one.positions @ np.linalg.inv(one.cell), 1.0)
        assert scaled.std() > 0.2


def test_a_melt_diffuses_and_needs_a_teacher():
    melt = Melt(n=3, steps_between=20, temperature_min_k=3000.0, temperature_max_k=3000.0, atoms_min=8, atoms_max=16)
    made = melt.sample(NITRIDE, rng(), CONTEXT)
    moved = np.abs(made[-1].positions - made[0].positions).max()
    assert moved > 0.1
    assert not torch.equal(torch.from_numpy(made[0].positions), torch.from_numpy(made[1].positions))
    with pytest.raises(InputError, match="melt needs a teacher"):
        melt.sample(NITRIDE, rng(), SamplingContext())


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("lattice", {"strain": 0.4}, "strain"),
        ("lattice", {"atoms_min": 9, "atoms_max": 8}, "atoms_min"),
        ("thermal", {"melting_min": -1.0}, "melting_min"),
        ("vacancy", {"most": 0}, "most"),
        ("surface", {"planes": ((0, 0, 0),)}, "Miller"),
        ("exchange", {"disorder": 2.0}, "disorder"),
        ("packing", {"contact_min": 0.9, "contact_max": 0.8}, "contact_min"),
        ("melt", {"timestep_fs": 0.0}, "timestep_fs"),
    ],
)
def test_settings_out_of_range_are_refused(kind, settings, message):
    with pytest.raises(InputError, match=message):
        STRATEGIES[kind](**settings)
