"""``mlff predict``, ``md`` and ``relax`` from the command line."""

import json
import math

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import read, write
from click.testing import CliRunner

import mlff_core
from mlff_core.cli.main import cli
from mlff_core.errors import InputError
from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.testing import small_student
from mlff_core.testing.structures import ethanol, triclinic_crystal
from mlff_plugins.ase import MLFFCalculator


@pytest.fixture(name="folder")
def fixture_folder(tmp_path, monkeypatch):
    student = small_student()
    student.model.scale.fill_(0.02)  # nearly flat, so that atoms under random weights stay where they are for a while
    save_checkpoint(tmp_path / "model.pt", student.model, student.card)
    moved = ethanol()
    moved.positions += 0.03
    write(tmp_path / "two.extxyz", [ethanol(), moved])
    write(tmp_path / "one.xyz", ethanol())
    write(tmp_path / "crystal.extxyz", [triclinic_crystal()])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mlff(*arguments, status=0):
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == status, result.output
    if status:
        assert isinstance(result.exception, SystemExit), result.exception
        assert result.stdout == ""
        if status == 1:
            assert len(result.stderr.strip().splitlines()) == 1
            assert result.stderr.startswith("Error: ")
    return result


def test_predict_prints_json_of_every_frame(folder):
    rows = json.loads(mlff("predict", "model.pt", "two.extxyz", "--json").stdout)
    assert [row["frame"] for row in rows] == [0, 1]
    potential = mlff_core.load(folder / "model.pt", device="cpu")
    expected = potential.predict(batch_from_atoms(ethanol()))
    assert rows[0]["energy"] == pytest.approx(float(expected.energy[0]), abs=1e-4)
    np.testing.assert_allclose(rows[0]["forces"], expected.forces, atol=1e-5)
    assert rows[1]["energy"] == pytest.approx(rows[0]["energy"], abs=1e-4)
    assert "stress" not in rows[0]


def test_predict_prints_a_table_and_writes_a_file(folder):
    result = mlff("predict", "model.pt", "crystal.extxyz", "--stress", "-o", "out/out.extxyz", "--dtype", "float64")
    assert "pressure GPa" in result.stdout
    assert "wrote 1 structures" in result.stderr
    frame = read(folder / "out" / "out.extxyz")
    (row,) = json.loads(mlff("predict", "model.pt", "crystal.extxyz", "--stress", "--json").stdout)
    assert frame.get_potential_energy() == pytest.approx(row["energy"], abs=1e-3)
    np.testing.assert_allclose(frame.get_stress(voigt=False), row["stress"], atol=1e-5)


@pytest.mark.parametrize("command", ["predict", "relax", "md"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Atoms("Xe", positions=[[0, 0, 0]]), "does not know Xe"),
        (Atoms("HH", positions=[[0, 0, 0], [0, 0, 0.1]]), "overlap"),
        (Atoms("C", positions=[[math.nan, 0, 0]]), "positions must be finite, but atom 0"),
        (Atoms("C", positions=[[math.inf, 0, 0]]), "positions must be finite, but atom 0"),
        (Atoms("C", positions=[[0, 0, 0]], info={"charge": 1}), "neutral"),
        ("0\n\n", "holds no structure"),
        ("this is no structure", "cannot be read"),
        (None, "there is no file"),
    ],
)
def test_bad_structures_get_one_line_and_leave_nothing(folder, command, content, message):
    if isinstance(content, Atoms):
        write(folder / "bad.extxyz", content)
    elif content is not None:
        (folder / "bad.extxyz").write_text(content)
    before = sorted(folder.iterdir())
    more = ["--steps", 5, "--temperature-kelvin", 300] if command == "md" else []
    result = mlff(command, "model.pt", "bad.extxyz", "-o", "out" if command == "md" else "out.extxyz", *more, status=1)
    assert message in result.stderr
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", "model.pt", "one.xyz", "--dtype", "float16"), "dtype must be one of"),
        (("predict", "model.pt", "one.xyz", "--device", "abacus"), "device 'abacus' cannot be used"),
        (("predict", "model.pt", "one.xyz", "--stress"), "stress needs a periodic cell"),
        (("predict", "none.pt", "one.xyz"), "none.pt"),
        (("predict", "model.pt", "one.xyz", "-o", "out.nonsense"), "cannot be written"),
        (("relax", "model.pt", "one.xyz", "--cell"), "periodic in all directions"),
        (("relax", "model.pt", "one.xyz", "--fmax", "-1"), "fmax must be positive"),
        (("predict", "model.pt", "one.xyz", "-o", "."), "is a folder; give the name of a file"),
        (("relax", "model.pt", "one.xyz", "-o", "/proc/none/out.xyz"), "choose another place"),
        (("md", "model.pt", "one.xyz", "-o", "out", "--steps", "5"), "--temperature-kelvin"),
        (("md", "model.pt", "one.xyz", "-o", "out", "--steps", "5", "--ensemble", "nve"), "no velocities"),
        (("md", "model.pt", "one.xyz", "-o", "out", "--time-ps", "nan", "--temperature-kelvin", "300"), "--time-ps"),
        (
            ("md", "model.pt", "one.xyz", "-o", "out", "--time-ps", "inf", "--temperature-kelvin", "300"),
            "must be positive and finite, got inf",
        ),
        (("md", "model.pt", "one.xyz", "-o", "one.xyz", "--steps", "5", "--temperature-kelvin", "300"), "is a file"),
    ],
)
def test_wrong_values_get_one_line_and_leave_nothing(folder, arguments, message):
    before = {path: path.stat().st_size for path in folder.iterdir()}
    assert message in mlff(*arguments, status=1).stderr
    assert {path: path.stat().st_size for path in folder.iterdir()} == before


def test_md_needs_exactly_one_length(folder):
    assert "either --steps or --time-ps" in mlff("md", "model.pt", "one.xyz", "-o", "out", status=2).stderr


def test_md_runs_stops_and_goes_on(folder):
    line = ["md", "model.pt", "two.extxyz", "-o", "run", "--temperature-kelvin", 200, "--seed", 3, "--log-every", 2]
    result = mlff(*line, "--time-ps", 0.01)
    assert "to step 20 (10 fs)" in result.stderr
    assert result.stdout == ""
    assert "already holds" in mlff(*line, "--steps", 40, status=1).stderr
    assert "from step 20 to step 40" in mlff(*line, "--steps", 40, "--restart").stderr
    log = (folder / "run" / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in log] == ["step", *(str(k) for k in range(0, 41, 2))]
    assert "timestep_fs was 0.5" in mlff(*line, "--steps", 40, "--restart", "--timestep-fs", 1, status=1).stderr


def test_md_runs_copies_of_every_frame_at_once(folder):
    line = ["md", "model.pt", "two.extxyz", "-o", "run", "--temperature-kelvin", 200, "--replicas", 2, "--all-frames"]
    result = mlff(*line, "--steps", 4, "--frame-every", 2)
    assert result.stdout == ""
    assert "4 structures, to step 4" in result.stderr
    frames = read(folder / "run" / "trajectory.extxyz", ":")
    assert [frame.info["replica"] for frame in frames] == 3 * [0, 1, 2, 3]
    assert "from step 4 to step 8" in mlff(*line, "--steps", 8, "--frame-every", 2, "--restart").stderr
    unlike = ("md", "model.pt", "one.xyz", "-o", "other", "--ensemble", "nve", "--steps", 4, "--replicas", 2)
    assert "same velocities" in mlff(*unlike, status=1).stderr


def test_md_of_a_crystal_at_constant_pressure(folder):
    line = ["md", "model.pt", "crystal.extxyz", "-o", "run", "--temperature-kelvin", 100, "--ensemble", "npt"]
    mlff(*line, "--steps", 40, "--full-cell", "--dtype", "float64", "--trajectory", "run.traj", "--frame-every", 20)
    frames = read(folder / "run" / "run.traj", ":")
    assert [frame.info["step"] for frame in frames] == [0, 20, 40]
    assert abs(frames[-1].get_volume() - frames[0].get_volume()) > 1e-6


def test_relax_lowers_the_energy_of_every_frame(folder):
    result = mlff("relax", "model.pt", "two.extxyz", "-o", "out.extxyz", "--json", "--max-steps", 5, "--fmax", 1e-4)
    rows = json.loads(result.stdout)
    assert len(rows) == len(read(folder / "out.extxyz", ":")) == 2
    for row in rows:
        assert row["energy"] < row["energy_before"]
        assert row["converged"] is False
    assert "2 of 2 did not converge" in result.stderr


def test_relax_prints_a_table(folder):
    assert "largest force" in mlff("relax", "model.pt", "one.xyz", "--max-steps", 3, "--optimizer", "fire").stdout
    assert "'newton' is not one of" in mlff("relax", "model.pt", "one.xyz", "--optimizer", "newton", status=2).stderr


def test_relax_advises_another_optimizer_than_the_one_that_did_not_converge(folder):
    for optimizer, other in [("fire", "try bfgs"), ("bfgs", "try fire"), ("lbfgs", "try --optimizer bfgs")]:
        line = ("relax", "model.pt", "one.xyz", "--max-steps", 2, "--fmax", 1e-6, "--optimizer", optimizer)
        assert mlff(*line).stderr.strip().endswith(other)
    assert mlff("relax", "model.pt", "two.extxyz", "--max-steps", 2, "--fmax", 1e-6).stderr.strip().endswith("bfgs")


def test_an_output_that_cannot_be_written_is_refused_before_the_work(folder):
    for command in ("relax", "predict"):
        assert "out.mol2 cannot be written" in mlff(command, "none.pt", "two.extxyz", "-o", "out.mol2", status=1).stderr


def test_relax_takes_a_smiles(folder):
    pytest.importorskip("rdkit")
    rows = json.loads(mlff("relax", "model.pt", "CCO", "--max-steps", 3, "--json").stdout)
    assert [row["formula"] for row in rows] == ["C2H6O"]
    assert "not a valid SMILES" in mlff("relax", "model.pt", "C1CC", status=1).stderr


def test_a_model_that_gives_no_numbers_is_an_error_that_names_the_structure(folder):
    student = small_student()
    with torch.no_grad():
        for parameter in student.model.parameters():
            parameter.mul_(1e12)
    save_checkpoint(folder / "huge.pt", student.model, student.card)
    for more in ([], ["--json"]):
        result = mlff("predict", "huge.pt", "two.extxyz", "--device", "cpu", *more, status=1)
        assert "frame 0 of 2: small-student gave an energy that is not a finite number" in result.stderr
        assert result.stdout == ""
    with pytest.raises(InputError, match="not a finite number"):
        MLFFCalculator(folder / "huge.pt", device="cpu").get_potential_energy(ethanol())
