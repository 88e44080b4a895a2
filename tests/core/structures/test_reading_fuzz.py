"""Structure files changed at random: structures, or one of our errors."""

import warnings

import pytest
from ase import Atoms
from ase.io import write
from hypothesis import given, settings
from hypothesis import strategies as st

from mlff_core.errors import MlffError
from mlff_core.structures.reading import batch_from_atoms, read_structures
from mlff_core.testing.structures import ethanol, triclinic_crystal

LIMITS = settings(settings.get_profile("fuzz"), max_examples=80)
WORDS = st.sampled_from(
    [
        "",
        "nan",
        "inf",
        "1e400",
        "-1",
        "0",
        "9",
        "99999999999",
        "Xx",
        "H",
        "Og",
        "é",
        "\x00",
        "1 2",
        "\n",
        "$$$$",
        "M  END",
        'Lattice="1 0 0"',
        'Lattice="a"',
        "Properties=species:S:1",
        "Properties=pos:R:3:x:Q:-1",
        'pbc="T X F"',
        "=",
        "charge=x",
        "charge=1.5",
        "energy=nan",
        "V3000",
        "M  CHG  9",
        "999999",
        '"',
        "{",
        "[[1,2],[3]]",
        "_JSON x",
    ]
)
CHANGES = st.lists(st.tuples(st.integers(0), st.sampled_from("rdic"), WORDS), min_size=1, max_size=5)

SDF = """
  a molecule

  3  2  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 O   0  0  0  0  0  0
    0.9600    0.0000    0.0000 H   0  0  0  0  0  0
   -0.2400    0.9300    0.0000 H   0  0  0  0  0  0
  1  2  1  0
  1  3  1  0
M  CHG  1   1  -1
M  END
$$$$
"""


@pytest.fixture(scope="module", name="extxyz")
def fixture_extxyz(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz") / "whole.extxyz"
    charged = ethanol()
    charged.info["charge"] = 0
    write(path, [charged, triclinic_crystal()])
    return path.read_text()


def changed(text, changes):
    """Return the text with words replaced, deleted and inserted, and its end cut."""
    words = text.replace("\n", " \n ").split(" ")
    for place, way, word in changes:
        k = place % len(words)
        words[k : k + (way != "i")] = [] if way == "d" else [word]
        if way == "c":
            del words[k:]
        words = words or [""]
    return " ".join(words).replace(" \n ", "\n")


def use(path):
    """Do with a file whatever commands do; only our errors may come."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            frames = read_structures(path)
            assert all(isinstance(frame, Atoms) and len(frame) for frame in frames)
            batch_from_atoms(frames).validate_values()
    except MlffError:
        return


@LIMITS
@given(changes=CHANGES)
def test_extended_xyz_is_read_or_refused(extxyz, tmp_path, changes):
    path = tmp_path / "changed.extxyz"
    path.write_text(changed(extxyz, changes), encoding="utf-8")
    use(path)


@LIMITS
@given(changes=CHANGES, n_records=st.integers(1, 3))
def test_sdf_is_read_or_refused(tmp_path, changes, n_records):
    path = tmp_path / "changed.sdf"
    path.write_text(changed(SDF * n_records, changes), encoding="utf-8")
    use(path)


@LIMITS
@given(noise=st.binary(max_size=120), ending=st.sampled_from([".xyz", ".extxyz", ".sdf", ".cif", ".pdb", ".xyz.gz"]))
def test_noise_is_refused(tmp_path, noise, ending):
    path = tmp_path / f"noise{ending}"
    path.write_bytes(noise)
    use(path)
