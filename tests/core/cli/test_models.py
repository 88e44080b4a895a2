"""``mlff models`` from the first model to the last."""

import json

import pytest
import torch
from click.testing import CliRunner

from mlff_core import ModelCard
from mlff_core.cli.main import build
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.models import registry
from mlff_core.models.checkpoint import file_sha256, save_checkpoint

CONFIG = PaiNNConfig(elements=(1, 8), hidden=8, n_layers=1, n_radial=4)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFF_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setattr(registry, "SHIPPED_FOLDER", tmp_path / "shipped")
    return tmp_path / "models"


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(0)
    card = ModelCard(
        "drop", CONFIG.elements, CONFIG.cutoff, description="a drop of water",
        teacher={"name": "so3lr", "version": "0.2"}, metrics={"forces": {"mae": 0.25}}, limits=("no ions", "no metals"),
    )  # fmt: skip
    return save_checkpoint(tmp_path / "model.pt", PaiNN(CONFIG), card)


def run(*arguments, status=0):
    result = CliRunner().invoke(build(), ["models", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result


def test_a_model_is_added_listed_shown_verified_and_removed(folder, file):
    empty = run("list")
    assert empty.stdout == ""
    assert str(folder) in empty.stderr
    assert not folder.exists()
    assert json.loads(run("list", "--json").stdout) == []

    assert json.loads(run("add", file, "--json").stdout)["path"] == str(folder / "drop.pt")
    run("add", file, "--name", "drop-2")
    rows = json.loads(run("list", "--json").stdout)
    assert [row["name"] for row in rows] == ["drop", "drop-2"]
    assert rows[0]["elements"] == ["H", "O"]
    assert rows[0]["origin"] == "user"
    assert "drop-2" in run("list").stdout

    shown = json.loads(run("show", "drop", "--json").stdout)
    assert shown["card"]["teacher"] == {"name": "so3lr", "version": "0.2"}
    assert shown["sha256"] == file_sha256(file)
    assert json.loads(run("verify", "--json").stdout) == [
        {"name": name, "status": "ok", "problems": []} for name in ("drop", "drop-2")
    ]

    run("remove", "drop-2")
    assert [row["name"] for row in json.loads(run("list", "--json").stdout)] == ["drop"]


def test_a_card_is_shown_for_people(folder, file):
    lines = run("show", file).stdout.splitlines()
    texts = [" ".join(line.split()) for line in lines]
    for wanted in ("elements H O", "cutoff 5 Å", "limits no ions, no metals", "description a drop of water"):
        assert wanted in texts
    assert lines[texts.index("metrics") + 1].startswith("  forces")
    assert "mae 0.25" in texts
    assert not any(line.startswith("parent") for line in texts), "what is empty is left out"


def test_a_damaged_model_is_found_and_does_not_hide_the_others(folder, file):
    run("add", file)
    run("add", file, "--name", "other")
    (folder / "drop.pt").write_bytes(b"damaged")
    rows = {row["name"]: row for row in json.loads(run("verify", "--json", status=1).stdout)}
    assert rows["drop"]["status"] == "damaged"
    assert rows["other"]["status"] == "ok"
    assert "broken" in {row["name"]: row for row in json.loads(run("list", "--json").stdout)}["drop"]["description"]
    assert run("verify", "other").stdout.split() == ["other", "ok"]
    run("verify", file)
    run("verify", folder / "drop.pt", status=1)


@pytest.mark.parametrize(
    "arguments", [("show", "drip"), ("verify", "drip"), ("remove", "drip"), ("add", "absent.pt"), ("show", "absent.pt")]
)
def test_what_is_not_there_is_one_line_and_status_1(folder, file, arguments):
    run("add", file)
    result = run(*arguments, status=1)
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
