"""The benchmark measures the right steps."""

import re

import numpy as np
import pytest
from ase.data import covalent_radii

from mlff_core.errors import InputError
from mlff_core.potentials.wrapping import WrappedPotential
from mlff_core.testing import PairPotential, small_student
from mlff_core.testing.structures import ethanol
from mlff_plugins.benchmark.systems import SYSTEMS, build, selected, water_box
from mlff_plugins.benchmark.timing import time_system


class Counting(WrappedPotential):
    """A student that remembers the positions of every call, and lets a clock of its own run by 1/256 s each."""

    def __init__(self):
        super().__init__(small_student())
        self.potential.model.scale.fill_(0.02)  # the molecule's atoms then fly straight, held apart by the repulsion
        self.seen = []
        self.now = 0.0

    def predict_checked(self, batch, want, edges=None):
        self.seen.append(batch.positions.clone())
        self.now += 1 / 256  # sums of it are exact
        return super().predict_checked(batch, want, edges)


@pytest.mark.parametrize("system", [*SYSTEMS, "water-504", "hexanol-21x3"])
def test_systems_have_the_atoms_their_name_says_at_sane_distances(system):
    frames = build(system)
    name, n_atoms, copies = re.fullmatch(r"(\w+)-(\d+)(?:x(\d+))?", system).groups()
    assert len(frames) == int(copies or 1)
    one = frames[0]
    assert len(one) == int(n_atoms)
    if len(one) < 600:
        distances = one.get_all_distances(mic=True) + 9 * np.eye(len(one))
        assert distances.min() > 0.8
        radii = covalent_radii[one.numbers]
        n_bonds = (distances < 1.25 * (radii[:, None] + radii[None, :])).sum() // 2
        # Trees: every atom bonded, no ring, nothing too close.
        assert n_bonds == (2 * len(one) // 3 if name == "water" else len(one) - 1)


def test_water_has_the_density_of_water():
    box = water_box(216)
    grams = box.get_masses().sum() * 1.66053906892e-24
    assert grams / (box.get_volume() * 1e-24) == pytest.approx(0.998, abs=0.002)


@pytest.mark.parametrize(
    ("short", "name"),
    [("22", "hexylamine-22"), ("49", "pentadecylamine-49"), ("32x49", "pentadecylamine-49x32"), ("504", "water-504")],
)
def test_numbers_are_short_for_molecules_and_water(short, name):
    for given, wanted in zip(build(short), build(name), strict=True):
        assert given == wanted


def test_copies_in_a_batch_differ():
    first, second = build("ethanol-9x2")
    assert np.abs(first.positions - second.positions).max() > 0.01


def test_every_timed_step_evaluates_new_positions_once():
    potential = Counting()
    timing = time_system(potential, "ethanol-9", n_repeats=3, clock=lambda: potential.now)
    assert timing.ms_per_step == pytest.approx(1e3 / 256)
    assert timing.n_repeats == 3
    assert timing.steps_per_repeat == 26
    assert timing.ns_per_day == pytest.approx(86400 * 256 * 0.5e-6)
    assert timing.atoms_per_s == pytest.approx(9 * 256)
    assert len(potential.seen) == 1 + 10 + 26 + 3 * 26
    for before, after in zip(potential.seen, potential.seen[1:], strict=False):
        assert not np.array_equal(before, after)


def test_neighbours_are_searched_while_the_clock_runs():
    timing = time_system(Counting(), "water-192", n_repeats=1)
    assert timing.message == ""
    assert timing.neighbour_searches_per_step > 0
    assert timing.ms_per_step_min <= timing.ms_per_step <= timing.ms_per_step_max


def test_a_system_the_model_does_not_know_is_a_row_with_a_message():
    potential = PairPotential()
    object.__setattr__(potential.card, "elements", (1, 6))
    timing = time_system(potential, "ethanol-9")
    assert timing.ms_per_step is None
    assert "does not know O" in timing.message


@pytest.mark.parametrize("name", ["methane", "water-100", "100", "0x49", "water-0", "ethanol-9x0", ""])
def test_an_unknown_system_is_refused(name):
    with pytest.raises(InputError, match="no system is called"):
        build(name)


def test_no_names_select_every_system():
    assert selected([""]) == list(SYSTEMS)
    assert selected(["water-192", " ethanol-9"]) == ["water-192", "ethanol-9"]


def test_repeats_must_be_positive():
    with pytest.raises(InputError, match="n_repeats"):
        time_system(PairPotential(), "ethanol-9", n_repeats=0)


def test_the_builder_of_chains_agrees_with_a_known_molecule():
    assert build("ethanol-9")[0].get_chemical_formula() == ethanol().get_chemical_formula()
