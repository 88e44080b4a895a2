"""Whole runs of training: what they learn, write, refuse, and continue.

Over 300 lines, in one file because its tests share the settings of one small run.
"""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from mlff_core import load
from mlff_core.config import load_config, to_dict
from mlff_core.data.hdf5 import Dataset, LabelledStructure, write_dataset
from mlff_core.errors import InputError, UnsupportedError
from mlff_core.models.checkpoint import file_sha256, load_checkpoint
from mlff_core.structures.batch import single
from mlff_core.training.log import read_log
from mlff_core.training.progress import Reporter
from mlff_core.training.settings import ModelSection
from mlff_core.training.state import check_same_run, read_state
from mlff_core.training.step import GradientStep
from mlff_core.training.trainer import TrainConfig, Trainer


def test_training_learns_the_forces_of_its_teacher(settings):
    result = Trainer(settings(stop={"max_steps": 160}, log={"validate_every_steps": 20})).fit()
    assert result.status == "finished"
    assert result.steps == 160
    losses = [row["val_loss"] for row in result.history if "val_loss" in row]
    assert losses[-1] < 0.3 * losses[0]
    assert result.metrics["force_r2"] > 0.85
    assert result.metrics["loss"] == min(losses)


def test_the_model_file_predicts_what_validation_measured(settings, morse_set):
    result = Trainer(settings()).fit()
    dataset = Dataset(morse_set)
    labels = dataset.read(dataset.indices("validation"))
    forces = load(result.model, device="cpu").predict(labels.batch).forces
    error = float((forces - labels.forces).abs().mean())
    assert error == pytest.approx(result.metrics["force_mae"], rel=1e-4)


def test_the_card_records_the_origin(settings, morse_set):
    result = Trainer(settings(card={"limits": ["Only for tests."], "description": "Small."})).fit()
    _, card = load_checkpoint(result.model)
    assert card.name == "small"
    assert card.teacher["name"] == "morse"
    assert card.dataset == {
        "name": "morse.h5",
        "sha256": file_sha256(morse_set),
        "n_structures": 96,
        "licence": "CC0-1.0",
    }
    assert card.metrics["validation"]["n_structures"] == 24
    assert card.metrics["validation"]["force_mae"] == pytest.approx(result.metrics["force_mae"])
    assert card.training["stop"]["max_steps"] == 40
    assert card.training["data"]["path"] == "morse.h5"
    assert card.licence == "MIT"
    assert card.limits[-1] == "Only for tests."
    assert card.parent == ""
    json.dumps(card.to_dict())


@pytest.mark.parametrize(
    ("numbers", "spin_multiplicities"), [((1, 8, 1), "closed shell"), ((8, 1), "singlet"), ((29, 29), "singlet")]
)
def test_a_card_says_closed_shells_where_the_data_are(settings, tmp_path, numbers, spin_multiplicities):
    rng = np.random.default_rng(0)
    frames = [
        LabelledStructure(
            np.array(numbers, np.uint8),
            np.arange(3.0 * len(numbers)).reshape(-1, 3).astype(np.float32) + rng.uniform(-0.1, 0.1, (len(numbers), 3)),
            energy=0.0,
            forces=rng.normal(size=(len(numbers), 3)).astype(np.float32),
            molecule_id=k,
        )
        for k in range(20)
    ]
    write_dataset(tmp_path / "in.h5", frames)
    data = {"path": str(tmp_path / "in.h5"), "validation_fraction": 0.2}
    result = Trainer(settings(data=data, stop={"max_steps": 2})).fit()
    card = load(result.model, device="cpu").card
    assert card.spin_multiplicities == spin_multiplicities
    assert ("Neutral, closed-shell structures only." in card.limits) == (spin_multiplicities == "closed shell")


def test_the_resolved_config_stands_beside_the_model(settings):
    config = settings()
    result = Trainer(config).fit()
    assert load_config(TrainConfig, result.out / "config.toml") == config


def test_the_log_has_losses_and_validations(settings):
    result = Trainer(settings()).fit()
    rows = read_log(result.out / "log.csv")
    assert [row["step"] for row in rows if "loss" in row] == [10, 20, 30, 40]
    assert [row["step"] for row in rows if "val_loss" in row] == [20, 40]
    assert all(row["gradient_norm"] > 0 and row["lr"] > 0 for row in rows if "loss" in row)


def _weights(out):
    state = read_state(out / "state.pt")
    return torch.cat([value.reshape(-1).double() for key in ("model", "average") for value in state[key].values()])


def test_the_same_seed_gives_the_same_weights_and_another_does_not(settings, tmp_path):
    runs = [Trainer(settings(out=str(tmp_path / f"{k}"), seed=seed)).fit() for k, seed in enumerate((1, 1, 2))]
    first, second, third = (_weights(run.out) for run in runs)
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


@pytest.mark.parametrize("kind", ["adamw", "soap", "muon"])
def test_a_run_that_is_stopped_and_resumed_ends_with_the_same_weights(settings, tmp_path, kind):
    optimizer = {"kind": kind}
    if kind == "soap":
        pytest.importorskip("pytorch_optimizer")

    class Stopper(Reporter):
        def step(self, step, progress, values, rate, seconds_left):
            if step == 13:
                trainer.request_stop()

    alone = Trainer(settings(out=str(tmp_path / "alone"), optimizer=optimizer)).fit()
    trainer = Trainer(settings(optimizer=optimizer), Stopper())
    stopped = trainer.fit()
    assert (stopped.status, stopped.steps) == ("stopped", 13)
    resumed = Trainer(settings(optimizer=optimizer)).fit(resume=True)
    assert (resumed.status, resumed.steps) == ("finished", 40)
    assert torch.equal(_weights(alone.out), _weights(resumed.out))
    assert [row["loss"] for row in resumed.history if "loss" in row] == pytest.approx(
        [row["loss"] for row in alone.history if "loss" in row], rel=1e-6
    )


def test_the_time_limit_leaves_a_state_and_a_model(settings):
    stopped = Trainer(settings(stop={"max_steps": 100_000, "max_minutes": 1e-4})).fit()
    assert stopped.status == "time"
    assert stopped.model.exists()
    resumed = Trainer(settings(stop={"max_steps": stopped.steps + 3})).fit(resume=True)
    assert (resumed.status, resumed.steps) == ("finished", stopped.steps + 3)


def test_a_budget_of_time_ends_the_run_and_its_cosine(settings):
    config = settings(stop={"max_steps": 100_000, "budget_minutes": 0.05}, log={"every_steps": 1})
    result = Trainer(config).fit()
    assert result.status == "finished"
    assert result.minutes >= 0.05
    assert result.history[-1]["step"] == result.steps < 100_000
    rates = [row["lr"] for row in result.history if "lr" in row]
    assert rates[-1] < 0.5 * max(rates)


def test_a_finished_run_is_left_as_it_is(settings):
    first = Trainer(settings()).fit()
    again = Trainer(settings()).fit(resume=True)
    assert (again.status, again.steps) == ("finished", 40)
    assert again.metrics == pytest.approx(first.metrics, rel=1e-6)


def test_a_run_is_not_overwritten_by_default(settings):
    Trainer(settings()).fit()
    with pytest.raises(InputError, match="holds a run already"):
        Trainer(settings()).fit()
    assert Trainer(settings()).fit(resume=False).steps == 40


def test_a_run_is_not_resumed_under_other_settings(settings):
    Trainer(settings()).fit()
    with pytest.raises(InputError, match=r"optimizer\.lr = 0\.01, now it is 0\.5"):
        Trainer(settings(optimizer={"lr": 0.5})).fit(resume=True)


def test_patience_ends_a_run_that_does_not_improve(settings):
    config = settings(
        optimizer={"lr": 1e-12, "ema_decay": 0.0},
        log={"validate_every_steps": 2},
        stop={"patience": 3, "max_steps": 1000},
    )
    result = Trainer(config).fit()
    assert result.status == "finished"
    assert result.steps < 1000


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_batch(settings, tmp_path, morse_set):
    path = tmp_path / "bad.h5"
    write_dataset(path, list(Dataset(morse_set).structures()), teacher={"name": "x"})
    import h5py

    with h5py.File(path, "a") as file:
        forces = file["forces"][:]
        forces[0] = 1e30
        file["forces"][:] = forces
    with pytest.raises(
        InputError, match=r"must be finite, got loss inf.*bad_batch\.pt: check structure 0 of .*bad\.h5"
    ):
        Trainer(settings(data={"path": str(path)}, loss={"kind": "mse"}, stop={"max_epochs": 1})).fit()
    batch = torch.load(tmp_path / "run" / "bad_batch.pt", weights_only=True)
    assert 0 in batch["index"]
    assert float(batch["forces"].max()) > 1e29


class Heard(Reporter):
    def __init__(self):
        self.messages = []

    def message(self, text):
        self.messages.append(text)


def fail_at(monkeypatch, steps):
    """Let the loss overflow in these calls of the gradient, as that of an unstable network does."""
    gradient, calls = GradientStep.__call__, []

    def overflowing(self, item, reduce_weights):
        terms = gradient(self, item, reduce_weights)
        calls.append(0)
        return {**terms, "loss": terms["loss"] * torch.inf} if len(calls) in steps else terms

    monkeypatch.setattr(GradientStep, "__call__", overflowing)


def test_a_batch_on_which_the_network_fails_is_left_out(settings, monkeypatch):
    fail_at(monkeypatch, (5, 6, 9))
    heard = Heard()
    result = Trainer(settings(stop={"max_steps": 20}), heard).fit()
    assert result.status == "finished"
    assert result.steps == 20
    left_out = [text for text in heard.messages if "is left out" in text]
    assert len(left_out) == 3
    assert left_out[0].startswith(
        "step 4: the batch is left out, since its loss is inf: the network fails on structure"
    )
    assert all(torch.isfinite(weight).all() for weight in load_checkpoint(result.model)[0].parameters())


def test_a_network_that_fails_on_every_batch_ends_the_run(settings, monkeypatch):
    fail_at(monkeypatch, range(5, 100))
    with pytest.raises(InputError, match=r"must be finite, got loss inf.* at step 7"):
        Trainer(settings(stop={"max_steps": 20})).fit()


@pytest.fixture
def spoiled_set(morse_set, tmp_path):
    """Make a copy of the set with one number of one of its columns replaced by NaN."""

    def make(name, row):
        import h5py

        path = tmp_path / "spoiled.h5"
        shutil.copyfile(morse_set, path)
        with h5py.File(path, "a") as file:
            file[name][row] = math.nan
        return {"path": str(path)}

    return make


@pytest.mark.parametrize("reference", ["fresh", "fit"])
def test_a_label_that_is_not_finite_is_named_before_a_fit_to_it(settings, spoiled_set, tmp_path, reference):
    model = {}
    if reference == "fit":
        parent = Trainer(settings(out=str(tmp_path / "parent"), stop={"max_steps": 2})).fit()
        model = {"init_from": str(parent.model), "reference": "fit"}
    with pytest.raises(InputError, match=r"spoiled\.h5: data set 'energy': must be finite, but structure 3 holds nan"):
        Trainer(settings(data=spoiled_set("energy", 3), model=model)).fit()
    assert not (tmp_path / "run").exists()


def test_a_validation_label_that_is_not_finite_is_named_before_the_first_step(
    settings, spoiled_set, morse_set, tmp_path
):
    dataset = Dataset(morse_set)
    structure = int(dataset.indices("validation")[-1])
    with pytest.raises(InputError, match=rf"data set 'forces': must be finite, but structure {structure} holds \[nan"):
        Trainer(settings(data=spoiled_set("forces", int(dataset.offsets[structure])))).fit()
    assert not (tmp_path / "run").exists()


def test_fine_tuning_starts_from_the_parents_weights(settings, tmp_path):
    parent = Trainer(settings(out=str(tmp_path / "parent"), stop={"max_steps": 120})).fit()
    child = Trainer(
        settings(model={"init_from": str(parent.model)}, optimizer={"lr": 1e-5}, stop={"max_steps": 5})
    ).fit()
    _, card = load_checkpoint(child.model)
    assert card.parent == file_sha256(parent.model)
    assert child.metrics["force_mae"] == pytest.approx(parent.metrics["force_mae"], rel=0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": 77}, r"model\.hidden = 77, but .*model\.pt has hidden = 8;"),
        ({"hidden": 8, "cutoff": 4.0}, r"model\.cutoff = 4\.0, but .* has cutoff = 5\.0;"),
        ({"shared_filters": False}, r"model\.shared_filters = False, but .* has shared_filters = True;"),
        ({"preset": "tiny", "hidden": 8, "shared_filters": True}, None),
        ({"preset": "ultra-tiny"}, r"model\.preset = 'ultra-tiny', but .* has hidden = 8, not 24;"),
        (
            {"elements": ["H", "C", "N", "O"]},
            r"model\.elements = \['H', 'C', 'N', 'O'\], but .* elements = \['H', 'C', 'O'\]",
        ),
        ({"elements": ["O", "H", "C"], "hidden": 8, "core": 0.6}, None),
    ],
)
def test_a_network_other_than_that_of_the_file_is_refused(settings, tmp_path, changes, message):
    parent = Trainer(settings(out=str(tmp_path / "parent"), stop={"max_steps": 1})).fit()
    config = replace(settings(stop={"max_steps": 1}), model=ModelSection(init_from=parent.model, **changes))
    if message is None:
        child, _ = load_checkpoint(Trainer(config).fit().model)
        assert (child.config.hidden, child.config.core) == (8, changes.get("core", 0.7))
        return
    with pytest.raises(InputError, match=message + r".*leave model\.\w+ out"):
        Trainer(config).fit()


def test_a_run_with_the_default_preset_is_resumed_when_it_is_given(settings):
    config = Trainer(settings(stop={"max_steps": 1})).config
    without_preset = replace(config, model=replace(config.model, preset=None))
    check_same_run(to_dict(replace(config, model=replace(config.model, preset="original"))), without_preset)
    with pytest.raises(InputError, match=r"model\.preset = 'ultra-tiny', now it is 'original'"):
        check_same_run(to_dict(config), without_preset)


def test_fine_tuning_can_move_to_another_zero_of_energy(settings, tmp_path, morse_set):
    shift = {1: 3.0, 6: -7.0, 8: 11.0}
    moved = [
        LabelledStructure(
            **{
                name: getattr(s, name)
                for name in ("atomic_numbers", "positions", "forces", "molecule_id", "kind", "split")
            },
            energy=s.energy + sum(shift[int(z)] for z in s.atomic_numbers),
        )
        for s in Dataset(morse_set).structures()
    ]
    write_dataset(tmp_path / "moved.h5", moved, teacher={"name": "y"})
    parent = Trainer(settings(out=str(tmp_path / "parent"), stop={"max_steps": 120})).fit()
    child = Trainer(
        settings(
            model={"init_from": str(parent.model), "reference": "fit"},
            data={"path": str(tmp_path / "moved.h5")},
            optimizer={"lr": 1e-6},
            stop={"max_steps": 2},
        )
    ).fit()
    assert child.metrics["energy_mae_mev_per_atom"] < 1.5 * parent.metrics["energy_mae_mev_per_atom"]


def test_replay_adds_the_old_data(settings, morse_set, tmp_path):
    few = [s for s in Dataset(morse_set).structures() if s.molecule_id == 0]
    write_dataset(tmp_path / "water.h5", few, teacher={"name": "morse"})
    plain = {"path": str(tmp_path / "water.h5")}
    alone = Trainer(settings(out=str(tmp_path / "alone"), data=plain, model={"elements": ["H", "C", "O"]})).fit()
    mixed = Trainer(settings(data={**plain, "replay": str(morse_set), "replay_share": 1.0})).fit()
    _, card = load_checkpoint(mixed.model)
    assert card.dataset["replay"]["sha256"] == file_sha256(morse_set)
    dataset = Dataset(morse_set)
    labels = dataset.read(np.flatnonzero(dataset.molecule_id > 0))

    def error(result):
        return float((load(result.model, device="cpu").predict(labels.batch).forces - labels.forces).abs().mean())

    assert error(mixed) < 0.7 * error(alone)


def test_replay_is_resumed_exactly(settings, morse_set, tmp_path):
    replay = {"replay": str(morse_set), "replay_share": 0.3}
    alone = Trainer(settings(out=str(tmp_path / "alone"), data=replay)).fit()
    first = settings(data=replay, stop={"max_steps": 40, "max_minutes": 1e-4})
    Trainer(first).fit()
    resumed = Trainer(settings(data=replay)).fit(resume=True)
    assert torch.equal(_weights(alone.out), _weights(resumed.out))


@pytest.mark.parametrize("step", ["double-backward", "finite-difference"])
def test_training_in_float64_and_bf16_works(settings, step):
    for precision in ("float64", "bf16"):
        result = Trainer(settings(precision=precision, step=step, stop={"max_steps": 20})).fit(resume=False)
        assert math.isfinite(result.metrics["loss"])


def test_tf32_needs_a_gpu(settings):
    with pytest.raises(InputError, match="precision must be float32, float64 or bf16 on cpu"):
        Trainer(settings(precision="tf32"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")
def test_training_in_tf32_learns_what_float32_learns(settings, tmp_path):
    seen = {}

    class Watcher(Reporter):
        def step(self, step, progress, values, rate, seconds_left):
            seen.setdefault(precision, []).append((values["loss"], torch.get_float32_matmul_precision()))

    before = torch.get_float32_matmul_precision()
    for precision in ("float32", "tf32"):
        config = settings(
            device="cuda",
            precision=precision,
            out=str(tmp_path / precision),
            model={"hidden": 32},
            stop={"max_steps": 120},
        )
        result = Trainer(config, Watcher()).fit()
        assert load_checkpoint(result.model)[1].training["precision"] == precision
        assert torch.get_float32_matmul_precision() == before
    exact, rounded = ([loss for loss, _ in seen[precision]] for precision in ("float32", "tf32"))
    assert {switch for _, switch in seen["float32"]} == {before}
    assert {switch for _, switch in seen["tf32"]} == {"high"}
    assert rounded[0] == pytest.approx(exact[0], rel=1e-2)
    assert np.mean(rounded[-20:]) < 0.3 * rounded[0]
    assert np.mean(rounded[-20:]) == pytest.approx(np.mean(exact[-20:]), rel=0.5)


def test_an_element_outside_the_model_is_named(settings):
    with pytest.raises(InputError, match="holds O, but the model supports H, C"):
        Trainer(settings(model={"elements": ["H", "C"]})).fit()


def ion(charge):
    return LabelledStructure(
        atomic_numbers=np.array([8, 1]),
        positions=np.array([[0.0, 0, 0], [0.97, 0, 0]], dtype=np.float32),
        energy=0.0,
        forces=np.zeros((2, 3), dtype=np.float32),
        charge=charge,
    )


def test_a_student_of_ions_takes_charges_and_counts_electrons_with_them(settings, tmp_path):
    write_dataset(tmp_path / "ion.h5", [ion(-1)] * 20, teacher={"name": "x"})
    path = Trainer(settings(data={"path": str(tmp_path / "ion.h5")}, stop={"max_steps": 2})).fit().model
    potential = load(path, device="cpu")
    assert (potential.card.charges, potential.card.spin_multiplicities) == ("closed-shell", "closed shell")
    assert not potential.card.is_even_without_charge
    positions = np.array([[0.0, 0, 0], [0.97, 0, 0]])
    hydroxide = potential.predict(single(positions, [8, 1], charge=-1)).energy
    # The proton next to it is another structure, but the charge alone is no input.
    assert torch.equal(hydroxide, potential.predict(single(positions, [8, 1], charge=+1)).energy)
    with pytest.raises(UnsupportedError, match="9 electrons, an odd number"):
        potential.predict(single(positions, [8, 1]))


def test_ions_with_an_odd_number_of_electrons_are_refused(settings, tmp_path):
    write_dataset(tmp_path / "ion.h5", [ion(-1)] * 3 + [ion(-2)] + [ion(-1)] * 16, teacher={"name": "x"})
    with pytest.raises(UnsupportedError, match=r"structure 3 of .* has 11 electrons at a charge of -2 e, an odd"):
        Trainer(settings(data={"path": str(tmp_path / "ion.h5")})).fit()


def test_open_shells_are_refused(settings, tmp_path):
    triplet = replace(ion(-1), spin_multiplicity=3)
    write_dataset(tmp_path / "triplet.h5", [triplet] * 20, teacher={"name": "x"})
    with pytest.raises(UnsupportedError, match="holds open-shell structures"):
        Trainer(settings(data={"path": str(tmp_path / "triplet.h5")})).fit()


def test_tensorboard_gets_the_scalars(settings):
    pytest.importorskip("tensorboard")
    result = Trainer(settings(log={"tensorboard": True}, stop={"max_steps": 20})).fit()
    assert any((result.out / "tensorboard").iterdir())


def test_the_run_leaves_the_random_state_and_the_matmul_switch_alone(settings):
    before = torch.get_rng_state().clone(), torch.get_float32_matmul_precision(), torch.is_grad_enabled()
    Trainer(settings(stop={"max_steps": 2})).fit()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_float32_matmul_precision(), torch.is_grad_enabled()) == before[1:]


def test_settings_on_the_card_hold_no_paths(settings, tmp_path):
    assert str(tmp_path) not in json.dumps(settings().for_card())
    assert str(tmp_path) in json.dumps(to_dict(settings()))
