"""The long physics checks at their quick size: the commands work, continue after a kill, and measure correctly."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.structures.batch import single
from mlff_core.testing.reference_potential import small_student

pytest.importorskip("rdkit")
ROOT = Path(__file__).parents[2]

PAIR = '''
BIND['%s-%s'            % (dbse, '1'                     )] =   -4.918
TAGL['%s-%s'            % (dbse, '1'                     )] = """Water Dimer """
GEOS['%s-%s-dimer' % (dbse, '1')] = qcdb.Molecule("""
0 1
O       -0.70219605    -0.05606026     0.00994226
H       -1.02219322     0.84677578    -0.01148871
H        0.25752106     0.04212150     0.00521900
--
0 1
O        2.22087107     0.02671679     0.00062048
H        2.59749268    -0.41166327     0.76674486
H        2.59313538    -0.44949618    -0.74478203
units angstrom
""")
'''


@pytest.fixture(scope="module", autouse=True)
def _repository_on_the_path():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("physics")
    student = small_student()
    save_checkpoint(folder / "model.pt", student.model, student.card)
    return folder


@pytest.fixture(scope="module")
def measure(folder):
    """Return a function that runs a check of the small student, with itself as the teacher, and gives its results."""
    from benchmarks.physics.__main__ import group

    def run(check, *more):
        model = str(folder / "model.pt")
        arguments = [check, model, "--quick", "--teacher", model, "--runs", str(folder / "runs"), *more]
        done = CliRunner().invoke(group, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        results = json.loads((folder / "runs" / "quick" / "small-student" / f"{check}.json").read_text())
        return results, {row["name"]: row["value"] for row in results["metrics"]}

    return run


def test_the_list_holds_as_many_molecules_as_the_checks_promise():
    from benchmarks.physics.molecules import smiles_of

    assert [len(smiles_of(kind)) for kind in ("panel", "drug", "frequency", "torsion")] == [20, 5, 15, 20]


def test_the_panel_reaches_from_9_to_60_atoms():
    from benchmarks.physics.molecules import smiles_of
    from mlff_core.structures.smiles import parse, rdkit

    counts = [rdkit().AddHs(parse(smiles)).GetNumAtoms() for smiles in smiles_of("panel").values()]
    assert (min(counts), max(counts)) == (9, 60)


@pytest.mark.parametrize(
    ("check", "name"),
    [
        ("torsions", "torsion barriers, mean error"),
        ("frequencies", "frequencies, mean error"),
        ("relaxation", "relaxed geometry, worst RMSD"),
    ],
)
def test_a_model_has_no_error_against_itself(measure, check, name):
    _, metrics = measure(check)
    assert metrics[name] == pytest.approx(0, abs=1e-2)


def test_s66_is_read_from_psi4s_file_and_compared(measure, folder):
    file = folder / "S66.py"
    file.write_text(PAIR)
    results, metrics = measure("s66", "--s66", str(file))
    (row,) = results["rows"]
    assert row["pair"] == "Water Dimer"
    assert metrics["S66, mean difference from the teacher"] == pytest.approx(0, abs=1e-3)
    expected = abs(row["model_kcal_mol"] + 4.918)
    assert metrics["S66, mean difference from the reference"] == pytest.approx(expected, rel=1e-3)


def test_dimers_are_followed_down_to_half_an_angstrom(measure):
    results, metrics = measure("dimers")
    assert metrics["dimer curves"] == len(results["rows"]) == 6
    assert results["rows"][0]["distances"][0] == 0.5


def test_two_molecules_conserve_their_energy(measure):
    results, metrics = measure("nve")
    assert [row["molecule"] for row in results["rows"]] == ["ethanol", "imidazole"]
    assert metrics["NVE length of each run"] == pytest.approx(0.1)
    assert all(row["failure"] or row["max_deviation_mev_per_atom"] < 5 for row in results["rows"])


def test_langevin_reports_every_molecule(measure):
    results, _ = measure("langevin")
    assert [row["molecule"] for row in results["rows"]] == ["aspirin"]


def test_replicas_that_were_stopped_go_on_to_the_same_numbers(tmp_path):
    from benchmarks.physics.replicas import Progress, Replica, pieces

    student = small_student()
    water = single([[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], [8, 1, 1], dtype=torch.float64)

    def begun():
        still = torch.zeros_like(water.positions)
        replicas = [Replica(name, water, water.positions, still) for name in ("a", "b")]
        return Progress(replicas, torch.Generator().manual_seed(0))

    settings = {"n_steps": 20, "timestep_fs": 0.5, "temperature": 300.0, "friction_per_ps": 5.0}
    (*_, whole) = pieces(student, begun(), tmp_path / "whole.npz", 3, **settings)
    list(pieces(student, begun(), tmp_path / "part.npz", 1, **settings))
    (*_, resumed) = pieces(student, Progress.read(tmp_path / "part.npz"), tmp_path / "part.npz", 3, **settings)
    for one, other in zip(whole.replicas, resumed.replicas, strict=True):
        assert len(one.times_ps) == 7
        np.testing.assert_array_equal(one.potential_energy, other.potential_energy)
        assert torch.equal(one.velocities, other.velocities)


@pytest.mark.parametrize("engine", ["ours", "openmm", "lammps"])
def test_water_that_was_stopped_goes_on_to_the_same_numbers(engine, folder, tmp_path):
    if engine != "ours":
        pytest.importorskip(engine)
    from benchmarks.physics.record import Job
    from benchmarks.physics.water import Run, first_start

    model = str(folder / "model.pt")
    start = first_start(Job(model, tmp_path, tmp_path / "start", model, True), 4)
    ends = []
    for name, stops in (("whole", [2]), ("part", [1, 2])):
        job = Job(model, tmp_path, tmp_path / name, model, True)
        for n_pieces in stops:
            run = Run(job, engine, "run")
            end = run.run(start, n_pieces, 3)
        ends.append((end.positions, run.temperatures))
        assert len(run.positions) == 6
    np.testing.assert_array_equal(ends[0][0], ends[1][0])
    np.testing.assert_array_equal(ends[0][1], ends[1][1])


def test_water_runs_through_both_engines(measure):
    pytest.importorskip("openmm")
    pytest.importorskip("lammps")
    results, metrics = measure("water")
    assert [row["engine"] for row in results["rows"]] == ["openmm", "lammps"]
    assert metrics["water, length of each run"] == pytest.approx(0.1)
    assert all(100 < row["temperature"] < 900 for row in results["rows"])


def test_points_at_random_have_a_radial_distribution_of_one():
    from benchmarks.physics.radial_distribution import goo

    points = np.random.default_rng(0).uniform(0, 12, size=(400, 64, 3))
    r, g = goo(points, 12.0)
    assert g[r > 1.5] == pytest.approx(1.0, abs=0.1)
    assert g[r > 1.5].mean() == pytest.approx(1.0, abs=0.01)


def test_a_hydrogen_that_has_left_is_found_across_the_boundary():
    from benchmarks.physics.water import broken_molecules

    molecule = np.array([[0.1, 0.0, 0.0], [9.5, 0.0, 0.0], [0.1, 0.9, 0.0]])
    assert broken_molecules(molecule[None], 10.0) == 0
    molecule[1, 0] = 8.0
    assert broken_molecules(np.stack([molecule, molecule]), 10.0) == 1


def test_the_page_tells_the_students_water_from_the_teachers():
    from benchmarks.physics.page import page_text

    r = np.arange(0.05, 6.2, 0.1)

    def results(height, peak_at):
        g = 1 + height * np.exp(-((r - peak_at) ** 2) / 0.02) - 0.3 * np.exp(-((r - 3.45) ** 2) / 0.05)
        g += 0.1 * np.exp(-((r - 4.55) ** 2) / 0.05)
        error = np.where(r > 2.4, 0.04, 0.0).tolist()
        row = {"engine": "ours", "length_ps": 5.0, "r": r.tolist(), "g": g.tolist(), "g_error": error}
        return {"water": {"about": {"model_sha256": "ab" * 32, "cpu_minutes": 1.5}, "metrics": [], "rows": [row]}}

    lines = page_text({"student": results(2.0, 2.85)}, results(2.2, 2.75)).splitlines()
    assert "| | teacher, 5 ps | student |" in lines
    assert "| first peak | 3.20 at 2.75 Å | 3.00 at 2.85 Å |" in lines
    assert "| first minimum | 0.70 at 3.45 Å | 0.70 at 3.45 Å |" in lines
    assert "| second peak | 1.10 at 4.55 Å | 1.10 at 4.55 Å |" in lines
    assert "| mean difference from the teacher |  | 0.11 |" in lines
    assert "There the mean standard error of the teacher's curve is 0.04 per bin." in lines
    heading = "## Water: students and teacher"
    assert heading in lines
    assert heading not in page_text({"student": results(2.0, 2.85)}, {})


def test_the_mean_of_two_runs_has_the_smaller_error_of_two():
    from benchmarks.physics.radial_distribution import difference, mean_of

    r = [2.5, 2.6, 2.7]
    runs = [{"r": r, "g": [1.0, 2.0, 1.0], "g_error": [0.3] * 3}, {"r": r, "g": [2.0, 1.0, 1.0], "g_error": [0.4] * 3}]
    mean = mean_of(runs)
    assert mean["g"] == pytest.approx([1.5, 1.5, 1.0])
    assert mean["g_error"] == pytest.approx([0.25] * 3)
    other = {"r": r, "g": mean["g"] + 0.5, "g_error": [0.0] * 3}
    assert difference(mean, other) == pytest.approx((0.5, 2.0))


def test_the_page_holds_every_metric_and_names_what_misses_its_goal(folder, tmp_path):
    pytest.importorskip("matplotlib")
    from benchmarks.physics.__main__ import group
    from benchmarks.physics.record import metric

    results = folder / "results" / "invented"
    results.mkdir(parents=True)
    about = {"model_sha256": "ab" * 32, "cpu_minutes": 1.5}
    row = {"pair": "Water Dimer", "model_kcal_mol": -3.0, "teacher_kcal_mol": -5.1, "reference_kcal_mol": -4.9}
    metrics = [metric("good", 0.12345, "eV", 1.0), metric("bad", 2.0, "", 1.0), metric("length", 3.0, "ps")]
    content = {"check": "s66", "about": about, "metrics": metrics, "rows": [row]}
    (results / "s66.json").write_text(json.dumps(content))
    arguments = ["page", "--results", str(results.parent), "--docs", str(tmp_path)]
    assert CliRunner().invoke(group, arguments, catch_exceptions=False).exit_code == 0
    text = (tmp_path / "physics.md").read_text()
    assert "| good, eV | ≤ 1 | 0.1235 |" in text or "| good, eV | ≤ 1 | 0.1234 |" in text
    assert "| bad | ≤ 1 | **2** |" in text
    assert "| length, ps |  | 3 |" in text
    assert (tmp_path / "figures" / "physics-invented.png").stat().st_size > 10_000
