"""Model files changed at random: one of our errors, or the model they were."""

import io
import pickle
import zipfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlff_core.errors import MlffError
from mlff_core.models.checkpoint import load_checkpoint, save_checkpoint
from mlff_core.testing import small_student

LIMITS = settings(settings.get_profile("fuzz"), max_examples=40)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module", name="whole")
def fixture_whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "model.pt"
    student = small_student()
    save_checkpoint(path, student.model, student.card)
    return path.read_bytes()


def opened(path):
    """Return the weights of a file, or None where it is refused with one of our errors."""
    try:
        model, card = load_checkpoint(path)
    except MlffError:
        return None
    assert card.n_parameters == sum(weight.numel() for weight in model.parameters())
    return model.state_dict()


@LIMITS
@given(places=st.lists(st.tuples(st.integers(0), st.integers(1, 255)), max_size=8), cut=st.integers(0, 60_000))
def test_changed_and_cut_bytes_are_refused_or_change_nothing(whole, tmp_path, places, cut):
    content = bytearray(whole)
    for place, bits in places:
        content[place % len(content)] ^= bits
    if cut % 3 == 0:
        del content[cut % len(content) :]
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    found = opened(path)
    if found is not None:
        expected = torch.load(io.BytesIO(whole), weights_only=True)["state_dict"]
        assert all(torch.equal(found[name], expected[name]) for name in expected)


@LIMITS
@given(data=st.data())
def test_entries_of_other_kinds_are_refused(whole, tmp_path, data):
    content = torch.load(io.BytesIO(whole), weights_only=True)
    table = content
    while True:
        key = data.draw(st.sampled_from(sorted(table)))
        if isinstance(table[key], dict) and table[key] and data.draw(st.booleans()):
            table = table[key]
            continue
        break
    if data.draw(st.booleans()):
        del table[key]
    else:
        table[key] = data.draw(PLAIN | st.just(torch.zeros(3)) | st.just(torch.tensor(float("nan"))))
    path = tmp_path / "model.pt"
    torch.save(content, path)
    opened(path)


@LIMITS
@given(noise=st.binary(max_size=200), where=st.sampled_from(["alone", "pickle", "archive"]))
def test_noise_and_foreign_archives_are_refused(tmp_path, noise, where):
    path = tmp_path / "model.pt"
    if where == "archive":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model/data.pkl", noise)
            archive.writestr("model/version", "3\n")
    else:
        path.write_bytes(pickle.dumps(noise) if where == "pickle" else noise)
    assert opened(path) is None
