import json
import time
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from mlff_core.data.hdf5 import Dataset, LabelledStructure, write_dataset
from mlff_core.data.label import LabelConfig, label, label_structures
from mlff_core.errors import InputError, MissingDependencyError
from mlff_core.structures.dipole import dipoles
from mlff_core.testing.reference_potential import PairPotential

CONFIG = LabelConfig(batch_structures=10, batch_atoms=20, max_force=0.0)


def test_labels_are_what_the_teacher_predicts(chains, tmp_path):
    teacher = PairPotential()
    report = label(chains, tmp_path / "out.h5", teacher, CONFIG)
    assert (report.n_structures, report.n_failed_inputs, report.skipped) == (120, 0, None)
    with Dataset(tmp_path / "out.h5") as dataset:
        dataset.validate()
        read = dataset.read(np.arange(120))
        expected = teacher.predict(read.batch)
        torch.testing.assert_close(read.energy, expected.energy, rtol=0, atol=1e-5)
        torch.testing.assert_close(read.forces, expected.forces, rtol=0, atol=1e-5)
        assert dataset.teacher["name"] == "pair-potential"
        assert dataset.molecule_id.tolist() == Dataset(chains).molecule_id.tolist()
        np.testing.assert_array_equal(dataset.kind, Dataset(chains).kind)
    assert not (tmp_path / "out.h5.parts").exists()


def test_a_run_killed_at_random_moments_loses_no_more_than_a_batch_and_labels_nothing_twice(
    chains, tmp_path, logging_teacher, kill_after
):
    teacher, asked = logging_teacher
    output = tmp_path / "killed.h5"
    rng = np.random.default_rng()
    n_kills, finished = 0, False

    def work():
        label(chains, output, teacher, CONFIG)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside torch's threads
        begun = time.perf_counter()
        assert kill_after(lambda: label(chains, tmp_path / "whole.h5", PairPotential(), CONFIG), 60)
        whole_run = time.perf_counter() - begun
        while not finished:
            done = {k for path in output.with_name("killed.h5.parts").glob("batch-*.json") for k in batch_of(path.stem)}
            before = len(asked())
            # Most kills come early, so that there are many of them; late ones come while batches are joined.
            finished = kill_after(work, rng.uniform(0.05, 0.3) * whole_run if n_kills < 12 else 60)
            n_kills += not finished
            assert not done & set(asked()[before:])
    assert n_kills > 1
    counts = np.bincount(asked(), minlength=120)
    assert counts.min() >= 1
    assert counts.sum() <= 120 + 10 * n_kills
    assert output.read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("killed")) == ["killed.h5"]


def batch_of(stem):
    k = int(stem.removeprefix("batch-"))
    return range(10 * k, 10 * k + 10)


def test_a_finished_run_started_again_does_nothing(chains, tmp_path, logging_teacher):
    teacher, asked = logging_teacher
    first = label(chains, tmp_path / "out.h5", teacher, CONFIG)
    n_asked, content = len(asked()), (tmp_path / "out.h5").read_bytes()
    again = label(chains, tmp_path / "out.h5", teacher, CONFIG)
    assert len(asked()) == n_asked == 120
    assert (tmp_path / "out.h5").read_bytes() == content
    assert replace(again, n_resumed=0) == first


def test_an_output_of_other_settings_is_not_overwritten(chains, tmp_path):
    label(chains, tmp_path / "out.h5", PairPotential(), CONFIG)
    with pytest.raises(InputError, match="exists already and was made with other settings"):
        label(chains, tmp_path / "out.h5", PairPotential(), replace(CONFIG, max_force=5.0))


def test_parts_of_other_settings_are_not_mixed_in(chains, tmp_path, monkeypatch):
    class Tired(PairPotential):
        calls = 0

        def predict_checked(self, batch, want, edges=None):
            self.calls += 1
            if self.calls > 8:
                raise KeyboardInterrupt
            return super().predict_checked(batch, want, edges)

    with pytest.raises(KeyboardInterrupt):
        label(chains, tmp_path / "out.h5", Tired(), CONFIG)
    with pytest.raises(InputError, match=r"holds the batches of a run with another settings"):
        label(chains, tmp_path / "out.h5", PairPotential(), replace(CONFIG, batch_structures=7))
    assert label(chains, tmp_path / "out.h5", PairPotential(), CONFIG).n_resumed >= 1


class Fussy(PairPotential):
    """Fails on structures of eight atoms, gives NaN for those of seven."""

    def predict_checked(self, batch, want, edges=None):
        counts = batch.atoms_per_system()
        if 8 in counts:
            raise RuntimeError("SCF did not converge\nand more lines")
        result = super().predict_checked(batch, want, edges)
        result.energy[torch.tensor(counts) == 7] = torch.nan
        return result


def test_a_structure_on_which_the_teacher_fails_is_skipped_with_its_reason_and_costs_no_other(chains, tmp_path):
    report = label(chains, tmp_path / "out.h5", Fussy(), replace(CONFIG, max_failed_share=0.5))
    assert (report.n_structures, report.n_failed_inputs) == (80, 40)
    rows = [json.loads(line) for line in report.skipped.read_text().splitlines()]
    assert [row["source"] for row in rows] == [f"chains.h5:{k}" for k in range(120) if k % 6 in (4, 5)]
    assert {row["reason"] for row in rows} == {
        "pair-potential failed: SCF did not converge",
        "pair-potential gave energy that is not finite",
    }
    whole = label_structures(PairPotential(), list(Dataset(chains).structures()), max_force=0)
    kept = [s for k, s in enumerate(whole.structures) if k % 6 not in (4, 5)]
    for before, after in zip(kept, Dataset(tmp_path / "out.h5").structures(), strict=True):
        assert before.energy == pytest.approx(after.energy, abs=1e-5)


def test_a_run_stops_when_too_much_fails_and_goes_on_when_more_is_allowed(chains, tmp_path):
    with pytest.raises(InputError, match=r"more than the 0.1 of all 120 .* SCF did not converge \(\d+×\).*skipped"):
        label(chains, tmp_path / "out.h5", Fussy(), replace(CONFIG, max_failed_share=0.1))
    assert (tmp_path / "out.h5.skipped.jsonl").exists()
    report = label(chains, tmp_path / "out.h5", Fussy(), replace(CONFIG, max_failed_share=0.5))
    assert report.n_resumed > 0
    assert report.n_structures == 80


def test_structures_above_max_force_are_left_out(tmp_path):
    def pair(distance):
        return LabelledStructure(np.array([6, 6]), np.array([[0, 0, 0], [0, 0, distance]]))

    pairs = [pair(r) for r in (0.6, 1.3, 1.5, 1.8)]
    write_dataset(tmp_path / "in.h5", pairs)
    unlimited = label_structures(PairPotential(), pairs, max_force=0).structures
    forces = [float(np.abs(one.forces).max()) for one in unlimited]
    ceiling = 0.5 * (forces[0] + max(forces[1:]))
    assert forces[0] > ceiling
    report = label(tmp_path / "in.h5", tmp_path / "out.h5", PairPotential(), LabelConfig(max_force=ceiling))
    assert (report.n_structures, dict(report.dropped), report.n_failed_inputs) == (3, {"force": 1}, 0)


def test_crystals_get_a_stress_and_molecules_none(tmp_path):
    cell = np.array([[4.1, 0, 0], [0.7, 4.3, 0], [-0.4, 0.5, 4.4]])
    crystal = LabelledStructure(
        np.array([6, 8]), np.array([[0, 0, 0], [1.3, 0, 0.2]]), cell=cell, pbc=np.ones(3, bool), kind="cell"
    )
    molecule = LabelledStructure(np.array([6, 8]), np.array([[0, 0, 0], [1.3, 0, 0.2]]))
    write_dataset(tmp_path / "in.h5", [molecule, crystal, molecule])
    label(tmp_path / "in.h5", tmp_path / "out.h5", PairPotential(), LabelConfig(max_force=0))
    read = Dataset(tmp_path / "out.h5").read([0, 1, 2])
    alone = PairPotential().predict(Dataset(tmp_path / "out.h5").read([1]).batch, want=("stress",)).stress
    torch.testing.assert_close(read.stress[1], alone[0])
    assert float(read.stress[[0, 2]].abs().max()) == 0


def test_atom_energies_sum_to_the_energy(chains, tmp_path):
    label(chains, tmp_path / "out.h5", PairPotential(), replace(CONFIG, atom_energies=True))
    read = Dataset(tmp_path / "out.h5").read(np.arange(120))
    sums = torch.zeros(120, dtype=torch.float64).index_add_(0, read.batch.system_idx, read.atom_energies.double())
    torch.testing.assert_close(sums, read.energy, rtol=0, atol=1e-4)


def test_two_processes_give_the_same_bytes_even_when_one_is_killed(chains, tmp_path, deadly_teacher):
    factory, flag = deadly_teacher
    report = label(chains, tmp_path / "two.h5", factory, CONFIG, processes=2)
    assert flag.exists()
    assert report.n_structures == 120
    label(chains, tmp_path / "one.h5", PairPotential(), CONFIG)
    assert (tmp_path / "two.h5").read_bytes() == (tmp_path / "one.h5").read_bytes()


def test_a_teacher_that_cannot_be_sent_is_refused_for_several_processes(chains, tmp_path):
    with pytest.raises(InputError, match="picklable factory"):
        label(chains, tmp_path / "out.h5", lambda: PairPotential(), CONFIG, processes=2)


def test_a_missing_package_stops_the_run_at_once(chains, tmp_path):
    class Absent(PairPotential):
        def predict_checked(self, batch, want, edges=None):
            raise MissingDependencyError("needs a package: pip install it")

    with pytest.raises(MissingDependencyError, match="pip install it"):
        label(chains, tmp_path / "out.h5", Absent(), CONFIG)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_structures": 0}, "batch_structures must be at least 1, got 0"),
        ({"batch_atoms": 0}, "batch_atoms must be at least 1, got 0"),
        ({"max_force": -1.0}, "max_force must be 0"),
        ({"max_failed_share": 1.5}, "max_failed_share must lie between 0 and 1, got 1.5"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        LabelConfig(**settings)


def test_charges_and_dipoles_are_labels_where_the_teacher_gives_them(chains, tmp_path):
    class Charged(PairPotential):
        """A charge of 0.1 e on the first atom of each structure and −0.1 e on the last."""

        supports = PairPotential.supports | {"charges", "dipole"}

        def predict_checked(self, batch, want, edges=None):
            found = super().predict_checked(batch, set(want) - {"charges", "dipole"}, edges)
            charges = torch.zeros(batch.n_atoms, dtype=torch.float64)
            last = torch.tensor(batch.atoms_per_system()).cumsum(0) - 1
            charges[last] = -0.1
            charges[torch.cat([last.new_zeros(1), last[:-1] + 1])] = 0.1
            return replace(found, charges=charges, dipole=dipoles(batch, charges))

    label(chains, tmp_path / "out.h5", Charged(), CONFIG)
    with Dataset(tmp_path / "out.h5") as made:
        read = made.read(range(10))
    assert read.charges is not None
    torch.testing.assert_close(read.dipole.double(), dipoles(read.batch, read.charges), rtol=0, atol=1e-5)
    assert float(read.charges.abs().max()) == pytest.approx(0.1)
    label(chains, tmp_path / "none.h5", PairPotential(), CONFIG)
    assert not Dataset(tmp_path / "none.h5").has("charges")
