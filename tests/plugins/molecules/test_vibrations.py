"""Vibrations against finite differences, closed forms and tables of spectroscopy."""

import json
import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.io import read
from click.testing import CliRunner

from mlff_core import load
from mlff_core.cli.main import build
from mlff_core.errors import InputError
from mlff_core.potentials.interface import Potential
from mlff_core.structures.dipole import dipoles
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.testing import PairPotential
from mlff_core.units import EV_PER_KELVIN, KJ_MOL_PER_EV
from mlff_plugins.molecules.symmetry import symmetry_number
from mlff_plugins.molecules.vibrations import KM_PER_MOL, thermochemistry, vibrations


@pytest.fixture(scope="module", name="potential")
def fixture_potential():
    return load("organic-original", device="cpu", dtype="float64")


@pytest.fixture(scope="module", name="water")
def fixture_water(potential):
    return vibrations(potential, molecule("H2O"))


def test_the_exact_hessian_gives_the_frequencies_of_finite_differences(potential, water):
    numerical = Potential.hessian(potential, batch_from_atoms(water.atoms, dtype=torch.float64)).numpy()
    masses = np.repeat(water.atoms.get_masses(), 3)
    eigenvalues = np.linalg.eigvalsh(numerical / np.sqrt(np.outer(masses, masses)))[6:]
    by_hand = np.sqrt(eigenvalues * 1.602176634e-19 / 1e-20 / 1.66053906892e-27) / (2 * math.pi * 2.99792458e10)
    np.testing.assert_allclose(water.wavenumbers, by_hand, rtol=1e-4)
    assert 1500 < water.wavenumbers[0] < 1750  # bending, 1649 harmonic
    assert all(3700 < value < 4100 for value in water.wavenumbers[1:])


def test_energies_along_a_mode_are_those_of_its_frequency(potential, water):
    for wavenumber, mode in zip(water.wavenumbers, water.modes, strict=True):
        step = 0.01
        energies = []
        for sign in (-1, 0, 1):
            moved = water.atoms.copy()
            moved.positions += sign * step * mode
            energies.append(float(potential.predict(batch_from_atoms(moved, dtype=torch.float64)).energy[0]))
        curvature = (energies[0] - 2 * energies[1] + energies[2]) / step**2  # eV/(Å²·amu)
        root = math.sqrt(curvature * 1.602176634e-19 / 1e-20 / 1.66053906892e-27)
        assert root / (2 * math.pi * 2.99792458e10) == pytest.approx(wavenumber, rel=2e-3)
        assert (water.atoms.get_masses()[:, None] * mode**2).sum() == pytest.approx(1)


def test_waters_entropy_is_that_of_the_tables(water):
    found = thermochemistry(water)
    assert found.symmetry_number == 2
    assert 1000 * found.entropy * KJ_MOL_PER_EV == pytest.approx(188.8, abs=0.5)  # J/(mol K) at 1 bar
    assert found.zero_point_energy == pytest.approx(1.2398419843e-4 * water.wavenumbers.sum() / 2, rel=1e-6)
    assert found.gibbs_energy == pytest.approx(found.enthalpy - 298.15 * found.entropy)
    fewer = thermochemistry(water, sigma=1)
    assert fewer.entropy - found.entropy == pytest.approx(EV_PER_KELVIN * math.log(2), rel=1e-5)
    tenfold = thermochemistry(water, pressure_bar=10.0)
    assert found.entropy - tenfold.entropy == pytest.approx(EV_PER_KELVIN * math.log(10), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "sigma"),
    [("H2O", 2), ("NH3", 3), ("CH4", 12), ("C6H6", 12), ("C2H6", 6), ("CO2", 2), ("HCN", 1), ("CO", 1)],
)
def test_symmetry_numbers_are_those_of_the_point_groups(name, sigma):
    atoms = molecule(name)
    atoms.rotate(37.0, (1, 2, 3))
    order = np.random.default_rng(0).permutation(len(atoms))
    assert symmetry_number(atoms.numbers[order], atoms.positions[order]) == sigma


class Charged(PairPotential):
    """A pair potential whose atoms carry charges that stay with them."""

    supports = PairPotential.supports | {"dipole"}
    charge = 0.3

    def predict_checked(self, batch, want, edges=None):
        from dataclasses import replace

        prediction = super().predict_checked(batch, set(want) - {"dipole"}, edges)
        charges = torch.where(batch.atomic_numbers == 8, self.charge, -self.charge)
        return replace(prediction, dipole=dipoles(batch, charges))


def test_the_intensity_of_two_charges_on_a_spring_is_that_of_the_closed_form():
    pair = Charged(dtype=torch.float64)
    found = vibrations(pair, Atoms("CO", positions=[[0, 0, 0], [0, 0, 1.3]]))
    reduced = 12.011 * 15.999 / (12.011 + 15.999)
    assert abs(KM_PER_MOL / (42.2561 * 4.803204**2) - 1) < 1e-4  # (D/Å)²/amu
    assert found.intensities == pytest.approx([KM_PER_MOL * 0.3**2 / reduced], rel=1e-4)
    assert vibrations(PairPotential(dtype=torch.float64), found.atoms).intensities is None


def test_a_saddle_has_an_imaginary_frequency_and_no_thermochemistry(potential):
    flat = Atoms("NH3", positions=[[0, 0, 0]] + [[math.cos(a), math.sin(a), 0] for a in (0, 2.0944, 4.1888)])
    found = vibrations(potential, flat, as_is=True)
    np.testing.assert_array_equal(found.atoms.positions, flat.positions)
    assert found.n_imaginary == 1
    with pytest.raises(InputError, match="no minimum"):
        thermochemistry(found)


def test_one_atom_has_the_entropy_of_sackur_and_tetrode():
    found = vibrations(PairPotential(dtype=torch.float64), Atoms("C"))
    assert found.wavenumbers.shape == (0,)
    mass, kt = 12.011 * 1.66053906892e-27, 1.380649e-23 * 298.15
    per_atom = kt / 1e5 * (2 * math.pi * mass * kt / 6.62607015e-34**2) ** 1.5
    assert thermochemistry(found).entropy == pytest.approx(EV_PER_KELVIN * (2.5 + math.log(per_atom)), rel=1e-5)


def test_the_command_prints_tables_and_json_and_writes_modes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    molecule("H2O").write("water.xyz")

    def mlff(*arguments, status=0):
        result = CliRunner().invoke(build(), ["vibrations", "organic-tiny", "water.xyz", *arguments])
        assert result.exit_code == status, result.output
        return result

    content = json.loads(mlff("--json", "-o", "modes.molden").stdout)
    assert len(content["wavenumbers_per_cm"]) == len(content["modes"]) == 3
    assert content["intensities_km_per_mol"] is None
    text = (tmp_path / "modes.molden").read_text()
    assert text.startswith("[Molden Format]\n[FREQ]\n")
    assert text.count("vibration ") == 3
    assert "zero-point energy" in mlff("-o", "modes.extxyz").stdout
    frames = read("modes.extxyz", ":")
    assert len(frames) == 3 * 16
    assert frames[20].info["wavenumber_per_cm"] == pytest.approx(content["wavenumbers_per_cm"][1], rel=1e-6)
    assert "did not converge in 1 steps" in mlff("--max-steps", "1", status=1).stderr
    stretched = molecule("H2O")
    stretched.positions[1] *= 1.3
    stretched.write("water.xyz")
    assert "frequencies mean little" in mlff("--as-is").stderr
