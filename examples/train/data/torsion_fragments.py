"""Cut molecules into fragments around a rotatable bond: ``python torsion_fragments.py IN.smi… -o OUT.smi -n N``.

A fragment has both ends of a bond outside rings, the atoms next to them, the rings of these atoms (if the bond ends in
the ring or the ring is aromatic), and atoms attached by a double or triple bond; hydrogens replace the rest. The most
frequent fragments come first. ``--without`` names lists of molecules to exclude, ``--without-scaffolds`` lists of
molecules with Bemis-Murcko scaffolds to exclude.
"""

from __future__ import annotations

import argparse
import gzip
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rdkit import Chem, RDLogger
from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

MOST_HEAVY_ATOMS = 16
SINGLE_OUTSIDE_RINGS = Chem.MolFromSmarts("[!$([D1])]-!@[!$([D1])]")


def lines(path: Path) -> Iterator[str]:
    """Yield the SMILES of a list, compressed or not."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as stream:
        for line in stream:
            if line.strip() and not line.startswith("#"):
                yield line.split()[0]


def surroundings(molecule: Chem.Mol, ends: tuple[int, int]) -> set[int]:
    """Return the atoms that belong to a bond."""
    kept = set(ends)
    for end in ends:
        kept |= {atom.GetIdx() for atom in molecule.GetAtomWithIdx(end).GetNeighbors()}
    rings = [set(ring) for ring in molecule.GetRingInfo().AtomRings()]
    aromatic = [all(molecule.GetAtomWithIdx(k).GetIsAromatic() for k in ring) for ring in rings]
    while True:
        more: set[int] = set()
        for ring, flat in zip(rings, aromatic, strict=True):
            if ring & set(ends) or (flat and ring & kept):
                more |= ring
        for k in kept | more:
            for bond in molecule.GetAtomWithIdx(k).GetBonds():
                other = bond.GetOtherAtom(bond.GetBeginAtom() if bond.GetBeginAtomIdx() == k else bond.GetEndAtom())
                if bond.GetBondType() != Chem.BondType.SINGLE or other.GetFormalCharge():
                    more |= {bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()}
        if more <= kept:
            return kept
        kept |= more


def fragment(molecule: Chem.Mol, ends: tuple[int, int]) -> str | None:
    """Return the SMILES of the fragment around a bond; None if it is large, charged, or not a molecule."""
    kept = surroundings(molecule, ends)
    if len(kept) > MOST_HEAVY_ATOMS:
        return None
    cut = Chem.RWMol(molecule)
    away = []
    for atom in cut.GetAtoms():
        if atom.GetIdx() in kept:
            continue
        if any(neighbor.GetIdx() in kept for neighbor in atom.GetNeighbors()):
            atom.SetAtomicNum(1)
            atom.SetFormalCharge(0)
            atom.SetNoImplicit(True)
            atom.SetNumExplicitHs(0)
        else:
            away.append(atom.GetIdx())
    caps = {atom.GetIdx() for atom in cut.GetAtoms() if atom.GetIdx() not in kept} - set(away)
    for bond in list(cut.GetBonds()):
        if bond.GetBeginAtomIdx() in caps and bond.GetEndAtomIdx() in caps:
            cut.RemoveBond(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())
    cut.BeginBatchEdit()
    for k in away:
        cut.RemoveAtom(k)
    cut.CommitBatchEdit()
    Chem.RemoveStereochemistry(cut)
    try:
        smiles = Chem.MolToSmiles(Chem.RemoveHs(cut))
    except Chem.MolSanitizeException:
        return None
    again = Chem.MolFromSmiles(smiles)
    return smiles if again is not None and "." not in smiles and Chem.GetFormalCharge(again) == 0 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lists", nargs="+", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("-n", "--count", type=int, required=True)
    parser.add_argument("--without", nargs="*", type=Path, default=[])
    parser.add_argument("--without-scaffolds", nargs="*", type=Path, default=[])
    asked = parser.parse_args()
    RDLogger.DisableLog("rdApp.*")
    left_out = {Chem.CanonSmiles(smiles, useChiral=0) for path in asked.without for smiles in lines(path)}
    forbidden = {MurckoScaffoldSmiles(smiles) for path in asked.without_scaffolds for smiles in lines(path)} - {""}
    found: Counter[str] = Counter()
    for path in asked.lists:
        for smiles in lines(path):
            molecule = Chem.MolFromSmiles(smiles)
            if molecule is None:
                continue
            for ends in molecule.GetSubstructMatches(SINGLE_OUTSIDE_RINGS):
                piece = fragment(molecule, ends)
                if piece is not None and piece not in left_out:
                    found[piece] += 1
    allowed = (smiles for smiles in found if MurckoScaffoldSmiles(smiles) not in forbidden)
    chosen = sorted(allowed, key=lambda smiles: (-found[smiles], smiles))[: asked.count]
    asked.out.write_text("".join(f"{smiles}\n" for smiles in chosen))
    print(f"{asked.out}: {len(chosen)} of {len(found)} fragments")


if __name__ == "__main__":
    main()
