"""Splits by molecule, scaffold, composition or elements, never by frame."""

from __future__ import annotations

import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py
import numpy as np

from mlff_core.atomic_write import one_writer, part_beside
from mlff_core.data.layout import SPLITS
from mlff_core.data.reader import Dataset
from mlff_core.data.structure import Array
from mlff_core.errors import InputError

WAYS = ("molecule", "scaffold", "composition", "elements")


def split_dataset(
    source: str | Path,
    output: str | Path,
    *,
    by: str = "molecule",
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
) -> dict[str, int]:
    """Write a copy of a data set with a new split, and return the number of structures in each part.

    Parameters
    ----------
    source
        The data set.
    output
        The copy; may be the source itself.
    by
        ``"molecule"``, or ``"scaffold"`` (G. W. Bemis, M. A. Murcko, J. Med. Chem. 39, 2887 (1996),
        doi:10.1021/jm9602928: rings and what links them; a molecule without rings is its own scaffold). A pair or a
        cluster belongs to the group of its largest molecule. For crystals ``"composition"``, so that Cu3Au is in one
        part on every lattice, or ``"elements"``, so that all alloys of copper and gold are. A crystal has the
        composition that most structures of its start have, so that defects stay with it.
    validation, test
        Shares of the structures.
    seed
        The same seed gives the same split.

    Raises
    ------
    InputError
        The shares are impossible, scaffolds need SMILES that are missing, or there are too few molecules for three
        parts.
    MissingDependencyError
        Scaffolds need RDKit.
    """
    if by not in WAYS:
        raise InputError(f"a split is made by {' or by '.join(WAYS)}, got {by!r}; frames of a molecule stay together")
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise InputError(f"validation and test must be shares that leave some for training, got {validation}, {test}")
    source, output = Path(source), Path(output)
    with Dataset(source) as dataset:
        if by in ("composition", "elements"):
            numbers = (structure.atomic_numbers for structure in dataset.structures())
            group = composition_groups(dataset.molecule_id, numbers, by)
        else:
            group = groups(dataset.molecule_id, dataset.smiles, by)
        codes = assign(group, validation, test, seed)
    with one_writer(output), part_beside(output) as part:
        shutil.copyfile(source, part)
        with h5py.File(part, "r+", locking=False) as file:
            if "split" in file:
                del file["split"]
            file.create_dataset("split", data=codes)
    return {name: int((codes == code).sum()) for code, name in enumerate(SPLITS)}


def groups(molecule_id: Array, smiles: Sequence[str] | None, by: str) -> Array:
    """Return the group of each structure, shape (n_structures,); a split keeps groups whole.

    Parameters
    ----------
    molecule_id
        Molecule of each structure, shape (n_structures,).
    smiles
        One SMILES per molecule, or None.
    by
        ``"molecule"`` or ``"scaffold"``.
    """
    if smiles is None:
        if by == "scaffold":
            raise InputError("a split by scaffold needs SMILES, which the data set does not have; split it by molecule")
        return np.unique(molecule_id, return_inverse=True)[1]
    keys: dict[str, int] = {}
    of_molecule = np.full(len(smiles), -1, dtype=np.int64)
    for molecule in np.unique(molecule_id):
        largest = max(smiles[molecule].split("."), key=lambda part: (len(part), part))
        if by == "scaffold":
            largest = scaffold(largest)
        # A molecule without SMILES is its own group.
        of_molecule[molecule] = keys.setdefault(largest or f"#{molecule}", len(keys))
    return np.asarray(of_molecule[molecule_id])


def composition_groups(molecule_id: Array, atomic_numbers: Iterable[Array], by: str) -> Array:
    """Return the group of each structure by what its start is made of, shape (n_structures,).

    Parameters
    ----------
    molecule_id
        Start of each structure, shape (n_structures,).
    atomic_numbers
        Proton numbers of each structure, shape (n_atoms,).
    by
        ``"composition"`` or ``"elements"``.
    """
    found: dict[int, Counter[tuple[tuple[int, int], ...]]] = defaultdict(Counter)
    for molecule, numbers in zip(molecule_id.tolist(), atomic_numbers, strict=True):
        elements, counts = np.unique(numbers, return_counts=True)
        shares = np.ones_like(counts) if by == "elements" else counts // np.gcd.reduce(counts)
        found[molecule][tuple(zip(elements.tolist(), shares.tolist(), strict=True))] += 1
    keys: dict[tuple[tuple[int, int], ...], int] = {}
    of_start = {
        molecule: keys.setdefault(counter.most_common(1)[0][0], len(keys)) for molecule, counter in found.items()
    }
    return np.array([of_start[molecule] for molecule in molecule_id.tolist()])


def scaffold(smiles: str) -> str:
    """Return the SMILES of a molecule's rings and the chains that link them; of the whole molecule if it has no ring.

    Raises
    ------
    InputError
        The SMILES does not parse.
    MissingDependencyError
        RDKit is not installed.
    """
    from mlff_core.structures.smiles import parse, rdkit

    if not smiles:
        return ""
    chem = rdkit()
    from rdkit.Chem.Scaffolds import MurckoScaffold

    molecule = parse(smiles)
    found: str = chem.MolToSmiles(MurckoScaffold.GetScaffoldForMol(molecule))
    return found or str(chem.MolToSmiles(molecule))


def assign(group: Array, validation: float, test: float, seed: int) -> Array:
    """Return the split code of each structure, shape (n_structures,), uint8.

    Groups are drawn in random order; the test part is filled first, then validation, each up to its share.

    Raises
    ------
    InputError
        A part with a share above 0 stays empty, or nothing is left for training.
    """
    sizes = np.bincount(group)
    order = np.random.default_rng(seed).permutation(len(sizes))
    of_group = np.zeros(len(sizes), dtype=np.uint8)
    for code, share in ((2, test), (1, validation)):
        wanted, filled = share * len(group), 0
        for g in order:
            # The first group always, then those that bring the part closer to its share.
            if of_group[g] == 0 and sizes[g] and (filled == 0 or filled + sizes[g] / 2 <= wanted) and filled < wanted:
                of_group[g] = code
                filled += int(sizes[g])
    codes = of_group[group]
    for code, share in ((0, 1.0), (1, validation), (2, test)):
        if share > 0 and not (codes == code).any():
            raise InputError(
                f"nothing is left for {SPLITS[code]}: {int((sizes > 0).sum())} groups of molecules are too few for "
                "these shares; use more molecules or other shares"
            )
    return np.asarray(codes)
