"""Properties of crystals against closed forms: bonds between nearest neighbours have them all."""

import numpy as np
import pytest
from ase.build import bulk
from ase.data import atomic_masses

from mlff_core.data.crystals import Crystal
from mlff_core.errors import InputError, UnsupportedError
from mlff_core.judging.crystals.defects import area, slab, surface_energies, vacancy_energy
from mlff_core.judging.crystals.experiment import ELEMENTS, element
from mlff_core.judging.crystals.lattice import elastic_constants, relaxed_cubic, scaled
from mlff_core.judging.crystals.phonons import THZ, Phonons
from mlff_core.judging.crystals.properties import CUBIC, PLANES, PROPERTIES, judge_crystal, judge_crystals
from mlff_core.units import GPA_PER_EV_PER_ANGSTROM3, J_M2_PER_EV_PER_ANGSTROM2


@pytest.fixture(name="crystal")
def fixture_crystal(bonds):
    return relaxed_cubic(bonds, bulk("Cu", "fcc", a=3.7, cubic=True))


def test_the_lattice_constant_is_that_of_bonds_at_their_minimum(bonds, crystal):
    atoms, energy = crystal
    assert atoms.cell.lengths() == pytest.approx(3 * [bonds.length * np.sqrt(2)], rel=1e-6)
    assert energy == pytest.approx(-6 * bonds.depth, abs=1e-8)


def test_the_elastic_constants_are_those_of_nearest_neighbours(bonds, crystal):
    c11, c12, c44 = elastic_constants(bonds, crystal[0])
    k_over_a = bonds.k / crystal[0].cell.lengths()[0] * GPA_PER_EV_PER_ANGSTROM3
    assert [c11, c12, c44] == pytest.approx([2 * k_over_a, k_over_a, k_over_a], rel=2e-4)


def test_a_vacancy_costs_six_bonds(bonds, crystal):
    assert vacancy_energy(bonds, *crystal) == pytest.approx(6 * bonds.depth, abs=1e-6)


def test_a_surface_costs_its_broken_bonds(bonds, crystal):
    a = crystal[0].cell.lengths()[0]
    # Bonds broken in the area of one atom of the surface: three, four and six.
    areas = np.array([np.sqrt(3) / 4, 1 / 2, 1 / np.sqrt(2)]) * a**2
    expected = 0.5 * np.array([3, 4, 6]) * bonds.depth / areas * J_M2_PER_EV_PER_ANGSTROM2
    assert surface_energies(bonds, *crystal, PLANES) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("plane", PLANES)
def test_a_slab_is_thick_and_far_from_its_image(crystal, plane):
    made = slab(crystal[0], plane)
    height = np.ptp(made.positions[:, 2])
    assert 12.0 < height < 20.0
    assert made.cell.lengths()[2] - height == pytest.approx(12.0)
    assert made.pbc.all()
    assert len(made) / (area(made) * (height + 1.0)) > 0.06


def test_the_phonons_are_those_of_nearest_neighbours(bonds, crystal):
    a = crystal[0].cell.lengths()[0]
    phonons = Phonons(bonds, bulk("Cu", "fcc", a=a), 2 * CUBIC)
    unit = np.sqrt(bonds.k / atomic_masses[29]) * THZ
    assert phonons.frequencies(np.array([0.5, 0, 0.5])) == pytest.approx(unit * np.sqrt([4, 4, 8]), rel=1e-4)
    assert phonons.frequencies(np.array([0.5, 0.5, 0.5])) == pytest.approx(unit * np.sqrt([2, 2, 8]), rel=1e-4)
    assert phonons.frequencies(np.zeros(3)) == pytest.approx(np.zeros(3), abs=1e-3)
    assert phonons.lowest(4) > 0.5


def test_sound_is_as_fast_as_the_elastic_constants_say(bonds, crystal):
    """Close to the zone's centre the frequencies are q times the speeds of sound along [100]."""
    atoms, _ = crystal
    c11, _, c44 = elastic_constants(bonds, atoms)
    a = atoms.cell.lengths()[0]
    density = 4 * atomic_masses[29] / a**3
    # X is at 2π/a, and the supercell must be long enough for so small a q: the interaction is short, so any is.
    found = Phonons(bonds, bulk("Cu", "fcc", a=a), 2 * CUBIC).frequencies(0.02 * np.array([0.5, 0.0, 0.5]))
    q = 0.02 * 2 * np.pi / a
    speeds = np.sqrt(np.array([c44, c44, c11]) / GPA_PER_EV_PER_ANGSTROM3 / density)
    assert found == pytest.approx(q * speeds * THZ, rel=2e-3)


def test_an_unstable_crystal_has_imaginary_phonons(bonds):
    # Eight bonds do not hold a body-centred crystal, and under pressure they buckle.
    squeezed = bulk("Cu", "bcc", a=0.97 * bonds.length * 2 / np.sqrt(3), cubic=True)
    assert Phonons(bonds, squeezed, 2 * np.eye(3, dtype=int)).lowest(4) < -0.5


def test_two_atoms_in_the_primitive_cell_agree_with_their_own_supercell(bonds_of):
    """A cell of two atoms folds the phonons of one atom: q of X is the zone's centre of the larger cell."""
    potential = bonds_of()
    a = potential.length * np.sqrt(2)
    one = Phonons(potential, bulk("Cu", "fcc", a=a), 2 * CUBIC)
    four = Phonons(potential, bulk("Cu", "fcc", a=a, cubic=True), 2 * np.eye(3, dtype=int))
    folded = [one.frequencies(np.array(q)) for q in ([0, 0, 0], [0.5, 0, 0.5], [0.5, 0.5, 0], [0, 0.5, 0.5])]
    assert four.frequencies(np.zeros(3)) == pytest.approx(np.sort(np.concatenate(folded)), abs=2e-3)


def test_a_report_holds_every_property(bonds):
    said = []
    report = judge_crystal(bonds, element("Cu"), said.append)
    assert not report.skipped
    # Eight neighbours instead of twelve.
    assert set(report.values) == set(PROPERTIES)
    assert report.values["bcc"] == pytest.approx(2e3 * bonds.depth, abs=0.1)
    assert said == ["lattice", "elastic constants", "bcc", "vacancy", "surfaces", "phonons"]


def test_a_property_that_cannot_be_computed_is_named(bonds):
    bonds.supports = frozenset({"energy", "forces"})
    report = judge_crystal(bonds, element("Cu"))
    assert "no stress" in report.skipped["elastic constants"]
    assert "vacancy" in report.values
    with pytest.raises(UnsupportedError, match="no stress"):
        elastic_constants(bonds, bulk("Cu", cubic=True))


def test_crystals_that_the_potential_does_not_have_are_told(bonds_of):
    potential = bonds_of(length=2.0, elements=("Cu", "Au"))
    found = judge_crystals(potential, list(ELEMENTS.values()))
    assert [one.symbol for one in found] == ["Cu", "Au"]
    assert all("no Cu4" in one.skipped["lattice"] or "no Au4" in one.skipped["lattice"] for one in found)


def test_the_search_ends_at_a_wrong_start(bonds):
    with pytest.raises(InputError, match="was not trained for it"):
        relaxed_cubic(bonds, bulk("Cu", "fcc", a=3.0, cubic=True))


@pytest.mark.parametrize("one", ELEMENTS.values(), ids=ELEMENTS)
def test_measured_values_are_consistent(one):
    """Stable crystals, close packing of the right density, and a bulk modulus from the elastic constants."""
    c11, c12, c44 = (one.measured[key] for key in ("c11", "c12", "c44"))
    assert c11 > c12 > 0 < c44
    assert one.measured["bulk_modulus"] == pytest.approx((c11 + 2 * c12) / 3)
    atoms = Crystal(one.symbol, one.prototype, one.lattice_constant).atoms(np.random.default_rng(0))
    density = atoms.get_masses().sum() / atoms.get_volume() / 0.602214
    table = {"Al": 2.70, "Ni": 8.91, "Cu": 8.93, "Pd": 12.0, "Ag": 10.5, "Pt": 21.5, "Au": 19.3, "Si": 2.33}
    assert density == pytest.approx(table[one.symbol], rel=0.01)


def test_an_unknown_element_is_refused():
    with pytest.raises(InputError, match="no crystal of 'Zz'"):
        element("Zz")


def test_scaling_keeps_fractions(crystal):
    made = scaled(crystal[0], 1.1)
    assert made.get_scaled_positions() == pytest.approx(crystal[0].get_scaled_positions())
    assert made.get_volume() == pytest.approx(1.1**3 * crystal[0].get_volume())
