"""Structures read from files by ASE or made from SMILES by RDKit, and ASE structures as batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from mlff_core.errors import InputError, MissingDependencyError, first_line
from mlff_core.structures.batch import AtomicBatch, concatenate, single
from mlff_core.structures.budget import check_declared_sizes
from mlff_core.structures.conversion import advice
from mlff_core.structures.electrons import electronic_state
from mlff_core.structures.formal_charges import is_gaussian_input, is_pdb, read_gaussian_input, read_pdb
from mlff_core.structures.likely_unit import warn_of_bohr
from mlff_core.structures.mmcif import is_mmcif, read_mmcif
from mlff_core.structures.mol2 import is_mol2, read_mol2
from mlff_core.structures.sdf import is_mol, is_sdf, read_sdf
from mlff_core.structures.smiles import is_smiles_file, read_smiles, structure_of
from mlff_core.structures.trajectory import is_trajectory, read_trajectory

if TYPE_CHECKING:
    from ase import Atoms

MOLECULES = ("fragment", "fragment_charge")
"""Columns of a structure: number and charge of the molecule that each atom belongs to."""
MOST_MOLECULES = 1_000_000
"""Largest number of a molecule."""


def read_structures(path: str | Path, index: str = ":", *, topology: str | Path | None = None) -> list[Atoms]:
    """Return the structures of any file that ASE reads, of a list of SMILES, or of a SMILES itself.

    A SMILES gives one structure, embedded by RDKit, with its formal charge. Formal charges of SDF, mol, PDB and mmCIF
    files are added up in ``info["charge"]``; Gaussian inputs state the total charge, and the partial charges of mol2
    files are initial charges, which add up to it.

    Parameters
    ----------
    path
        A file in xyz, extxyz, cif, mmcif, pdb, mol2, sdf, POSCAR, traj, smi or another format, all of whose molecules
        are read; or a SMILES, if there is no file of that name.
    index
        Which frames, as a slice: ``":"`` all, ``"-1"`` the last.
    topology
        A structure file of the atoms of a trajectory that holds coordinates only (DCD, XTC, TRR).

    Raises
    ------
    InputError
        The file is missing and its name no SMILES, or it is unreadable, shorter than it declares, or holds no atoms.
    MissingDependencyError
        A list of SMILES is given and RDKit is not installed, or a trajectory and MDAnalysis is not.
    """
    import ase.io
    from ase.io.formats import string2index

    text, path = str(path), Path(path)
    if not there_is(path):
        return [_from_smiles(text)]
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a structure file in it")
    if is_trajectory(path):
        if topology is None:
            raise InputError(
                f"{path} holds coordinates only; name a structure file of its atoms, such as .pdb or .gro (--topology)"
            )
        return _not_empty(read_trajectory(path, read_structures(topology, "0")[0], string2index(index)), path)
    if topology is not None:
        raise InputError(f"{path} has its own atoms, so it takes no topology; leave it out")
    check_declared_sizes(path)
    if is_smiles_file(path):
        return _not_empty(read_smiles(path)[string2index(index)], path)
    try:
        if is_sdf(path) or is_mol(path):
            frames = read_sdf(path)[string2index(index)]
        elif is_pdb(path):
            frames = read_pdb(path)[string2index(index)]
        elif is_mol2(path):
            frames = read_mol2(path)[string2index(index)]
        elif is_mmcif(path):
            frames = read_mmcif(path)[string2index(index)]
        elif is_gaussian_input(path):
            frames = read_gaussian_input(path)[string2index(index)]
        else:
            frames = ase.io.read(path, index=index)
    except InputError:
        raise
    except Exception as error:
        # ASE's readers raise many types of error: IndexError, KeyError, UnicodeDecodeError, StopIteration …
        raise InputError(
            f"{path} cannot be read as a structure file: {type(error).__name__}: {first_line(error)}; {advice(path)}"
        ) from error
    frames = _not_empty(frames, path)
    warn_of_bohr(frames[0], str(path))
    return frames


def there_is(path: Path) -> bool:
    """Return whether there is a file or folder of this name; what is given in its place may be a SMILES."""
    try:
        return path.exists()
    except OSError:  # a SMILES longer than a file's name may be
        return False


def _not_empty(frames: Atoms | list[Atoms], path: Path) -> list[Atoms]:
    frames = frames if isinstance(frames, list) else [frames]
    if not frames or any(len(frame) == 0 for frame in frames):
        raise InputError(f"{path} holds no structure, or one without atoms; at least one atom is needed")
    for frame in frames:
        _check_occupancies(frame, path)
    return frames


def _from_smiles(text: str) -> Atoms:
    """Return the structure of a SMILES that was given in place of a file."""
    try:
        return structure_of(text)
    except MissingDependencyError:
        reason = "SMILES need RDKit: pip install 'mlff-hub[data]'"
    except InputError as error:
        if "valid SMILES" not in str(error):  # it was meant as a SMILES
            raise
        reason = "and it is not a valid SMILES"
    raise InputError(
        f"there is no file {text}, {reason}; give a structure file such as .xyz, .sdf, .cif or .pdb, or a SMILES"
    )


def _check_occupancies(frame: Atoms, path: Path) -> None:
    """Refuse a crystal with partially occupied sites, of which ASE would keep the most frequent element.

    Raises
    ------
    InputError
        The message names the elements of the first such site.
    """
    occupancy = frame.info.get("occupancy")
    for site in occupancy.values() if isinstance(occupancy, dict) else ():
        if isinstance(site, dict) and (len(site) > 1 or any(abs(share - 1.0) > 1e-3 for share in site.values())):
            shares = ", ".join(f"{share:g} {symbol}" for symbol, share in site.items())
            raise InputError(f"{path} has a partially occupied site ({shares}); give an ordered supercell of it")


def batch_from_atoms(
    atoms: Atoms | Sequence[Atoms],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> AtomicBatch:
    """Return one or several ASE structures as a batch.

    The total charge is ``atoms.info["charge"]`` (e) and the multiplicity ``atoms.info["spin_multiplicity"]`` where they
    are set, or other names for them: see :func:`~mlff_core.structures.electrons.electronic_state`. The molecules of a
    structure and their charges are the columns ``fragment`` and ``fragment_charge`` where it has both. A cell whose
    ``pbc`` is off is kept but has no effect.

    Raises
    ------
    InputError
        No structures, one without atoms, or a charge or multiplicity in ``info`` that cannot be used.
    """
    from ase import Atoms

    frames = [atoms] if isinstance(atoms, Atoms) else list(atoms)
    if not frames:
        raise InputError("no structures were given")
    singles = []
    for frame in frames:
        if len(frame) == 0:
            raise InputError("a structure is empty: at least one atom is needed")
        state = electronic_state(frame)
        one = single(
            frame.get_positions(),
            frame.get_atomic_numbers(),
            np.asarray(frame.cell),
            frame.pbc,
            charge=state.charge,
            spin_multiplicity=state.spin_multiplicity,
            device=device,
            dtype=dtype,
        )
        molecules = molecules_of_atoms(frame)
        columns = {name: torch.from_numpy(values).to(device) for name, values in molecules.items()}
        singles.append(replace(one, **columns) if columns else one)
    return singles[0] if len(singles) == 1 else concatenate(singles)


def molecules_of_atoms(frame: Atoms) -> dict[str, npt.NDArray[np.int64]]:
    """Return the columns :data:`MOLECULES` of a structure, shape (n_atoms,), numbers and e; empty if it lacks one.

    Raises
    ------
    InputError
        A column is not one whole number for each atom.
    """
    if not all(name in frame.arrays for name in MOLECULES):
        return {}
    found = {name: np.asarray(frame.arrays[name]) for name in MOLECULES}
    for name, values in found.items():
        is_number = values.dtype.kind in "iuf" and values.shape == (len(frame),)
        if not is_number or not np.array_equal(values, np.rint(values)) or (np.abs(values) > MOST_MOLECULES).any():
            raise InputError(
                f"the column {name} must be one whole number up to {MOST_MOLECULES:,} for each atom, got "
                f"{values.dtype} of shape {values.shape}; correct it, or leave it out"
            )
    return {name: values.astype(np.int64) for name, values in found.items()}
