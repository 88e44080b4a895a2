"""``mlff compare`` on two models."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from mlff_core.card import ModelCard
from mlff_core.cli.main import cli
from mlff_core.data.hdf5 import LabelledStructure, write_dataset
from mlff_core.model.painn import PaiNN, PaiNNConfig, count_parameters
from mlff_core.models.checkpoint import save_checkpoint


@pytest.fixture(name="folder")
def fixture_folder(tmp_path):
    torch.manual_seed(0)
    for name, hidden in (("large", 16), ("small", 8)):
        config = PaiNNConfig(elements=(1, 8), hidden=hidden, n_layers=2, n_radial=6)
        model = PaiNN(config)
        card = ModelCard(name, config.elements, config.cutoff, n_parameters=count_parameters(model))
        save_checkpoint(tmp_path / f"{name}.pt", model, card)
    rng = np.random.default_rng(0)
    water = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    write_dataset(
        tmp_path / "data.h5",
        [
            LabelledStructure(
                np.array([8, 1, 1]),
                water + 0.05 * rng.normal(size=(3, 3)),
                float(rng.normal()),
                rng.normal(size=(3, 3)),
                molecule_id=k // 3,
                smiles="O",
            )
            for k in range(9)
        ],
    )
    return tmp_path


def mlff(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_models_are_compared_on_the_same_structures(folder):
    result = mlff("compare", folder / "large.pt", folder / "small.pt", "--data", folder / "data.h5", "--json")
    assert result.exit_code == 0, result.output
    large, small = json.loads(result.stdout)["models"]
    assert (large["model"]["name"], small["model"]["name"]) == ("large", "small")
    assert large["n_structures"] == small["n_structures"] == 9
    assert large["model"]["n_parameters"] > small["model"]["n_parameters"]


def test_the_table_and_the_report_show_both(folder):
    models = folder / "large.pt", folder / "small.pt"
    result = mlff("compare", *models, "--data", folder / "data.h5", "--out", folder / "out")
    assert result.exit_code == 0, result.output
    assert "large" in result.stdout
    assert "small" in result.stdout
    assert {entry.name for entry in (folder / "out").iterdir()} == {
        "report.html",
        "metrics.json",
        "forces-1-large.png",
        "forces-2-small.png",
    }


def test_a_wrong_name_is_found_before_anything_is_judged(folder):
    result = mlff("compare", folder / "large.pt", folder / "absent.pt", "--data", folder / "data.h5")
    assert result.exit_code == 1
    assert "absent.pt" in result.stderr
    assert result.stdout == ""
