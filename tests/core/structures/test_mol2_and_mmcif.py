"""Molecules and their charges in mol2 and mmCIF files."""

import gzip

import numpy as np
import pytest

from mlff_core import InputError, batch_from_atoms, read_structures

FORMATE = {"C": (0, 0, 0), "O1": (1.25, 0, 0), "O2": (-0.65, 1.07, 0), "H": (-0.6, -0.93, 0)}


def mol2(charges=(0.4, -0.75, -0.75, 0.1), kind="USER_CHARGES", n_atoms=4):
    types = ("C.2", "O.co2", "O.co2", "H")
    rows = [
        f"{k} {name} {x:.4f} {y:.4f} {z:.4f} {sort} 1 FMT {charge:.4f}"
        for k, ((name, (x, y, z)), sort, charge) in enumerate(
            zip(FORMATE.items(), types, charges, strict=True), start=1
        )
    ]
    return (
        "\n".join(
            [
                "@<TRIPOS>MOLECULE",
                "FMT",
                f" {n_atoms} 1 0 0 0",
                "SMALL",
                kind,
                "",
                "@<TRIPOS>ATOM",
                *rows,
                "@<TRIPOS>BOND",
            ]
        )
        + "\n1 1 2 ar\n"
    )


def mmcif(charges=("?", "?", "-1", "?"), models=(1, 1, 1, 1), places=(".", ".", ".", ".")):
    names = ["type_symbol", "Cartn_x", "Cartn_y", "Cartn_z", "pdbx_formal_charge", "pdbx_PDB_model_num", "label_alt_id"]
    rows = [
        f"{name[0]} {x} {y} {z} {charge} {model} {place}"
        for (name, (x, y, z)), charge, model, place in zip(FORMATE.items(), charges, models, places, strict=True)
    ]
    return "\n".join(["data_FMT", "loop_", *(f"_atom_site.{name}" for name in names), *rows]) + "\n"


@pytest.mark.parametrize(("name", "text"), [("a.mol2", mol2()), ("a.cif", mmcif()), ("a.mmcif", mmcif())])
def test_formate_comes_with_its_charge(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    for path in (tmp_path / name, tmp_path / f"{name}.gz"):
        (atoms,) = read_structures(path)
        assert atoms.get_chemical_symbols() == ["C", "O", "O", "H"]
        np.testing.assert_allclose(atoms.positions, list(FORMATE.values()), atol=1e-4)
        assert not atoms.pbc.any()
        assert batch_from_atoms(atoms).charge.tolist() == [-1.0]


def test_every_molecule_of_a_mol2_file_is_read(tmp_path):
    (tmp_path / "two.mol2").write_text("# comment\n" + mol2() + mol2((0.4, -0.5, -0.1, 0.2)))
    assert [batch_from_atoms(atoms).charge.tolist() for atoms in read_structures(tmp_path / "two.mol2")] == [
        [-1.0],
        [0.0],
    ]


def test_a_mol2_file_without_charges_has_none(tmp_path):
    (tmp_path / "none.mol2").write_text(mol2(kind="NO_CHARGES"))
    (atoms,) = read_structures(tmp_path / "none.mol2")
    assert not atoms.has("initial_charges")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (mol2((0.4, -0.75, -0.35, 0.1)), "add up to -0.6 e"),
        (mol2(n_atoms=9), "declares 9 atoms and has fewer"),
        (mol2().replace("C.2", "Xy.2"), "must have number, name, x, y, z and a type"),
        (mol2().replace("@<TRIPOS>ATOM", "@<TRIPOS>ATOMS"), "no section @<TRIPOS>ATOM"),
    ],
)
def test_a_wrong_mol2_file_is_refused(tmp_path, text, message):
    (tmp_path / "bad.mol2").write_text(text)
    with pytest.raises(InputError, match=message):
        batch_from_atoms(read_structures(tmp_path / "bad.mol2"))


def test_models_of_an_mmcif_file_are_frames_and_the_first_alternate_is_taken(tmp_path):
    (tmp_path / "models.cif").write_text(mmcif(("?", "1", "?", "?"), models=(1, 1, 2, 2)))
    assert [atoms.info.get("charge") for atoms in read_structures(tmp_path / "models.cif")] == [1, None]
    (tmp_path / "places.cif").write_text(mmcif(places=(".", "A", "B", ".")))
    (atoms,) = read_structures(tmp_path / "places.cif")
    assert atoms.get_chemical_symbols() == ["C", "O", "H"]


def test_a_component_has_its_ideal_coordinates_and_its_charge(tmp_path):
    names = ["type_symbol", "charge", *(f"pdbx_model_Cartn_{axis}_ideal" for axis in "xyz")]
    rows = [f"{name[0]} {-1 if name == 'O2' else 0} {x} {y} {z}" for name, (x, y, z) in FORMATE.items()]
    text = "\n".join(["data_FMT", "loop_", *(f"_chem_comp_atom.{name}" for name in names), *rows]) + "\n"
    (tmp_path / "component.cif").write_text(text)
    (atoms,) = read_structures(tmp_path / "component.cif")
    np.testing.assert_allclose(atoms.positions, list(FORMATE.values()))
    assert atoms.info["charge"] == -1


@pytest.mark.parametrize(
    ("text", "message"), [(mmcif(("?", "?", "-0.5", "?")), "whole numbers"), (mmcif().replace("1.07", "up"), "up")]
)
def test_a_wrong_mmcif_file_is_refused(tmp_path, text, message):
    (tmp_path / "bad.cif").write_text(text)
    with pytest.raises(InputError, match=message):
        read_structures(tmp_path / "bad.cif")


def test_a_crystal_stays_a_crystal(tmp_path):
    from ase.build import bulk

    bulk("Cu").write(tmp_path / "cu.cif")
    (atoms,) = read_structures(tmp_path / "cu.cif")
    assert atoms.pbc.all()
