"""Several potentials beside each other: planted differences come back as deviations."""

import json
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from mlff_core.card import ModelCard
from mlff_core.cli.judge_crystals import judged, tables
from mlff_core.cli.main import build
from mlff_core.errors import InputError
from mlff_core.judging.crystals.experiment import element
from mlff_core.judging.crystals.properties import CrystalReport
from mlff_core.judging.crystals.report import deviations, to_json
from mlff_core.model.painn import PaiNN
from mlff_core.model.presets import preset
from mlff_core.models.checkpoint import save_checkpoint


def report(model, **values):
    return CrystalReport(model, "Cu", values)


def test_planted_deviations_are_found_with_their_place():
    found = deviations(
        [report("a", c11=110.0, c12=90.0, c44=50.0, vacancy=1.0)],
        [report("b", c11=100.0, c12=100.0, c44=50.0, lattice_constant=3.6)],
    )
    (elastic,) = found
    assert elastic.group == "elastic constants"
    assert elastic.mean == pytest.approx(0.2 / 3)
    assert elastic.largest == pytest.approx(0.1)
    assert elastic.count == 3


def test_two_potentials_are_told_beside_experiment(bonds_of, capsys):
    soft, hard = bonds_of(k=1.0), bonds_of(k=2.0)
    reports = judged([soft, hard])
    tables(reports)
    printed = capsys.readouterr().out
    assert "168.3" in printed
    assert "elastic constants" in printed
    assert "50.0% (to 50.0%)" in printed
    assert "no " not in printed.split("relative deviations")[0].replace("THz", "")
    content = to_json(reports)
    json.dumps(content, allow_nan=False)
    first, last = content["models"]
    assert first["crystals"]["Cu"]["c11"] == pytest.approx(0.5 * last["crystals"]["Cu"]["c11"], rel=1e-3)
    assert last["deviations"] == []
    groups = {one["group"]: one["mean"] for one in first["deviations"]}
    assert groups["phonons"] == pytest.approx(1 - 0.5**0.5, abs=1e-3)
    assert groups["vacancies"] == pytest.approx(0.0, abs=1e-5)
    assert content["experiment"]["Cu"] == dict(element("Cu").measured)


def test_only_common_crystals_are_judged(bonds_of):
    with pytest.raises(InputError, match="no crystal that bonds and bonds can do together"):
        judged([bonds_of(elements=("Cu",)), bonds_of(elements=("Au",))])


def test_the_command_judges_crystals(tmp_path):
    """An untrained student holds no crystal: the command says so, and its files are whole."""
    config = replace(preset("ultra-tiny"), elements=(29,), cutoff=4.0)
    torch.manual_seed(0)
    model = str(save_checkpoint(tmp_path / "model.pt", PaiNN(config), ModelCard("none", config.elements, 4.0)))
    line = ["judge", model, "--set", "crystals"]
    printed = CliRunner().invoke(build(), [*line, "--json"])
    assert printed.exit_code == 0, printed.output
    content = json.loads(printed.stdout)
    assert content["comparisons"] == []
    (found,) = content["crystals"]["models"]
    assert set(found["crystals"]) == {"Cu"}
    table = CliRunner().invoke(build(), line)
    assert table.exit_code == 0, table.output
    assert ("none, Cu: no" in table.stdout) == bool(found["skipped"])


def test_a_model_of_molecules_has_no_crystals(tmp_path):
    config = replace(preset("ultra-tiny"), elements=(1, 6))
    model = str(save_checkpoint(tmp_path / "model.pt", PaiNN(config), ModelCard("organic", (1, 6), config.cutoff)))
    result = CliRunner().invoke(build(), ["judge", model, "--set", "crystals"])
    assert result.exit_code == 1
    assert "no crystal that organic can do" in result.stderr
