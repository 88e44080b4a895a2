"""Formal charges of structure files, as RDKit and other programs write them."""

import gzip

import ase.io
import pytest
from ase.build import molecule

import mlff_core
from mlff_core import InputError, UnsupportedError, batch_from_atoms, read_structures

rdkit = pytest.importorskip("rdkit")
from rdkit import Chem
from rdkit.Chem import AllChem


def embedded(smiles):
    made = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(made, randomSeed=1) == 0
    return made


IONS = {
    "CC(=O)[O-]": -1,
    "C[NH3+]": 1,
    "[NH3+]CC(=O)[O-]": 0,
    "[O-]C(=O)C(=O)[O-]": -2,
    "C[N+](C)(C)CC[N+](C)(C)C": 2,
    "CCO": None,
}


@pytest.mark.parametrize(("smiles", "charge"), IONS.items())
@pytest.mark.parametrize("ending", ["sdf", "mol", "pdb", "sdf.gz", "pdb.gz"])
def test_the_charge_of_an_ion_comes_with_its_file(tmp_path, smiles, charge, ending):
    path, made = tmp_path / f"ion.{ending}", embedded(smiles)
    text = Chem.MolToPDBBlock(made) if "pdb" in ending else Chem.MolToMolBlock(made)
    path.write_bytes(gzip.compress(text.encode()) if ending.endswith("gz") else text.encode())
    (atoms,) = read_structures(path)
    assert len(atoms) == made.GetNumAtoms()
    assert atoms.info.get("charge") == charge


def test_acetate_and_methylammonium_are_refused_by_a_shipped_student(tmp_path):
    student = mlff_core.load("organic-ultra-tiny", device="cpu")
    Chem.MolToMolFile(embedded("CC(=O)[O-]"), str(tmp_path / "acetate.sdf"))
    with pytest.raises(UnsupportedError, match="made for neutral systems, but the total charge is -1 e"):
        student.predict(batch_from_atoms(read_structures(tmp_path / "acetate.sdf")))
    (tmp_path / "ammonium.xyz").write_text(Chem.MolToXYZBlock(embedded("C[NH3+]")))
    with pytest.raises(UnsupportedError, match=r"at a total charge of \+0 e the structure has 19 electrons"):
        student.predict(batch_from_atoms(read_structures(tmp_path / "ammonium.xyz")))


def record(atoms, codes, extra=""):
    rows = [
        f"{x:10.4f}{y:10.4f}{z:10.4f} {symbol:<3} 0{code:3d}  0  0"
        for (x, y, z), symbol, code in zip(atoms.positions, atoms.get_chemical_symbols(), codes, strict=True)
    ]
    return "\n".join(
        ["name", "", "", f"{len(rows):3d}  0  0  0  0  0            999 V2000", *rows, extra + "M  END", ""]
    )


@pytest.mark.parametrize(
    ("codes", "extra", "wanted"),
    [
        ([0, 0, 0], "", {}),
        ([5, 0, 0], "", {"charge": -1}),
        ([1, 7, 2], "", {"charge": 2}),
        ([4, 0, 0], "", {"spin_multiplicity": 2}),
        ([5, 0, 0], "M  CHG  1   1   2\n", {"charge": 2}),
        ([5, 0, 0], "M  RAD  1   1   3\n", {"spin_multiplicity": 3}),
        (
            [0, 0, 0],
            "M  CHG  2   1  -1   3   2\nM  CHG  1   2  -1\nM  RAD  1   2   2\n",
            {"charge": 0, "spin_multiplicity": 2},
        ),
    ],
)
def test_the_property_block_replaces_the_old_column(tmp_path, codes, extra, wanted):
    (tmp_path / "a.sdf").write_text(record(molecule("H2O"), codes, extra) + "$$$$\n")
    assert read_structures(tmp_path / "a.sdf")[0].info == wanted


@pytest.mark.parametrize(
    ("codes", "extra", "message"),
    [
        ([0, 0, 0], "M  CHG  1   4  -1\n", "molecule 1: the line .* must name 1 different atoms of 1 to 3"),
        ([0, 0, 0], "M  CHG  2   1  -1\n", "must name 2 different atoms"),
        ([0, 0, 0], "M  CHG  1   1  x\n", "cannot be read"),
        ([0, 0, 0], "M  RAD  1   1   7\n", "M  RAD has 7, it must be 1, 2 or 3; correct it"),
        ([0, 9, 0], "", "atom 2 has the charge code 9"),
    ],
)
def test_charges_that_cannot_be_read_are_refused(tmp_path, codes, extra, message):
    (tmp_path / "a.sdf").write_text(record(molecule("H2O"), codes, extra) + "$$$$\n")
    with pytest.raises(InputError, match=message):
        read_structures(tmp_path / "a.sdf")


def pdb_line(number, symbol, x, end):
    return (
        f"HETATM{number:5d} {symbol:<4} UNL     1    {x:8.3f}   0.000   0.000  1.00  0.00          {symbol:>2}{end}\n"
    )


@pytest.mark.parametrize(
    ("end", "charge"),
    [("1-", -1), ("-1", -1), ("2+", 2), ("+", 1), ("", None), ("  ", None), ("70", None), ("0", None)],
)
def test_columns_79_and_80_of_a_pdb_are_the_charge(tmp_path, end, charge):
    (tmp_path / "a.pdb").write_text(pdb_line(1, "O", 0, end) + pdb_line(2, "H", 0.96, "") + "END\n")
    assert read_structures(tmp_path / "a.pdb")[0].info.get("charge") == charge


def test_each_model_of_a_pdb_has_its_own_charge(tmp_path):
    models = [pdb_line(1, "O", 0, end) + pdb_line(2, "H", 0.96, "") + "ENDMDL\n" for end in ("1-", "", "1+")]
    (tmp_path / "a.pdb").write_text("".join(models) + "END\n")
    assert [frame.info.get("charge") for frame in read_structures(tmp_path / "a.pdb")] == [-1, None, 1]
    assert [frame.info.get("charge") for frame in read_structures(tmp_path / "a.pdb", "-1")] == [1]


def test_charge_and_multiplicity_of_a_gaussian_input_are_kept(tmp_path):
    (tmp_path / "a.com").write_text("# hf/sto-3g\n\ntitle\n\n-1 1\nO 0.0 0.0 0.0\nH 0.96 0.0 0.0\n\n")
    (atoms,) = read_structures(tmp_path / "a.com")
    assert (atoms.info["charge"], atoms.info["spin_multiplicity"]) == (-1, 1)


def test_coordinates_in_bohr_get_a_warning(tmp_path, recwarn):
    for name in ("CH3CH2OH", "C6H6", "H2O", "CO2", "PH3", "CH3SH"):
        atoms = molecule(name)
        ase.io.write(tmp_path / "right.xyz", atoms)
        read_structures(tmp_path / "right.xyz")
        assert not recwarn.list
        atoms.positions /= 0.529177
        ase.io.write(tmp_path / "bohr.xyz", atoms)
        with pytest.warns(UserWarning, match=r"likely to be in bohr. Å is wanted: multiply them by 0.529177"):
            read_structures(tmp_path / "bohr.xyz")
    # Argon is no molecule, and ions lie far from each other.
    for symbols, step in (("Ar4", 3.7), ("NaClNaCl", 2.8), ("H2", 1.4), ("C", 1.0)):
        atoms = ase.Atoms(symbols, positions=[[step * k, 0, 0] for k in range(len(ase.Atoms(symbols)))])
        ase.io.write(tmp_path / "right.xyz", atoms)
        read_structures(tmp_path / "right.xyz")
    assert not recwarn.list
