"""Structures written to files."""

import subprocess
import sys

import numpy as np
import pytest

from mlff_core.errors import InputError
from mlff_core.structures.reading import read_structures
from mlff_core.structures.writing import check_writable, write_structures
from mlff_core.testing.structures import ethanol, triclinic_crystal


def test_an_unknown_ending_is_refused_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "out.nonsense"
    path.write_text("precious")
    with pytest.raises(InputError, match="cannot be written"):
        write_structures(path, [ethanol()])
    assert path.read_text() == "precious"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.nonsense"]


def test_an_sdf_has_all_molecules_with_bonds_charges_and_properties(tmp_path):
    chem = pytest.importorskip("rdkit.Chem")
    names = ["CCO", "CC(=O)[O-]", "C[N+](C)(C)CC(=O)[O-]", "c1cc[nH+]cc1", "C[C@H](N)C(=O)O"]
    frames = [read_structures(smiles)[0] for smiles in names]
    frames[0].info.update(name="spirit", rank=3, note="two\nlines")
    path = write_structures(tmp_path / "all.sdf", frames)
    for written, read in zip(frames, read_structures(path), strict=True):
        np.testing.assert_allclose(read.positions, written.positions, atol=1e-4)
        assert read.info.get("charge", 0) == written.info.get("charge", 0)
    molecules = [chem.RemoveHs(one) for one in chem.SDMolSupplier(str(path), removeHs=False)]
    assert [chem.MolToSmiles(one) for one in molecules] == [chem.CanonSmiles(smiles) for smiles in names]
    assert molecules[0].GetProp("_Name") == "spirit"
    assert molecules[0].GetProp("rank") == "3"
    assert not molecules[0].HasProp("note")
    write_structures(tmp_path / "one.mol", frames[:1])
    assert len(read_structures(tmp_path / "one.mol")[0]) == 9


def test_a_pdb_has_models_of_different_sizes(tmp_path):
    frames = [ethanol(), ethanol()[:3], ethanol()[2:]]
    path = write_structures(tmp_path / "all.pdb", frames)
    for written, read in zip(frames, read_structures(path), strict=True):
        np.testing.assert_allclose(read.positions, written.positions, atol=1e-3)


def test_what_a_format_cannot_hold_is_refused_before_the_work(tmp_path):
    for name, frames, message in [
        ("a.mol2", [ethanol()], "obabel a.sdf -O a.mol2"),
        ("a.mol", [ethanol()] * 2, "holds one molecule"),
        ("a.sdf.gz", [ethanol()], "read, but not written"),
        ("a.gro", [ethanol()] * 2, "cannot be written"),
    ]:
        with pytest.raises(InputError, match=message):
            check_writable(tmp_path / name, frames)
    pytest.importorskip("rdkit")
    with pytest.raises(InputError, match="periodic"):
        check_writable(tmp_path / "a.sdf", [triclinic_crystal()])
    check_writable(tmp_path / "new" / "a.sdf", [ethanol()])
    assert list(tmp_path.rglob("*.*")) == []


def test_without_rdkit_an_sdf_has_no_bonds_but_all_molecules(tmp_path):
    code = (
        "import sys; sys.modules['rdkit'] = None\n"
        "from mlff_core.structures.writing import write_structures\n"
        "from mlff_core.structures.reading import read_structures\n"
        "from mlff_core.testing.structures import ethanol\n"
        "write_structures('two.sdf', [ethanol(), ethanol()[:4]])\n"
        "print([len(one) for one in read_structures('two.sdf')])\n"
        "ion = ethanol(); ion.info['charge'] = 1\n"
        "try: write_structures('ion.sdf', [ion])\n"
        "except Exception as error: print(type(error).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines() == ["[9, 4]", "MissingDependencyError"]
