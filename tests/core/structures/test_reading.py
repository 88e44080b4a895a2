"""Structure files are read completely, with no more memory than their size warrants."""

import bz2
import gzip
import time
import tracemalloc

import ase.io
import numpy as np
import pytest
from ase.build import molecule
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlff_core.errors import InputError
from mlff_core.structures.batch import single
from mlff_core.structures.reading import batch_from_atoms, read_structures

NAMES = ["H2O", "CH4", "CH3CH2OH"]


@pytest.fixture
def bounded():
    """Fails if reading takes more than 100 MB or 10 s."""
    began = time.perf_counter()
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6
    assert time.perf_counter() - began < 10


def write_sdf(path):
    path.write_text("")
    for name in NAMES:
        ase.io.write(path, molecule(name), append=True)
    return path


@pytest.mark.parametrize("ending", ["sdf", "SDF", "sdf.gz"])
def test_all_molecules_of_an_sdf_are_read(tmp_path, ending):
    path = write_sdf(tmp_path / "three.sdf")
    if ending.endswith("gz"):
        (tmp_path / "three.sdf.gz").write_bytes(gzip.compress(path.read_bytes()))
    path = path.rename(tmp_path / f"three.{ending}") if not ending.endswith("gz") else tmp_path / "three.sdf.gz"
    frames = read_structures(path)
    assert [len(frame) for frame in frames] == [3, 5, 9]
    for frame, name in zip(frames, NAMES, strict=True):
        np.testing.assert_allclose(frame.positions, molecule(name).positions, atol=1e-4)
    assert [len(frame) for frame in read_structures(path, "-1")] == [9]
    assert [len(frame) for frame in read_structures(path, "1:")] == [5, 9]
    assert batch_from_atoms(frames).n_systems == 3


def test_a_damaged_molecule_of_an_sdf_is_named(tmp_path):
    path = write_sdf(tmp_path / "three.sdf")
    whole = path.read_text()
    path.write_text(whole.replace("  5  0", "  7  0"))
    with pytest.raises(InputError, match=r"molecule 2: |molecule 2 says that it has 7 atoms"):
        read_structures(path)
    path.write_text(whole.replace("  5  0", "  4  0", 1).replace("V2000", "V3000"))
    pytest.importorskip("rdkit")
    with pytest.raises(InputError, match="molecule 1: RDKit finds no molecule"):
        read_structures(path)


@pytest.mark.parametrize("name", ["huge.xyz", "huge.extxyz", "huge.xyz.gz"])
def test_atoms_that_are_declared_and_not_there_are_not_waited_for(tmp_path, bounded, name):
    content = b"1\n\nH 0 0 0\n99999999999\nProperties=species:S:1:pos:R:3\nH 0 0 0\nH 0 0 1\n"
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(InputError, match="frame 1 says that it has 99,999,999,999 atoms, and the file ends after 2"):
        read_structures(tmp_path / name)


@pytest.mark.parametrize("name", ["bomb.xyz.gz", "bomb.cif.gz", "bomb.sdf.gz", "bomb.pdb.bz2"])
def test_a_file_of_nothing_is_not_inflated(tmp_path, bounded, name):
    with (gzip if name.endswith("gz") else bz2).open(tmp_path / name, "wb", compresslevel=1) as stream:
        for _ in range(128):
            stream.write(b"\0" * (1 << 20))
    with pytest.raises(InputError, match=r"holds NUL bytes|holds more than 200 times its size"):
        read_structures(tmp_path / name)


def test_masked_and_complex_numbers_are_refused():
    positions = np.ma.masked_greater(np.eye(3), 0.5)
    with pytest.raises(InputError, match="positions has 3 masked entries"):
        single(positions, [1, 1, 1])
    with pytest.raises(InputError, match="positions must be real numbers, got complex ones"):
        single(np.eye(3) + 0j, [1, 1, 1])
    assert single(np.ma.masked_greater(np.eye(3), 2), [1, 1, 1]).n_atoms == 3


WHOLE = {
    "extxyz": '2\nLattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.5 pbc="T T T"\n'
    "O 0 0 0 0.1 0.2 0.3\nH 0 0 0.97 -0.1 -0.2 -0.3\n",
    "sdf": "\n\n\n  2  1  0  0  0  0  0  0  0  0999 V2000\n    0.0000    0.0000    0.0000 O   0  0\n"
    "    0.0000    0.0000    0.9700 H   0  0\n  1  2  1  0\nM  END\n$$$$\n",
}


@pytest.mark.parametrize("ending", WHOLE)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path, ending, data):
    text = WHOLE[ending] * 2
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 12))
        put = data.draw(st.sampled_from(["", "\n", "\0", "9" * 12, "-", "nan", "=", '"', "é", "$$$$\n", "1e999", " "]))
        text = text[:place] + put + text[place + length :]
    path = tmp_path / f"damaged.{ending}"
    path.write_text(text)
    try:
        frames = read_structures(path)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert all(len(frame) > 0 for frame in frames)
