"""Evaluating a potential on a data set finds known errors."""

import json

import numpy as np
import pytest
import torch

from mlff_core.data.hdf5 import LabelledStructure, write_dataset
from mlff_core.errors import InputError
from mlff_core.judging import evaluate as module
from mlff_core.judging.evaluate import evaluate

KEYS = {
    "n_structures",
    "force_r2",
    "force_mae",
    "force_rmse",
    "force_r2_magnitude",
    "force_angle_mean_deg",
    "force_angle_median_deg",
    "energy_mae_mev_per_atom",
    "energy_rmse_mev_per_atom",
    "relative_energy_mae_mev_per_atom",
    "by_element",
    "by_kind",
    "intervals",
}


def test_the_teacher_has_no_error_on_its_own_labels(springs, labelled_file):
    found = evaluate(springs(), labelled_file()).to_json()
    assert found["n_structures"] == 20
    assert found["force_mae"] < 1e-5
    assert found["force_r2"] == pytest.approx(1.0, abs=1e-6)
    assert found["energy_mae_mev_per_atom"] < 0.01


def test_known_errors_are_found_with_their_size(springs, labelled_file):
    student = springs(force_error=torch.tensor([0.3, 0.0, 0.0]), energy_error=1.0)
    found = evaluate(student, labelled_file(), "train").to_json()
    assert found["n_structures"] == 10
    assert found["force_mae"] == pytest.approx(0.1, abs=1e-5)
    assert found["force_rmse"] == pytest.approx(0.3 / np.sqrt(3), abs=1e-5)
    # The train half has two- and four-atom molecules: 1 eV is 500 and 250 meV an atom, and no relative error.
    assert found["energy_mae_mev_per_atom"] == pytest.approx(375, abs=0.1)
    assert found["relative_energy_mae_mev_per_atom"] < 0.01


def test_json_has_every_key_and_no_nan(springs, labelled_file):
    found = evaluate(springs(k=21.0), labelled_file()).to_json()
    assert set(found) >= KEYS
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    low, high = found["intervals"]["force_mae"]
    assert low <= found["force_mae"] <= high
    assert set(found["by_kind"]) == {"minimum", "rattle"}
    assert set(found["by_element"]) == {"H", "C", "O"}
    assert found["data"]["teacher"] == {"name": "springs"}


def test_metrics_do_not_depend_on_how_atoms_are_batched(springs, labelled_file):
    data = labelled_file()
    a = evaluate(springs(k=22.0), data, atoms_per_batch=1).to_json()
    b = evaluate(springs(k=22.0), data, atoms_per_batch=10_000).to_json()
    a.pop("seconds"), b.pop("seconds")
    assert a == b


def test_parts_add_up_to_the_whole(springs, labelled_file):
    found = evaluate(springs(k=25.0), labelled_file()).to_json()
    atoms = sum(row["n_atoms"] for row in found["by_element"].values())
    mean = sum(row["n_atoms"] * row["force_mae"] for row in found["by_element"].values()) / atoms
    assert atoms == found["n_atoms"]
    assert mean == pytest.approx(found["force_mae"], rel=1e-4)
    assert sum(row["n_structures"] for row in found["by_kind"].values()) == found["n_structures"]


def test_the_worst_structure_comes_first(springs, labelled_file):
    data = labelled_file()
    evaluation = evaluate(springs(k=30.0), data)
    errors = []
    for k in range(len(data)):
        labelled = data.read([k], dtype=torch.float64)
        forces = springs(k=30.0).predict(labelled.batch).forces
        errors.append(float((forces - labelled.forces).square().mean().sqrt()))
    assert evaluation.worst[0]["index"] == int(np.argmax(errors))
    assert evaluation.worst[0]["force_rmse"] == pytest.approx(max(errors), rel=1e-5)


def test_structures_of_an_unknown_element_are_counted_with_the_reason_and_not_evaluated(springs, labelled_file):
    data = labelled_file(numbers=[[6, 1], [9, 1], [6, 1, 1], [1, 1]])
    found = evaluate(springs(), data).to_json()
    assert found["n_structures"] == 15
    assert found["n_skipped"] == 5
    (reason,) = found["skipped"]
    assert "does not know F" in reason


def test_a_prediction_that_is_not_finite_is_counted_and_not_evaluated(springs, labelled_file):
    data = labelled_file()
    good = springs()

    class BreaksOnFour(springs):
        def predict_checked(self, batch, want, edges=None):
            found = good.predict_checked(batch, want, edges)
            found.energy[torch.bincount(batch.system_idx) == 4] = float("nan")
            return found

    found = evaluate(BreaksOnFour(), data).to_json()
    assert found["skipped"] == {"the prediction is not finite": 5}
    assert found["force_mae"] < 1e-5


def test_a_model_that_can_predict_nothing_is_an_error(springs, labelled_file):
    with pytest.raises(InputError, match="none of the 20 structures: springs does not know"):
        evaluate(springs(elements=(17,)), labelled_file())


@pytest.mark.parametrize(("column", "row"), [("energy", 3), ("forces", 7)])
def test_a_label_that_is_not_finite_is_refused_before_anything_is_predicted(springs, labelled_file, column, row):
    import h5py

    dataset = labelled_file()
    dataset.close()
    with h5py.File(dataset.path, "a") as file:
        file[column][row] = np.nan
    structure = 3  # of two atoms each

    class Silent(springs):
        def predict_checked(self, batch, want, edges=None):
            raise AssertionError("nothing should be predicted")

    with pytest.raises(InputError, match=f"data set '{column}': must be finite, but structure {structure} holds"):
        evaluate(Silent(), dataset)


def test_an_unknown_split_is_an_error(springs, labelled_file):
    with pytest.raises(InputError, match="validation"):
        evaluate(springs(), labelled_file(), "validation")


def test_structures_of_other_composition_do_not_share_a_zero_of_energy(springs, tmp_path):
    structures = [
        LabelledStructure(
            np.array([6] * n), 1.2 * np.arange(3 * n).reshape(n, 3), 0.0, np.zeros((n, 3)), molecule_id=0, smiles="C"
        )
        for n in (2, 3)
    ]
    write_dataset(tmp_path / "pair.h5", structures)
    data = module.Dataset(tmp_path / "pair.h5")
    found = evaluate(springs(), data).to_json()
    assert found["relative_energy_mae_mev_per_atom"] is None


def test_progress_ends_at_the_number_of_structures(springs, labelled_file):
    seen = []
    evaluate(springs(), labelled_file(), progress=lambda *done: seen.append(done), atoms_per_batch=8)
    assert seen[-1] == (20, 20)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_the_sample_of_atoms_is_bounded_and_even(springs, labelled_file, monkeypatch):
    monkeypatch.setattr(module, "SAMPLE_SIZE", 12)
    sample = evaluate(springs(), labelled_file(), atoms_per_batch=4).sample
    assert len(sample.row) == 12
    assert len(np.unique(sample.row)) > 4
