"""Charges and dipoles of a student in i-PI's extras, from which infrared spectra by path integrals are made."""

import numpy as np
import pytest
import torch
from ase.io import read

pytest.importorskip("ipi")

from mlff_core.model.charges import ChargeReadout
from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.testing import small_student, structures
from mlff_core.units import ANGSTROM_PER_BOHR

OUTPUT = """
  <trajectory stride='1' filename='dipole' extra_type='dipole'>extras</trajectory>"""


def test_the_dipole_of_each_step_is_that_of_the_model(ipi, tmp_path):
    student = small_student(dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        student.model.charges = ChargeReadout(student.model.n_features).double().requires_grad_(False)
    potential = type(student)(student.model, student.card, dtype=torch.float64)
    path = save_checkpoint(tmp_path / "charged.pt", potential.model, potential.card)
    atoms = structures.ethanol()
    atoms.set_cell([20.0] * 3)
    run = ipi(atoms, "dipoles", output=OUTPUT).start()
    served = run.served_by_command(path)
    assert served.returncode == 0, served.stderr
    folder = run.finished().folder
    found = np.array(
        [
            [float(field) for field in line.split()]
            for line in next(folder.glob("run.dipole*")).read_text().splitlines()
            if "#" not in line
        ]
    )
    frames = read(folder / "run.pos_0.extxyz", ":")
    assert len(frames) == len(found) == 21
    for frame, dipole in zip(frames, found, strict=True):
        frame.set_pbc(False)
        expected = potential.predict(batch_from_atoms(frame, dtype=torch.float64), want=("dipole",)).dipole[0]
        assert float(expected.norm()) > 0.01
        np.testing.assert_allclose(dipole * ANGSTROM_PER_BOHR, expected, atol=1e-4)
