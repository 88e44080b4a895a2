"""Opening trained and exported files alike."""

from pathlib import Path

import pytest
import torch

import mlff_core
from mlff_core import (
    CheckpointError,
    InputError,
    MissingDependencyError,
    ModelCard,
    PluginError,
    Runtime,
    StudentPotential,
    hookimpl,
)
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.models import opening
from mlff_core.models.checkpoint import load_checkpoint, save_checkpoint
from mlff_core.plugins.host import PluginHost

CONFIG = PaiNNConfig(elements=(1, 8), hidden=8, n_layers=1, n_radial=4)


class Drawer(Runtime):
    """Opens our own format under another ending, always in float32."""

    name = "drawer"
    suffixes = (".drawer", ".pt")

    def open(self, path: Path, *, device: str = "cpu"):
        return StudentPotential(*load_checkpoint(path), device=torch.device("cpu" if device == "auto" else device))


class Absent(Drawer):
    name = "absent"
    suffixes = (".absent",)
    requires = ("package-that-nobody-has>=3",)
    install_hint = "pip install package-that-nobody-has"


class Rival(Drawer):
    name = "rival"
    suffixes = (".contested",)


class Second(Rival):
    name = "second"


class Plugin:
    @hookimpl
    def mlff_register_runtimes(self):
        return [Drawer(), Absent(), Rival(), Second()]


@pytest.fixture(autouse=True)
def host_with_runtimes(monkeypatch):
    host = PluginHost()
    host.register(Plugin(), "drawers")
    monkeypatch.setattr(opening, "host", lambda: host)


def write(path):
    torch.manual_seed(0)
    return save_checkpoint(path, PaiNN(CONFIG), ModelCard("drop", CONFIG.elements, CONFIG.cutoff))


def test_the_packages_load_is_this_one():
    assert mlff_core.load is opening.load


@pytest.mark.parametrize("ending", ["drawer", "DRAWER"])
def test_an_ending_that_a_runtime_claims_is_opened_by_it(tmp_path, monkeypatch, ending):
    opened = []
    plain = Drawer.open
    monkeypatch.setattr(Drawer, "open", lambda self, path, *, device: opened.append(path) or plain(self, path))
    path = write(tmp_path / f"model.{ending}")
    assert opening.load(path).card.name == "drop"
    assert opened == [path]


def test_our_own_ending_cannot_be_claimed(tmp_path, monkeypatch):
    monkeypatch.setattr(Drawer, "open", lambda *_, **__: pytest.fail("a runtime opened a model.pt"))
    potential = opening.load(write(tmp_path / "model.pt"), device="cpu", dtype="float64", kernel="reference")
    assert potential.dtype == torch.float64


def test_an_unclaimed_ending_is_read_as_our_own(tmp_path):
    assert opening.load(write(tmp_path / "model.backup"), device="cpu").card.name == "drop"
    (tmp_path / "model.strange").write_text("strange")
    with pytest.raises(CheckpointError, match="no model file"):
        opening.load(tmp_path / "model.strange")


def test_a_missing_file_is_reported_before_any_runtime_is_asked(tmp_path):
    with pytest.raises(CheckpointError, match="no file"):
        opening.load(tmp_path / "model.drawer")


def test_what_an_exported_file_cannot_do_is_refused(tmp_path):
    path = write(tmp_path / "model.drawer")
    with pytest.raises(InputError, match=r"exported in torch.float32, float64 was asked for"):
        opening.load(path, dtype="float64")
    with pytest.raises(InputError, match="kernel must be 'auto'"):
        opening.load(path, kernel="reference")
    with pytest.raises(InputError, match="dtype must be"):
        opening.load(path, dtype="float8")


def test_the_error_for_a_runtime_that_is_not_installed_has_the_install_command(tmp_path):
    with pytest.raises(MissingDependencyError, match="pip install package-that-nobody-has"):
        opening.load(write(tmp_path / "model.absent"))


def test_two_runtimes_for_one_ending_are_both_named(tmp_path):
    with pytest.raises(PluginError, match=r"\.contested are claimed by rival and second"):
        opening.load(write(tmp_path / "model.contested"))
