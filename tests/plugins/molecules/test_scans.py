"""Torsion scans of molecules whose barriers are known."""

import csv
import json

import numpy as np
import pytest
import torch
from ase.io import read
from click.testing import CliRunner

from mlff_core import load
from mlff_core.cli.main import build
from mlff_core.dynamics.batched_relaxation import relax_many
from mlff_core.dynamics.held_torsions import angles_and_gradients
from mlff_core.errors import InputError
from mlff_core.structures.reading import batch_from_atoms, read_structures
from mlff_plugins.molecules.scan_output import extrema
from mlff_plugins.molecules.scans import at_angles, check_torsion, scan, torsion_choices

pytest.importorskip("rdkit")

BACKBONE = (0, 1, 2, 3)


@pytest.fixture(scope="module", name="potential")
def fixture_potential():
    return load("organic-original", device="cpu")


@pytest.fixture(scope="module", name="butane")
def fixture_butane(potential):
    return relax_many(potential, read_structures("CCCC"), fmax=0.005)[0].atoms


@pytest.fixture(scope="module", name="relaxed")
def fixture_relaxed(potential, butane):
    return scan(potential, butane, [BACKBONE], n=24)


def test_butane_has_the_minima_and_barriers_of_the_textbook(relaxed):
    at = dict(zip(relaxed.angles_deg[:, 0].tolist(), relaxed.relative_kcal_mol.tolist(), strict=True))
    assert at[-180] == 0  # anti
    assert 0.3 < at[60] < 1.1  # gauche
    assert 2.0 < at[120] < 4.5  # 3.3 kcal/mol
    assert at[0] == max(at.values())  # cis, 5 to 6 kcal/mol
    assert 3.5 < at[0] < 7
    minima, maxima = extrema(relaxed)
    assert {abs(relaxed.angles_deg[k, 0]) for k in minima} <= {180, 60, 75}
    assert {abs(relaxed.angles_deg[k, 0]) for k in maxima} == {0, 120}
    for angle in (15.0, 60.0, 105.0, 165.0):  # its mirror image
        assert at[angle] == pytest.approx(at[-angle], abs=0.03)


def test_points_have_their_angles_and_energies(relaxed, potential):
    for angles, frame, energy in zip(relaxed.angles_deg, relaxed.frames, relaxed.energies, strict=True):
        assert (frame.get_dihedral(*BACKBONE) - angles[0] + 180) % 360 - 180 == pytest.approx(0, abs=1e-4)
        assert energy == pytest.approx(float(potential.predict(batch_from_atoms(frame)).energy[0]), abs=1e-4)


def test_the_slope_of_a_relaxed_scan_is_the_force_on_the_held_angle(butane):
    exact = load("organic-original", device="cpu", dtype="float64")
    starts = [at_angles(butane, [BACKBONE], [angle]) for angle in (98.0, 100.0, 102.0)]
    before, here, after = relax_many(exact, starts, hold=[[BACKBONE]] * 3, fmax=1e-4, max_steps=3000)
    gradient = np.zeros((len(butane), 3))
    quad = torch.tensor([BACKBONE])
    gradient[list(BACKBONE)] = angles_and_gradients(torch.from_numpy(here.atoms.positions), quad)[1][0].numpy()
    forces = here.atoms.get_forces()
    multiplier = (forces * gradient).sum() / (gradient * gradient).sum()
    assert np.abs(forces - multiplier * gradient).max() < 2e-4
    assert (after.energy - before.energy) / np.radians(4.0) == pytest.approx(-multiplier, rel=0.01)


def test_relaxing_lowers_every_point_of_a_rigid_scan(relaxed, potential, butane):
    rigid = scan(potential, butane, [BACKBONE], n=24, rigid=True)
    assert (relaxed.energies < rigid.energies + 1e-4).all()
    assert rigid.energies.max() - relaxed.energies.max() > 0.02
    for frame, angles in zip(rigid.frames, rigid.angles_deg, strict=True):
        assert (frame.get_dihedral(*BACKBONE) - angles[0] + 180) % 360 - 180 == pytest.approx(0, abs=1e-6)
        np.testing.assert_allclose(
            [frame.get_distance(0, 1), frame.get_distance(1, 2), frame.get_angle(0, 1, 2)],
            [butane.get_distance(0, 1), butane.get_distance(1, 2), butane.get_angle(0, 1, 2)],
            atol=1e-6,
        )


def test_a_scan_of_two_torsions_has_all_pairs_of_angles(potential):
    pentane = relax_many(potential, read_structures("CCCCC"))[0].atoms
    torsions = torsion_choices(pentane)
    assert torsions == [(0, 1, 2, 3), (1, 2, 3, 4)]
    found = scan(potential, pentane, torsions, n=3)
    assert found.angles_deg.tolist() == [[a, b] for a in (-180, -60, 60) for b in (-180, -60, 60)]
    table = found.relative_kcal_mol.reshape(3, 3)
    np.testing.assert_allclose(table, table.T, atol=0.05)  # pentane read from its other end
    assert table[0, 0] == 0
    assert table[1, 2] > table[1, 1] > table[0, 1] > 0.3  # g+g− (syn-pentane) is the highest


def test_torsions_that_cannot_be_turned_are_refused(potential):
    (ring,) = read_structures("C1CCCCC1")
    for torsion, message in [
        ((0, 1, 2, 3), "in a ring"),
        ((0, 1, 2, 99), "four different atoms"),
        ((0, 1, 2, 0), "four different atoms"),
        ((0, 1, 2, 4), "needs bonds"),
    ]:
        with pytest.raises(InputError, match=message):
            check_torsion(ring, torsion)
    assert torsion_choices(ring) == []
    (butane,) = read_structures("CCCC")
    with pytest.raises(InputError, match="one or two torsions"):
        scan(potential, butane, [BACKBONE] * 3, n=3)
    with pytest.raises(InputError, match="the same bond"):
        scan(potential, butane, [BACKBONE, (3, 2, 1, 0)], n=3)
    (propargyl,) = read_structures("C#CCO")
    assert [set(torsion[1:3]) for torsion in torsion_choices(propargyl)] == [{2, 3}]
    with pytest.raises(InputError, match="lie on a line"):
        check_torsion(propargyl, (0, 1, 2, 3))
    turned = at_angles(butane, [BACKBONE], [37.0])
    assert turned.get_dihedral(*BACKBONE) == pytest.approx(37.0)


def test_a_molecule_without_heavy_ends_is_turned_by_its_hydrogens(potential):
    (peroxide,) = read_structures("OO")
    assert torsion_choices(peroxide) == [(2, 0, 1, 3)]
    ethane = relax_many(potential, read_structures("CC"))[0].atoms
    (torsion,) = torsion_choices(ethane)
    found = scan(potential, ethane, [torsion], n=6)
    staggered, eclipsed = found.relative_kcal_mol[::2], found.relative_kcal_mol[1::2]
    np.testing.assert_allclose(staggered, 0, atol=0.02)
    np.testing.assert_allclose(eclipsed, eclipsed.mean(), atol=0.05)
    assert 2.0 < eclipsed.mean() < 3.8  # 2.9 kcal/mol


def test_the_command_writes_csv_json_structures_and_plot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("matplotlib")

    def mlff(*arguments, status=0):
        result = CliRunner().invoke(build(), ["scan", "organic-tiny", *arguments])
        assert result.exit_code == status, result.output
        return result

    line = ("CCCC", "--n", "6", "--rigid", "--teacher", "organic-ultra-tiny", "--plot", "scan.png")
    content = json.loads(mlff(*line, "--json", "-o", "scan.csv").stdout)
    assert [point["angles_deg"] for point in content["points"]] == [[a] for a in (-180, -120, -60, 0, 60, 120)]
    rows = list(csv.DictReader((tmp_path / "scan.csv").read_text().splitlines()))
    for row, point in zip(rows, content["points"], strict=True):
        assert float(row["relative_kcal_mol"]) == pytest.approx(point["relative_kcal_mol"], abs=1e-5)
        assert float(row["teacher_energy_ev"]) == pytest.approx(point["teacher_energy"], abs=1e-5)
    assert min(float(row["teacher_relative_kcal_mol"]) for row in rows) == 0
    assert (tmp_path / "scan.png").read_bytes().startswith(b"\x89PNG")
    shown = mlff("CCCC", "--n", "6", "--rigid", "-o", "scan.extxyz").stdout
    assert "minimum" in shown
    assert "maximum" in shown
    assert len(read("scan.extxyz", ":")) == 6
    mlff("CCCC", "--n", "6", "--rigid", "-o", "scan.json")
    assert len(json.loads((tmp_path / "scan.json").read_text())["points"]) == 6
    several = mlff("CCCCO", status=1).stderr
    assert "0-1-2-3 (C-C-C-C), 1-2-3-4 (C-C-C-O)" in several
    assert "choose .png" in mlff("CCCC", "--plot", "scan.pdf", status=1).stderr
    assert "four atoms" in mlff("CCCC", "--torsion", "0-1-2", status=1).stderr
    assert "no torsion" in mlff("C", status=1).stderr
