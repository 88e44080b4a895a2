"""Protonation states of the molecules of lists: ``python ionize.py LIST … -o IONS.smi [-n 4000] [--without LIST …]``.

Each molecule is written in its states at pH 7.4, 4 and 10 (dimorphite-dl, Apache-2.0: ``pip install dimorphite-dl``),
as far as they are ions or zwitterions and differ from the molecule. States with equal charges on bonded atoms are left
out, which no solvent keeps. At most two states of a molecule are kept, that at pH 7.4 first, and molecules are drawn at
random. Molecules of the judge of conformers and of ``--without``
are left out.
"""

from __future__ import annotations

import argparse
import gzip
import random
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from io import StringIO
from pathlib import Path

import ase.io
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from rdkit import Chem, RDLogger

ELEMENTS = frozenset({"H", "C", "N", "O", "F", "P", "S", "Cl"})
PH = (7.4, 4.0, 10.0)
LARGEST_CHARGE = 2


def read(path: Path) -> Iterator[str]:
    """Yield the SMILES of a list."""
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.split()[0]


def skeleton(symbols: Sequence[str], bonds: Iterable[tuple[int, int]]) -> str:
    """Return a name of a molecule's heavy atoms and their bonds, whatever its protons, charges and bond orders are."""
    molecule = Chem.RWMol()
    place = {}
    for index, symbol in enumerate(symbols):
        if symbol != "H":
            atom = Chem.Atom(symbol)
            atom.SetNoImplicit(True)
            place[index] = molecule.AddAtom(atom)
    for a, b in bonds:
        if a in place and b in place:
            molecule.AddBond(place[a], place[b], Chem.BondType.SINGLE)
    return Chem.MolToSmiles(molecule)


def skeleton_of(smiles: str) -> str:
    """Return the skeleton of a SMILES."""
    molecule = Chem.MolFromSmiles(smiles)
    bonds = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in molecule.GetBonds()]
    return skeleton([atom.GetSymbol() for atom in molecule.GetAtoms()], bonds)


def judged() -> set[str]:
    """Return the skeletons of the judge of conformers, whose bonds are read from distances."""
    source = files("mlff_core") / "judging" / "references" / "conformers.extxyz.gz"
    found = {}
    for atoms in ase.io.iread(StringIO(gzip.decompress(source.read_bytes()).decode()), format="extxyz"):
        name = atoms.info["molecule"]
        if name not in found:
            # Bonds of heavy atoms are at most 1.25 times the sum of covalent radii.
            first, second = neighbor_list("ij", atoms, [1.25 * covalent_radii[z] for z in atoms.numbers])
            bonds = [(int(a), int(b)) for a, b in zip(first, second, strict=True) if a < b]
            found[name] = skeleton(atoms.get_chemical_symbols(), bonds)
    return set(found.values())


def states(smiles: str) -> list[str]:
    """Return at most two charged states of a molecule, in the order of ``PH``."""
    from dimorphite_dl import protonate_smiles

    before = Chem.MolToSmiles(Chem.MolFromSmiles(smiles))
    found: dict[str, None] = {}
    for ph in PH:
        for one in protonate_smiles(smiles, ph_min=ph, ph_max=ph, precision=0.0):
            molecule = Chem.MolFromSmiles(one)
            if molecule is not None and is_reasonable(molecule) and (name := Chem.MolToSmiles(molecule)) != before:
                found[name] = None
    return list(found)[:2]


def is_reasonable(molecule: Chem.Mol) -> bool:
    """Return whether a molecule has charges, few in all and none next to another of the same sign."""
    atoms = list(molecule.GetAtoms())
    if not {atom.GetSymbol() for atom in atoms} <= ELEMENTS or not any(atom.GetFormalCharge() for atom in atoms):
        return False
    together = (
        bond.GetBeginAtom().GetFormalCharge() * bond.GetEndAtom().GetFormalCharge() for bond in molecule.GetBonds()
    )
    return abs(Chem.GetFormalCharge(molecule)) <= LARGEST_CHARGE and all(product <= 0 for product in together)


def main() -> None:
    """Read the command line and write the list."""
    parser = argparse.ArgumentParser(description="Write the ions and zwitterions of lists of molecules.")
    parser.add_argument("lists", type=Path, nargs="+")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("-n", type=int, default=4000, help="largest number of molecules")
    parser.add_argument("--without", type=Path, nargs="*", default=[], help="lists whose molecules are left out")
    parser.add_argument("--seed", type=int, default=61)
    asked = parser.parse_args()
    from loguru import logger

    logger.disable("dimorphite_dl")
    RDLogger.DisableLog("rdApp.*")
    left_out = judged() | {skeleton_of(one) for path in asked.without for one in read(path)}
    molecules = [one for path in asked.lists for one in read(path) if "." not in one]
    random.Random(asked.seed).shuffle(molecules)
    written: dict[str, None] = {}
    n_molecules = 0
    for smiles in molecules:
        if n_molecules == asked.n:
            break
        if skeleton_of(smiles) not in left_out and (found := states(smiles)):
            written |= dict.fromkeys(found)
            n_molecules += 1
    asked.out.write_text("".join(f"{smiles}\n" for smiles in written))
    print(f"{asked.out}: {len(written)} ions and zwitterions of {n_molecules} molecules")


if __name__ == "__main__":
    main()
