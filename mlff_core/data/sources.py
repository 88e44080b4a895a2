"""Where geometries start from: a list of SMILES or of crystals, an SDF, or structures."""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mlff_core.data.convert import as_dataset, structures_from_atoms
from mlff_core.data.crystals import is_random
from mlff_core.data.crystals import parse as parse_crystal
from mlff_core.data.reader import Dataset
from mlff_core.data.sampling.conformers import conformers, from_conformer, relaxed
from mlff_core.data.states import states
from mlff_core.data.structure import LabelledStructure
from mlff_core.errors import InputError
from mlff_core.structures.budget import lines
from mlff_core.structures.sdf import sdf_records
from mlff_core.structures.smiles import parse, rdkit

SMILES_ENDINGS = (".smi", ".smiles", ".txt", ".csv", ".ism")


class Source(ABC):
    """Numbered inputs that give structures to start from; picklable, the file is read again in another process."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of inputs."""

    @abstractmethod
    def name(self, k: int) -> str:
        """Return the position of input k in its file, for messages."""

    @abstractmethod
    def starts(self, k: int, n_conformers: int, seed: int) -> list[LabelledStructure]:
        """Return the structures that input k gives.

        Raises
        ------
        InputError
            It gives none; the message has the reason.
        """

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields without cached values."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_cached")}


def open_source(
    path: str | Path, folder: Path, limit: int | None = None, *, ph: float | None = None, tautomers: int = 1
) -> Source:
    """Return the inputs of a file; its ending decides the format.

    Parameters
    ----------
    path
        SMILES (``.smi``, ``.smiles``, ``.txt``, ``.csv``, one per line), ``.sdf``, both also as ``.gz``, crystals
        (``.crystals``, see :mod:`mlff_core.data.crystals`), a data set, or any structure file that ASE reads, such as
        ``.cif``.
    folder
        Folder in which structures of other formats are converted to a data set.
    limit
        Use the first inputs only.
    ph, tautomers
        States of each SMILES; see :func:`mlff_core.data.states.states`.

    Raises
    ------
    InputError
        The file is missing or empty, or states are asked for of structures, whose protons are where they are.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}; give SMILES (.smi, .csv), an .sdf, or structures (.xyz, .h5 …)")
    endings = [suffix.lower() for suffix in path.suffixes]
    ending = endings[-2] if endings[-1:] == [".gz"] and len(endings) > 1 else (endings or [""])[-1]
    source: Source
    if ending in SMILES_ENDINGS:
        source = SmilesFile(path, limit, ph, tautomers)
    elif ph is not None or tautomers > 1:
        raise InputError(
            f"ph and tautomers are for lists of SMILES, but {path} holds structures with their protons; give SMILES, "
            "or leave both out"
        )
    elif ending == ".crystals":
        source = CrystalFile(path, limit)
    elif ending == ".sdf":
        source = SdfFile(path, limit)
    else:
        source = Structures(as_dataset(path, folder), path.name, limit)
    if len(source) == 0:
        raise InputError(f"{path} holds no molecules; give one per line")
    return source


@dataclass(frozen=True)
class SmilesFile(Source):
    """One SMILES per line, then a name; in a ``.csv``, the column called SMILES."""

    path: Path
    limit: int | None = None
    ph: float | None = None
    tautomers: int = 1

    @cached_property
    def _cached(self) -> list[tuple[int, str]]:
        column = 0
        is_table = ".csv" in self.path.suffixes
        found: list[tuple[int, str]] = []
        for number, line in enumerate(lines(self.path), start=1):
            if is_table and number == 1:
                header = [name.strip().lower() for name in next(csv.reader([line]))]
                if "smiles" not in header:
                    raise InputError(f"{self.path} has no column called SMILES, but {', '.join(header)}")
                column = header.index("smiles")
                continue
            if not line.strip() or line.startswith("#"):
                continue
            if len(found) == self.limit:
                break
            cells = next(csv.reader([line])) if is_table else line.split()
            found.append((number, cells[column].strip() if len(cells) > column else ""))
        return found

    def __len__(self) -> int:
        return len(self._cached)

    def name(self, k: int) -> str:
        """Return file and line."""
        return f"{self.path.name}:{self._cached[k][0]}"

    def starts(self, k: int, n_conformers: int, seed: int) -> list[LabelledStructure]:
        """Return relaxed conformers, of each state where states are asked for."""
        smiles = self._cached[k][1]
        if self.ph is None and self.tautomers == 1:
            return conformers(smiles, n_conformers, seed)
        return [
            one for state in states(smiles, self.ph, self.tautomers) for one in conformers(state, n_conformers, seed)
        ]


@dataclass(frozen=True)
class SdfFile(Source):
    """Molecules of an SDF: those with three-dimensional coordinates as they are, others embedded."""

    path: Path
    limit: int | None = None

    @cached_property
    def _cached(self) -> list[str]:
        return list(islice((record for record in sdf_records(self.path) if record.strip()), self.limit))

    def __len__(self) -> int:
        return len(self._cached)

    def name(self, k: int) -> str:
        """Return file and entry."""
        return f"{self.path.name}:{k + 1}"

    def starts(self, k: int, n_conformers: int, seed: int) -> list[LabelledStructure]:
        """Return the entry's own geometry, or relaxed conformers where it has none."""
        chem = rdkit()
        from rdkit import rdBase

        with rdBase.BlockLogs():
            molecule = chem.MolFromMolBlock(self._cached[k], removeHs=False)
        if molecule is None:
            raise InputError("RDKit cannot read this molecule; correct or remove its entry")
        if molecule.GetNumConformers() and molecule.GetConformer().Is3D():
            molecule = chem.AddHs(molecule, addCoords=True)
            smiles = chem.MolToSmiles(chem.RemoveHs(molecule))
            return [from_conformer(molecule, molecule.GetConformer().GetPositions(), smiles, "given")]
        return relaxed(chem.AddHs(parse(chem.MolToSmiles(molecule))), n_conformers, seed)


@dataclass(frozen=True)
class CrystalFile(Source):
    """One crystal per line: formula, prototype, lattice constants in Å; each line is a molecule of its own."""

    path: Path
    limit: int | None = None

    @cached_property
    def _cached(self) -> list[tuple[int, str]]:
        found = [(number, text.split("#")[0].strip()) for number, text in enumerate(lines(self.path), start=1)]
        return [(number, text) for number, text in found if text][: self.limit]

    def __len__(self) -> int:
        return len(self._cached)

    def name(self, k: int) -> str:
        """Return file and line."""
        return f"{self.path.name}:{self._cached[k][0]}"

    def starts(self, k: int, n_conformers: int, seed: int) -> list[LabelledStructure]:
        """Return the crystal; of an alloy at random places as many arrangements as there are conformers."""
        crystal = parse_crystal(self._cached[k][1])
        rng = np.random.default_rng(seed)
        made = [crystal.atoms(rng) for _ in range(n_conformers if is_random(crystal) else 1)]
        return [replace(structure, molecule_id=k, kind="minimum") for structure in structures_from_atoms(made)]


@dataclass(frozen=True)
class Structures(Source):
    """Structures as they are; the frames of a trajectory are one molecule."""

    dataset: Dataset
    file_name: str
    limit: int | None = None

    def __len__(self) -> int:
        return len(self.dataset) if self.limit is None else min(len(self.dataset), self.limit)

    def name(self, k: int) -> str:
        """Return file and frame."""
        return f"{self.file_name}:{k}"

    def starts(self, k: int, n_conformers: int, seed: int) -> list[LabelledStructure]:
        """Return the structure itself."""
        return [self.dataset.structure(k)]


def seed_of(*parts: int) -> int:
    """Return one seed made of several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
