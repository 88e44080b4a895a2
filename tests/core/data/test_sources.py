"""Input files of geometries, and files that would use all memory or time."""

import gzip
import time
import tracemalloc

import ase.io
import numpy as np
import pytest
from ase.build import molecule

from mlff_core.data.sources import open_source
from mlff_core.errors import InputError

pytest.importorskip("rdkit")


def test_a_compressed_list_and_a_compressed_sdf_are_read(tmp_path):
    (tmp_path / "few.smi.gz").write_bytes(gzip.compress(b"CCO ethanol\n# note\n\nC methane\nO\n"))
    source = open_source(tmp_path / "few.smi.gz", tmp_path)
    assert [source.name(k) for k in range(len(source))] == ["few.smi.gz:1", "few.smi.gz:4", "few.smi.gz:5"]
    assert len(open_source(tmp_path / "few.smi.gz", tmp_path, limit=2)) == 2
    for name in ("CH4", "CH3CH2OH"):
        ase.io.write(tmp_path / "two.sdf", molecule(name), append=True)
    (tmp_path / "two.sdf.gz").write_bytes(gzip.compress((tmp_path / "two.sdf").read_bytes()))
    assert len(open_source(tmp_path / "two.sdf.gz", tmp_path)) == 2


def test_an_sdf_far_from_the_origin_keeps_its_bonds(tmp_path):
    atoms = molecule("H2O")
    near = atoms.get_all_distances()
    atoms.positions += 3000.0
    chem = pytest.importorskip("rdkit.Chem")
    block = chem.MolToMolBlock(chem.AddHs(chem.MolFromSmiles("O"))).split("\n")
    for k, line in enumerate(block[4:7]):
        block[4 + k] = "".join(f"{x:10.4f}" for x in atoms.positions[k]) + line[30:]
    block[1] = "     RDKit          3D"
    (tmp_path / "far.sdf").write_text("\n".join(block) + "$$$$\n")
    (structure,) = open_source(tmp_path / "far.sdf", tmp_path).starts(0, 1, 0)
    found = np.linalg.norm(structure.positions[:, None].astype(float) - structure.positions[None], axis=2)
    np.testing.assert_allclose(found, near, atol=2e-4)
    assert np.abs(structure.positions).max() < 10


def test_nothing_much_is_not_inflated(tmp_path):
    with gzip.open(tmp_path / "nul.smi.gz", "wb", compresslevel=1) as stream:
        for _ in range(256):
            stream.write(b"\0" * (1 << 20))
    (tmp_path / "many.smi.gz").write_bytes(gzip.compress(b"C\n" * 20_000_000))
    tracemalloc.start()
    with pytest.raises(InputError, match="line 1 holds NUL bytes"):
        open_source(tmp_path / "nul.smi.gz", tmp_path)
    assert len(open_source(tmp_path / "many.smi.gz", tmp_path, limit=1000)) == 1000
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


@pytest.mark.parametrize("text", ["C" * 100_000, "C(" * 50_000, "C1CC" * 25_000, "CCCCCCCCCC" * 40])
def test_a_molecule_that_is_too_large_for_rdkit_is_a_line_at_once(tmp_path, text):
    (tmp_path / "large.smi").write_text(f"CCO\n{text}\n")
    source = open_source(tmp_path / "large.smi", tmp_path)
    assert len(source.starts(0, 1, 0)) == 1
    began = time.perf_counter()
    with pytest.raises(InputError, match=r"give its structure, as \.sdf or \.xyz") as refused:
        source.starts(1, 1, 0)
    assert len(str(refused.value)) < 200
    assert time.perf_counter() - began < 5
