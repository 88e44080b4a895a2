"""Databases of Psi4 are read as text: geometries, charges, the best reference energies, and distances."""

import os
from pathlib import Path

import pytest

from mlff_core.errors import InputError
from mlff_core.judging.references.psi4_database import read_pairs
from mlff_core.judging.references.sets import read_set

GEOMETRY = '''
GEOS['%s-%s-dimer' % (dbse, '{name}')] = qcdb.Molecule("""
{first} 1
F       0.00000000     0.00000000     0.00000000
--
{second} 1
H       {x}     0.00000000     0.00000000
F       {y}     0.00000000     0.00000000
units angstrom
""")
'''

CURVE = (
    "import os\nos.remove('never')\nBIND = {}\nBIND_OLD = {}\n"
    + "".join(f"BIND_OLD['%s-FHF-{r}'  % (dbse)] = -1.0\n" for r in ("1.5", "2.0", "3.0"))
    + "BIND_NEW = {}\n"
    + "".join(
        f"BIND_NEW['%s-FHF-{r}'  % (dbse)] = {e}\n" for r, e in (("1.5", "-20.25"), ("2.0", "-25.5"), ("3.0", "-9"))
    )
    + "BIND = BIND_NEW\n"
    + "".join(
        GEOMETRY.format(name=f"FHF-{r}", first=-1, second=0, x=f"{float(r):.8f}", y=f"{float(r) + 0.92:.8f}")
        for r in ("1.5", "2.0", "3.0")
    )
)


def test_a_curve_has_its_charges_best_energies_and_distances(tmp_path):
    (tmp_path / "CURVE.py").write_text(CURVE)
    found = read_set(tmp_path / "CURVE.py")
    assert found.name == "CURVE"
    assert [pair.reference_kcal_mol for pair in found.complexes] == [-20.25, -25.5, -9.0]
    assert [pair.scaling for pair in found.complexes] == [0.75, 1.0, 1.5]
    pair = found.complexes[1]
    assert pair.charges == "anion"
    assert (str(pair.whole.symbols), pair.whole.info["charge"]) == ("FHF", -1.0)
    assert [str(part.symbols) for part in pair.parts] == ["F", "HF"]
    assert pair.parts[1].positions[1, 0] == pytest.approx(2.92)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("BIND = {}\n", "holds no pairs of molecules"),
        (CURVE.replace("-20.25", "0").replace("-25.5", "0").replace("= -9", "= 0"), "no reference energies"),
        (CURVE.replace("-1 1\nF ", "-1 1\n0 1\nF "), "the geometry of FHF-1.5 is not that of two molecules"),
    ],
)
def test_other_files_are_refused(tmp_path, text, message):
    (tmp_path / "X.py").write_text(text)
    with pytest.raises(InputError, match=message):
        read_pairs(tmp_path / "X.py")
    with pytest.raises(InputError, match="unpack Debian's psi4-data"):
        read_pairs(tmp_path / "missing.py")


DATABASES = Path(os.environ.get("PSI4_DATABASES", "/usr/share/psi4/databases"))


@pytest.mark.skipif(not DATABASES.is_dir(), reason="psi4-data is missing (PSI4_DATABASES names a folder)")
@pytest.mark.parametrize(("name", "n", "first"), [("S66", 66, -4.918), ("SSI", 3380, -61.741), ("HBC6", 118, -19.627)])
def test_the_real_databases_are_read_whole(name, n, first):
    pairs = read_pairs(DATABASES / f"{name}.py")
    assert (len(pairs), pairs[0].reference_kcal_mol) == (n, first)
