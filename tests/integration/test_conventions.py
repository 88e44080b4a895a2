"""The page of conventions names existing tests, and its Voigt order is that of ASE."""

import re
from pathlib import Path

import pytest
import torch
from ase.stress import full_3x3_to_voigt_6_stress

from mlff_core import ModelCard, StudentPotential
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.testing import structures
from mlff_plugins.ase import MLFFCalculator

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"`(tests/[\w/]+\.py)`", (ROOT / "docs/conventions.md").read_text())))
)
def test_a_test_that_the_page_names_is_there(name):
    assert (ROOT / name).is_file()


def test_six_numbers_of_a_stress_are_xx_yy_zz_yz_xz_xy():
    torch.manual_seed(0)
    config = PaiNNConfig(elements=(1, 6, 7, 8), hidden=8, n_layers=2, cutoff=4.0)
    student = StudentPotential(PaiNN(config), ModelCard("drop", config.elements, config.cutoff), dtype=torch.float64)
    atoms = structures.triclinic_crystal()
    full = student.predict(structures.to_batch(atoms), want=("stress",)).stress[0].numpy()
    atoms.calc = MLFFCalculator(student)
    wanted = [full[0, 0], full[1, 1], full[2, 2], full[1, 2], full[0, 2], full[0, 1]]
    assert atoms.get_stress().tolist() == pytest.approx(wanted, abs=1e-12)
    assert full_3x3_to_voigt_6_stress(full).tolist() == pytest.approx(wanted, abs=1e-12)
