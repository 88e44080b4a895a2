"""The whole suite passes for an exact potential, and reports where a wrong one fails."""

import json

import pytest
import torch
from ase.build import molecule as ase_molecule

from mlff_core.errors import InputError
from mlff_core.judging.physics.molecules import choose_molecules
from mlff_core.judging.physics.suite import run_physics
from mlff_core.structures.reading import batch_from_atoms


@pytest.fixture(name="molecules")
def fixture_molecules():
    return {"water": batch_from_atoms(ase_molecule("H2O"), dtype=torch.float64)}


def test_springs_pass_everything_but_the_drift_of_a_run_too_short_to_fit(springs, molecules):
    report = run_physics({"float64": springs(k=5.0)}, molecules, reference=springs(k=5.0), length_ps=0.1)
    failed = {check.name for check in report.checks if check.passed is False}
    assert failed <= {"NVE drift (vacuum, float64)", "NVE drift (periodic, float64)"}
    by_name = {check.name: check for check in report.checks}
    assert by_name["frequencies, mean error"].value == pytest.approx(0.0, abs=1e-6)
    assert by_name["rotation: forces"].value < 1e-9
    assert len(report.runs) == 2
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["checks"]


def test_wrong_forces_fail_the_gradient_the_momentum_and_energy_conservation(springs, molecules):
    flawed = springs(force_error=torch.tensor([0.2, 0.0, 0.0]))
    report = run_physics({"float64": flawed}, molecules, length_ps=0.1)
    failed = {check.name for check in report.checks if check.passed is False}
    assert {"forces are minus the gradient of the energy", "net momentum", "rotation: forces"} <= failed
    assert "NVE drift (vacuum, float64)" in failed
    assert not report.passed


def test_a_check_with_an_error_is_a_failed_check_with_its_reason(springs, molecules):
    report = run_physics({"float64": springs(elements=(1,))}, molecules, length_ps=0.01)
    broken = [check for check in report.checks if check.value is None]
    assert broken
    assert any("does not know O" in check.definition for check in broken)
    assert not report.passed


def test_molecules_are_chosen_among_the_minima_of_known_elements(springs, labelled_file):
    data = labelled_file()
    chosen = choose_molecules(data, None, springs(), n=2)
    assert len(chosen) >= 1
    assert all(3 <= molecule.n_atoms <= 26 for molecule in chosen.values())
    with pytest.raises(InputError, match=r"whose elements .* supports"):
        choose_molecules(data, None, springs(elements=(9,)))
