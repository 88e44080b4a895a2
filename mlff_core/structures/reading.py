"""Structures read from files by ASE, and ASE structures as batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from mlff_core.errors import InputError, first_line
from mlff_core.structures.batch import AtomicBatch, concatenate, single
from mlff_core.structures.budget import check_declared_sizes
from mlff_core.structures.sdf import is_sdf, read_sdf

if TYPE_CHECKING:
    from ase import Atoms


def read_structures(path: str | Path, index: str = ":") -> list[Atoms]:
    """Return the structures of any file that ASE reads.

    Parameters
    ----------
    path
        A file in xyz, extxyz, cif, pdb, POSCAR, traj or another format; all molecules of an SDF file are read.
    index
        Which frames, as a slice: ``":"`` all, ``"-1"`` the last.

    Raises
    ------
    InputError
        The file is missing, unreadable, shorter than it declares, or holds no atoms.
    """
    import ase.io
    from ase.io.formats import string2index

    path = Path(path)
    if not path.exists():
        raise InputError(f"there is no file {path}; give a structure file such as .xyz, .extxyz, .cif or .pdb")
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a structure file in it")
    check_declared_sizes(path)
    try:
        frames = read_sdf(path)[string2index(index)] if is_sdf(path) else ase.io.read(path, index=index)
    except InputError:
        raise
    except Exception as error:
        # ASE's readers raise many types of error: IndexError, KeyError, UnicodeDecodeError, StopIteration …
        raise InputError(
            f"{path} cannot be read as a structure file: {type(error).__name__}: {first_line(error)}; "
            "check the format and the ending"
        ) from error
    frames = frames if isinstance(frames, list) else [frames]
    if not frames or any(len(frame) == 0 for frame in frames):
        raise InputError(f"{path} holds no structure, or one without atoms; at least one atom is needed")
    return frames


def batch_from_atoms(
    atoms: Atoms | Sequence[Atoms],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> AtomicBatch:
    """Return one or several ASE structures as a batch.

    The total charge is ``atoms.info["charge"]`` (e) and the multiplicity ``atoms.info["spin_multiplicity"]`` where they
    are set; a cell whose ``pbc`` is off is kept but has no effect.

    Raises
    ------
    InputError
        There are no structures, a structure has no atoms, or one of these entries of ``info`` is not a number.
    """
    from ase import Atoms

    frames = [atoms] if isinstance(atoms, Atoms) else list(atoms)
    if not frames:
        raise InputError("no structures were given")
    singles = []
    for frame in frames:
        if len(frame) == 0:
            raise InputError("a structure is empty: at least one atom is needed")
        singles.append(
            single(
                frame.get_positions(),
                frame.get_atomic_numbers(),
                np.asarray(frame.cell),
                frame.pbc,
                charge=_number(frame.info, "charge"),
                spin_multiplicity=None
                if (multiplicity := _number(frame.info, "spin_multiplicity")) is None
                else int(multiplicity),
                device=device,
                dtype=dtype,
            )
        )
    return singles[0] if len(singles) == 1 else concatenate(singles)


def _number(info: dict[str, object], key: str) -> float | None:
    value = info.get(key)
    if value is None:
        return None
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise InputError(
            f"atoms.info[{key!r}] must be a number, got {value!r}; set it to one, or leave it out"
        ) from None
