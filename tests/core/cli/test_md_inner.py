"""``mlff md`` of a teacher, and with an inner model."""

import json
import re

import numpy as np
import pytest
from ase.build import molecule
from click.testing import CliRunner

from mlff_core.cli.main import build
from mlff_core.data.sampling.langevin import langevin_md
from mlff_core.data.structure import LabelledStructure
from mlff_core.dynamics import MDSettings, run_md


@pytest.fixture
def md(tmp_path):
    molecule("CH3CH2OH").write(tmp_path / "ethanol.xyz")

    def run(model, *arguments, folder="run"):
        given = [
            "md",
            model,
            str(tmp_path / "ethanol.xyz"),
            "-o",
            str(tmp_path / folder),
            "--device",
            "cpu",
            *arguments,
        ]
        return CliRunner().invoke(build(), given)

    return run


def test_the_default_step_of_the_outer_model_holds_half_a_femtosecond_for_each_inner_one(md, tmp_path):
    given = ["--temperature-kelvin", "300", "--time-ps", "0.04", "--inner", "organic-ultra-tiny", "--inner-steps", "4"]
    done = md("organic-tiny", *given)
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["inner"] == "organic-ultra-tiny"
    assert len(record["inner_sha256"]) == 64
    assert (record["settings"]["timestep_fs"], record["settings"]["n_steps"]) == (2.0, 20)
    assert "to step 20 (40 fs)" in done.stderr
    assert float(re.search(r"([\d.]+) ns/day", done.stderr)[1]) > 0


def test_the_inner_model_and_its_steps_belong_together(md, tmp_path):
    for given in (["--inner", "organic-ultra-tiny"], ["--inner-steps", "4"]):
        refused = md("organic-tiny", "--temperature-kelvin", "300", "--steps", "4", *given)
        assert refused.exit_code == 2
        assert "belong together" in refused.output
    assert not (tmp_path / "run").exists()


def test_options_of_a_teacher_are_refused_for_a_model(md):
    refused = md("organic-tiny", "--temperature-kelvin", "300", "--steps", "4", "--teacher-option", "a=1")
    assert "has no options of a teacher" in refused.output


def test_a_teacher_runs_and_continues(md, tmp_path):
    pytest.importorskip("tblite")
    given = ["--temperature-kelvin", "300", "--inner", "organic-ultra-tiny", "--inner-steps", "2", "--log-every", "1"]
    assert md("gfn2-xtb", *given, "--steps", "4", folder="parts").exit_code == 0
    assert md("gfn2-xtb", *given, "--steps", "8", "--restart", folder="parts").exit_code == 0
    assert md("gfn2-xtb", *given, "--steps", "8", folder="whole").exit_code == 0
    parts, whole = (
        np.genfromtxt(tmp_path / name / "log.csv", delimiter=",", names=True) for name in ("parts", "whole")
    )
    assert whole["step"].tolist() == list(range(9))
    np.testing.assert_allclose(parts["conserved_energy"], whole["conserved_energy"], rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("outer", "inner"), [("organic-original", "organic-ultra-tiny"), ("so3lr", "organic-original")]
)
def test_energy_of_aspirin_is_conserved_with_an_outer_step_of_two_femtoseconds(outer, inner, tmp_path):
    from mlff_core.cli.any_potential import is_teacher, open_potential
    from mlff_core.structures.smiles import structure_of

    if is_teacher(outer):
        pytest.importorskip("so3krates_torch")
    loading = {"device": "cpu", "dtype": "float64", "guard": "off"}
    potentials = [open_potential(name, **loading)[0] for name in (outer, inner)]
    start = structure_of("CC(=O)Oc1ccccc1C(=O)O")
    structure = LabelledStructure(start.numbers, start.positions)
    random = np.random.default_rng(0)
    ((warm,),) = langevin_md(potentials[1], [structure], random, temperature_k=300.0, n_frames=1, steps_between=400)
    start.positions = warm.positions
    settings = MDSettings("nve", 500, 2.0, inner_steps=4, temperature_kelvin=300.0, log_every=1)
    run_md(potentials[0], start, settings, tmp_path, inner=potentials[1])
    log = np.genfromtxt(tmp_path / "log.csv", delimiter=",", names=True)
    energies = 1000 * log["total_energy"] / len(start)
    drift = np.polyfit(log["time_fs"] / 1000, energies, 1)[0]
    assert abs(drift) < 1.0  # meV/atom/ps
    assert energies.std() < 1.0
