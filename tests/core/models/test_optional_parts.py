"""Optional parts of a student are in its file, and files without them are as they were."""

import hashlib

import pytest
import torch

from mlff_core import CheckpointError, InputError
from mlff_core.model.charges import ChargeReadout
from mlff_core.model.saturation import Saturation
from mlff_core.models.checkpoint import FORMAT_VERSION, load_checkpoint, save_checkpoint
from mlff_core.models.registry import resolve
from mlff_core.testing import small_student


@pytest.fixture
def bounded():
    student = small_student(kernel="reference")
    n = len(student.card.elements)
    student.model.saturation = Saturation([-1.5 - k for k in range(n)], [0.25] * n, 0.5)
    return student


def changed(path, **tensors):
    content = torch.load(path, weights_only=True)
    content["state_dict"] |= tensors
    torch.save(content, path)
    return path


def test_bounds_come_back_as_they_were_written(bounded, tmp_path):
    path = save_checkpoint(tmp_path / "model.pt", bounded.model, bounded.card)
    assert torch.load(path, weights_only=True)["format_version"] == FORMAT_VERSION == 3
    model, _ = load_checkpoint(path)
    state = bounded.model.state_dict()
    assert {name for name in state if name.startswith("saturation")}
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert model.saturation is not None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_bounds_have_the_precision_of_the_weights(bounded, tmp_path, dtype):
    path = save_checkpoint(tmp_path / "model.pt", bounded.model.to(dtype), bounded.card)
    model, _ = load_checkpoint(path)
    assert model.saturation.lowest.dtype == model.saturation.width.dtype == dtype


def test_a_student_without_parts_is_written_for_older_readers_too(tmp_path):
    student = small_student(kernel="reference")
    path = save_checkpoint(tmp_path / "model.pt", student.model, student.card)
    content = torch.load(path, weights_only=True)
    assert content["format_version"] == 2
    assert not [name for name in content["state_dict"] if name.startswith("saturation")]


def test_a_shipped_file_is_written_again_as_it_was(tmp_path):
    path = resolve("organic-ultra-tiny")
    model, card = load_checkpoint(path)
    assert model.saturation is None
    before, after = (
        torch.load(one, weights_only=True) for one in (path, save_checkpoint(tmp_path / "again.pt", model, card))
    )
    assert after["format_version"] == before["format_version"]
    digests = [
        hashlib.sha256(b"".join(t.numpy().tobytes() for t in one["state_dict"].values())).digest()
        for one in (before, after)
    ]
    assert digests[0] == digests[1]


def test_a_changed_bound_is_noticed(bounded, tmp_path):
    path = save_checkpoint(tmp_path / "model.pt", bounded.model, bounded.card)
    lowest = bounded.model.saturation.lowest.clone()
    lowest[0] -= 1
    with pytest.raises(CheckpointError, match="content has changed"):
        load_checkpoint(changed(path, **{"saturation.lowest": lowest}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lowest", torch.zeros(3)),
        ("width", torch.ones(2)),
        ("lowest", torch.full((8,), 99.0)),
        ("width", torch.zeros(())),
    ],
)
def test_bounds_that_do_not_fit_are_refused(bounded, tmp_path, name, value, monkeypatch):
    path = save_checkpoint(tmp_path / "model.pt", bounded.model, bounded.card)
    monkeypatch.setattr("mlff_core.models.checkpoint._digest", lambda content: content["digest"])
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(changed(path, **{f"saturation.{name}": value}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("0.weight", torch.zeros(24, 3)),
        ("0.bias", torch.zeros(5)),
        ("0.bias", torch.zeros(0)),
        ("0.bias", torch.zeros(())),
        ("2.weight", torch.zeros(2, 24)),
        ("2.bias", torch.zeros(2)),
    ],
)
def test_a_readout_of_charges_that_does_not_fit_is_refused(tmp_path, name, value, monkeypatch):
    student = small_student(kernel="reference")
    student.model.charges = ChargeReadout(student.model.n_features)
    path = save_checkpoint(tmp_path / "model.pt", student.model, student.card)
    assert load_checkpoint(path)[0].charges is not None
    monkeypatch.setattr("mlff_core.models.checkpoint._digest", lambda content: content["digest"])
    with pytest.raises(CheckpointError, match="is damaged"):
        load_checkpoint(changed(path, **{f"charges.{name}": value}))


def test_infinite_bounds_are_not_saved(bounded, tmp_path):
    bounded.model.saturation.lowest.fill_(-torch.inf)
    with pytest.raises(InputError, match=r"saturation\.lowest"):
        save_checkpoint(tmp_path / "model.pt", bounded.model, bounded.card)
