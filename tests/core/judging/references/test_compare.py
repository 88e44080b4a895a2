"""Comparison with reference energies: planted errors are found with their size and distance."""

import json

import numpy as np
import pytest
from ase.build import molecule
from ase.io import write
from click.testing import CliRunner

from mlff_core.cli.main import build
from mlff_core.judging.references.compare import alike, compare
from mlff_core.judging.references.plots import plot
from mlff_core.judging.references.sets import Complex, Conformers, ReferenceSet
from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.testing import PairPotential, small_student
from mlff_core.units import KCAL_MOL_PER_EV

POTENTIAL = PairPotential()


def energy(atoms):
    return POTENTIAL.predict(batch_from_atoms(atoms)).energy.item() * KCAL_MOL_PER_EV


def pair(distance, error, scaling=1.0, charge=0.0, element="N"):
    """Return two molecules whose reference is off from the potential's interaction by ``error``."""
    first, second = molecule("H2O"), molecule("NH3" if element == "N" else "AlCl3")
    second.positions += [distance, 0, 0]
    whole = first + second
    first.info, second.info, whole.info = {"charge": 0.0}, {"charge": charge}, {"charge": charge}
    is_served = element == "N" and charge == 0
    reference = energy(whole) - energy(first) - energy(second) if is_served else 0.0
    return Complex("pair", "", scaling, whole, (first, second), reference - error)


def test_planted_errors_of_interactions_are_found_by_distance():
    complexes = (pair(3.0, 1.0), pair(3.2, -3.0), pair(4.5, 0.5, scaling=1.5))
    found = compare(POTENTIAL, ReferenceSet("planted", complexes=complexes))
    assert found.metrics["MAE, equilibrium"] == pytest.approx(2.0, abs=1e-4)
    assert found.metrics["mean error, equilibrium"] == pytest.approx(-1.0, abs=1e-4)
    assert found.metrics["largest error, equilibrium"] == pytest.approx(3.0, abs=1e-4)
    assert found.metrics["MAE, 1.5 × equilibrium"] == pytest.approx(0.5, abs=1e-4)
    assert found.metrics["MAE, all distances"] == pytest.approx(1.5, abs=1e-4)
    assert found.skipped == {}


def test_what_cannot_be_computed_is_counted_with_its_reason_and_spoils_nothing_else():
    complexes = (pair(3.0, 1.0), pair(3.0, 0.0, charge=1.0), pair(4.0, 0.0, element="Al"), pair(3.1, 1.0))
    found = compare(POTENTIAL, ReferenceSet("planted", complexes=complexes))
    assert found.metrics["n"] == 2
    assert found.metrics["MAE, equilibrium"] == pytest.approx(1.0, abs=1e-4)
    assert sorted(found.skipped.values()) == [1, 1]
    assert any("charge" in reason for reason in found.skipped)
    assert any("does not know Al" in reason for reason in found.skipped)
    assert [row["interaction_kcal_mol"] is None for row in found.rows] == [False, True, True, False]
    assert found.metrics["MAE, equilibrium, cation"] is None


def test_conformers_are_compared_within_a_molecule():
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(6):
        frame = molecule("CH3CH2OH")
        frame.positions += rng.normal(0, 0.05, frame.positions.shape)
        frame.info = {"charge": 0.0}
        frames.append(frame)
    exact = np.array([energy(frame) for frame in frames])
    moved = Conformers("moved", tuple(frames), tuple(exact + 100.0))
    upside_down = Conformers("upside down", tuple(frames), tuple(-exact))
    few = Conformers("few", tuple(frames[:2]), (0.0, 1.0))
    found = compare(POTENTIAL, ReferenceSet("planted", conformers=(moved, upside_down, few)))
    first, second = found.rows
    assert first["mae_kcal_mol"] == pytest.approx(0.0, abs=1e-3)
    assert (first["r2"], first["rank"]) == (pytest.approx(1.0, abs=1e-6), pytest.approx(1.0))
    assert second["r2"] == pytest.approx(1.0, abs=1e-6)
    assert second["rank"] == pytest.approx(-1.0)
    assert second["mae_kcal_mol"] == pytest.approx(2 * np.abs(exact - exact.mean()).mean(), rel=1e-3)
    assert found.skipped == {"fewer than 3 conformers": 2}


def test_the_command_prints_a_table_and_json_and_writes_plots(tmp_path):
    pytest.importorskip("matplotlib")
    student = small_student()
    save_checkpoint(tmp_path / "model.pt", student.model, student.card)
    frames = []
    for scaling in (1.0, 1.5):
        one = pair(3.0 * scaling, 0.0, scaling)
        frame = one.whole.copy()
        frame.set_array("fragment", np.array([0] * 3 + [1] * 4))
        frame.info = {"scaling": scaling, "reference_interaction_kcal_mol": one.reference_kcal_mol}
        frames.append(frame)
    write(tmp_path / "pairs.extxyz", frames)
    line = ["judge", str(tmp_path / "model.pt"), "--set", str(tmp_path / "pairs.extxyz")]
    table = CliRunner().invoke(build(), [*line, "--out", str(tmp_path / "out")])
    assert table.exit_code == 0, table.output
    assert "MAE, equilibrium" in table.stdout
    assert (tmp_path / "out" / "pairs.png").read_bytes().startswith(b"\x89PNG")
    printed = CliRunner().invoke(build(), [*line, "--json"])
    (found,) = json.loads(printed.stdout)["comparisons"]
    assert found == json.loads((tmp_path / "out" / "judge.json").read_text())["comparisons"][0]
    assert found["metrics"]["n"] == 2


def test_nothing_to_judge_is_one_line():
    result = CliRunner().invoke(build(), ["judge"])
    assert result.exit_code == 1
    assert "give a MODEL" in result.stderr


def test_the_plot_of_conformers_has_a_line_for_each_model():
    pytest.importorskip("matplotlib")
    frames = tuple(molecule("CH3OH") for _ in range(4))
    for k, frame in enumerate(frames):
        frame.rattle(0.05, seed=k)
        frame.info = {"charge": 0.0}
    reference = ReferenceSet("some", conformers=(Conformers("methanol", frames, (0.0, 1.0, 2.0, 3.0)),))
    figure = plot([compare(POTENTIAL, reference), compare(POTENTIAL, reference)])
    assert len(figure.axes[0].get_legend().get_texts()) == 2


def test_reasons_that_differ_in_numbers_are_told_as_one():
    odd = "model is for closed shells, but at a total charge of 1 e the structure has 57 electrons"
    other = odd.replace("57", "9")
    assert alike({odd: 2, "unknown element": 1, other: 3}) == {odd: 5, "unknown element": 1}
