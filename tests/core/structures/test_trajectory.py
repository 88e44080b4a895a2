"""Trajectories of coordinates only are read with the atoms of a structure file."""

import json

import numpy as np
import pytest
from ase.io import write
from click.testing import CliRunner

from mlff_core.cli.main import cli
from mlff_core.errors import InputError, MissingDependencyError
from mlff_core.structures.reading import read_structures
from mlff_core.testing.structures import ethanol, triclinic_crystal

LOWER = [[6.0, 0.0, 0.0], [-1.1, 6.3, 0.0], [0.7, 1.3, 6.8]]
"""Rows of a cell as GROMACS writes it."""


def test_without_a_topology_the_atoms_are_asked_for(tmp_path):
    (tmp_path / "run.xtc").write_bytes(b"")
    with pytest.raises(InputError, match="--topology"):
        read_structures(tmp_path / "run.xtc")
    write(tmp_path / "one.xyz", ethanol())
    with pytest.raises(InputError, match="has its own atoms"):
        read_structures(tmp_path / "one.xyz", topology=tmp_path / "one.xyz")


def test_without_mdanalysis_the_message_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "MDAnalysis", None)
    (tmp_path / "run.dcd").write_bytes(b"")
    write(tmp_path / "one.xyz", ethanol())
    with pytest.raises(MissingDependencyError, match="trajectories"):
        read_structures(tmp_path / "run.dcd", topology=tmp_path / "one.xyz")


def written(folder, ending, frames):
    """Write frames with MDAnalysis and return the file."""
    mda = pytest.importorskip("MDAnalysis")
    universe = mda.Universe.empty(len(frames[0]), trajectory=True)
    path = folder / f"run.{ending}"
    with mda.Writer(str(path), len(frames[0])) as writer:
        for frame in frames:
            universe.atoms.positions = frame.positions
            universe.dimensions = frame.cell.cellpar() if frame.pbc.any() else None
            writer.write(universe.atoms)
    return path


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(("ending", "precision"), [("dcd", 1e-5), ("xtc", 0.011), ("trr", 1e-5)])
@pytest.mark.parametrize("periodic", [False, True])
def test_frames_have_the_positions_cells_and_charge(tmp_path, ending, precision, periodic):
    start = ethanol()
    start.info["charge"] = 0
    if periodic:
        start.set_cell(LOWER)
        start.pbc = True
    random = np.random.default_rng(0)
    frames = []
    for k in range(4):
        frame = start.copy()
        frame.positions += random.normal(scale=0.3, size=frame.positions.shape)
        frame.set_cell(frame.cell * (1 + 0.01 * k))
        frames.append(frame)
    path = written(tmp_path, ending, frames)
    write(tmp_path / "top.pdb", start)
    before = sorted(entry.name for entry in tmp_path.iterdir())
    found = read_structures(path, topology=tmp_path / "top.pdb")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == before
    for frame, read in zip(frames, found, strict=True):
        np.testing.assert_array_equal(read.numbers, frame.numbers)
        np.testing.assert_allclose(read.positions, frame.positions, atol=precision)
        np.testing.assert_allclose(read.cell, frame.cell if periodic else np.zeros((3, 3)), atol=1e-4)
        assert read.pbc.all() == periodic
    assert len(read_structures(path, "1:3", topology=tmp_path / "top.pdb")) == 2
    (last,) = read_structures(path, "-1", topology=tmp_path / "top.pdb")
    np.testing.assert_allclose(last.positions, frames[-1].positions, atol=precision)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_other_atoms_and_damaged_files_are_refused(tmp_path):
    path = written(tmp_path, "dcd", [ethanol()])
    write(tmp_path / "top.extxyz", triclinic_crystal())
    with pytest.raises(InputError, match="has 9 atoms and its topology"):
        read_structures(path, topology=tmp_path / "top.extxyz")
    write(tmp_path / "top.xyz", ethanol())
    for ending in ("dcd", "xtc", "trr"):
        (tmp_path / f"bad.{ending}").write_bytes(b"not a trajectory at all" * 9)
        with pytest.raises(InputError, match="cannot be read as a trajectory"):
            read_structures(tmp_path / f"bad.{ending}", topology=tmp_path / "top.xyz")


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_predict_computes_a_trajectory(tmp_path):
    path = written(tmp_path, "xtc", [ethanol(), ethanol()])
    write(tmp_path / "top.xyz", ethanol())
    line = ["predict", "organic-tiny", str(path), "--topology", str(tmp_path / "top.xyz"), "--json"]
    result = CliRunner().invoke(cli, line)
    assert result.exit_code == 0, result.output
    assert [row["formula"] for row in json.loads(result.stdout)] == ["C2H6O"] * 2
