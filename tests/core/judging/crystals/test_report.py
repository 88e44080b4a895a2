"""Several potentials beside each other: planted differences come back as deviations."""

import json

import pytest

from mlff_core.cli.judge_crystals import judged, tables
from mlff_core.errors import InputError
from mlff_core.judging.crystals.experiment import element
from mlff_core.judging.crystals.properties import CrystalReport
from mlff_core.judging.crystals.report import deviations, to_json


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
