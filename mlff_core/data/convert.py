"""Data sets to and from structure files; extended xyz keeps everything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from mlff_core.atomic_write import make_folder, one_writer, part_beside
from mlff_core.data.digest import file_sha256
from mlff_core.data.labels import LabelKeys, Labels
from mlff_core.data.reader import Dataset
from mlff_core.data.structure import LabelledStructure
from mlff_core.data.writer import write_dataset
from mlff_core.errors import InputError
from mlff_core.structures.electrons import STATE_NAMES, electronic_state
from mlff_core.structures.far import near_origin
from mlff_core.structures.reading import MOLECULES, molecules_of_atoms, read_structures

if TYPE_CHECKING:
    from ase import Atoms

_INFO = ("charge", "spin_multiplicity", "weight", "molecule_id", "kind", "smiles", "split")


def structures_from_atoms(
    frames: Iterable[Atoms], labels: Labels | None = None, *, geometries_only: bool = False
) -> Iterator[LabelledStructure]:
    """Yield structures with the labels that ASE's frames have.

    Charge, multiplicity (see :func:`~mlff_core.structures.electrons.electronic_state`), weight, kind, SMILES and split
    come from ``atoms.info``. Frames without a ``molecule_id`` or
    SMILES count as one molecule where their composition is the same, so that the frames of a trajectory never straddle
    a split. Where atoms are far from the origin the structure is moved to it, since the file holds float32.

    Parameters
    ----------
    frames
        Structures.
    labels
        Finds labels by their names, and counts entries that are not used; the usual names if None.
    geometries_only
        Whether to leave out the labels.

    Raises
    ------
    InputError
        ``atoms.info`` holds something other than a number where one is needed, or labels that contradict one another.
    """
    labels = labels or Labels()
    molecules: dict[str, int] = {}
    for k, frame in enumerate(frames):
        info = {name: frame.info[name] for name in _INFO if frame.info.get(name) is not None}
        molecule = info.get("molecule_id")
        if molecule is None and "smiles" not in info:
            molecule = molecules.setdefault(f"{frame.get_chemical_formula()} {frame.pbc.any()}", len(molecules))
        has_cell = bool(frame.pbc.any() or np.any(frame.cell))
        cell, pbc = (np.array(frame.cell), np.array(frame.pbc)) if has_cell else (None, None)
        rows = {} if geometries_only else _hessian_rows(frame)
        columns = {name: values.astype(np.int32) for name, values in molecules_of_atoms(frame).items()}
        # Of a frame with only one of the two, this is counted among the entries that are not taken.
        taken = {*info, *STATE_NAMES, *columns}
        taken |= {name for name in frame.arrays if name.startswith("hessian_") and rows}
        try:
            state = electronic_state(frame)
            found = {} if geometries_only else labels.of(frame, taken)
            yield LabelledStructure(
                atomic_numbers=frame.numbers.astype(np.uint8),
                positions=near_origin(frame.positions, cell, pbc).astype(np.float32),
                energy=float(found["energy"]) if "energy" in found else None,
                cell=cell,
                pbc=pbc,
                charge=state.charge or 0,
                spin_multiplicity=state.spin_multiplicity or 1,
                weight=float(info.get("weight", 1.0)),
                molecule_id=None if molecule is None else int(molecule),
                kind=str(info.get("kind", "given")),
                smiles=str(info["smiles"]) if "smiles" in info else None,
                split=str(info["split"]) if "split" in info else None,
                **rows,
                **columns,
                **{name: value.astype(np.float32) for name, value in found.items() if name != "energy"},
            )
        except (TypeError, ValueError) as error:
            raise InputError(f"frame {k}: {error}; correct atoms.info or the labels of this frame") from error


def atoms_from_structure(structure: LabelledStructure) -> Atoms:
    """Return one structure as ASE's ``Atoms``, its labels in a single-point calculator, the rest in ``info``."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    atoms = Atoms(structure.atomic_numbers, positions=structure.positions.astype(np.float64))
    if structure.cell is not None:
        atoms.set_cell(structure.cell)
        atoms.pbc = structure.pbc if structure.pbc is not None else False
    for name in _INFO:
        value = getattr(structure, name)
        if value is not None:
            atoms.info[name] = value
    for name in MOLECULES:
        if (values := getattr(structure, name)) is not None:
            atoms.set_array(name, np.asarray(values, dtype=np.int64))
    if structure.hessian_direction is not None and structure.hessian_product is not None:
        for k, (direction, product) in enumerate(
            zip(structure.hessian_direction, structure.hessian_product, strict=True)
        ):
            atoms.set_array(f"hessian_direction_{k}", np.asarray(direction, dtype=np.float64))
            atoms.set_array(f"hessian_product_{k}", np.asarray(product, dtype=np.float64))
    labels = {"energy": structure.energy, "forces": structure.forces, "energies": structure.atom_energies}
    labels |= {"charges": structure.charges, "dipole": structure.dipole}
    if structure.stress is not None and structure.is_periodic:
        labels["stress"] = structure.stress.reshape(-1)[[0, 4, 8, 5, 2, 1]]
    if labels := {name: value for name, value in labels.items() if value is not None}:
        atoms.calc = SinglePointCalculator(atoms, **labels)
    return atoms


def _hessian_rows(frame: Atoms) -> dict[str, np.ndarray]:
    """Return the rows of the Hessian of a frame, from its arrays ``hessian_direction_0``, ``hessian_product_0``."""
    n_rows = sum(name.startswith("hessian_direction_") for name in frame.arrays)
    if n_rows == 0:
        return {}
    return {
        name: np.stack([frame.arrays[f"{name}_{k}"] for k in range(n_rows)]).astype(np.float32)
        for name in ("hessian_direction", "hessian_product")
    }


def convert(source: str | Path, output: str | Path, license: str = "", labels: Labels | None = None) -> int:
    """Write a data set as a structure file, or a structure file as a data set, and return the number of structures.

    Parameters
    ----------
    source
        A data set (HDF5), or any structure file that ASE reads.
    output
        ``.h5`` or ``.hdf5`` makes a data set; ``.extxyz``, ``.xyz`` or another ending that ASE writes makes a file of
        that format.
    license
        Licence of the labels, where a data set is made.
    labels
        Finds the labels of a structure file by their names, and counts entries that are not used.

    Raises
    ------
    InputError
        The source cannot be read, neither file is a data set, ASE does not know the output's ending, or another process
        writes the output.
    """
    source, output = Path(source), Path(output)
    if labels is not None and labels.keys != LabelKeys() and is_hdf5(source):
        raise InputError(f"names of labels apply to structure files only, but {source} is a data set; leave them out")
    if output.suffix in (".h5", ".hdf5"):
        frames = (
            Dataset(source).structures() if is_hdf5(source) else structures_from_atoms(read_structures(source), labels)
        )
        with one_writer(output):
            return write_dataset(
                output,
                frames,
                created={"command": "convert", "source": {"name": source.name, "sha256": file_sha256(source)}},
                license=license,
            )
    if not is_hdf5(source):
        raise InputError(
            f"{source.name} is not a data set and {output.name} would not be one; "
            f"give {output.name} the ending .h5 to make one"
        )
    with one_writer(output), Dataset(source) as dataset:
        _write_frames(output, (atoms_from_structure(structure) for structure in dataset.structures()))
        return len(dataset)


def _write_frames(output: Path, frames: Iterator[Atoms]) -> None:
    import ase.io
    from ase.io.formats import UnknownFileTypeError

    file_format = "extxyz" if output.suffix in (".xyz", ".extxyz") else None
    with part_beside(output) as part:
        try:
            ase.io.write(part, list(frames) if file_format is None else frames, format=file_format)
        except (UnknownFileTypeError, ValueError, KeyError) as error:
            raise InputError(f"{output.name} cannot be written: {error}; use .extxyz or .h5") from error


def is_hdf5(path: str | Path) -> bool:
    """Return whether a file is HDF5.

    Raises
    ------
    InputError
        There is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}; give a data set (.h5) or a structure file such as .extxyz")
    return bool(h5py.is_hdf5(path))


def as_dataset(source: Path, folder: Path) -> Dataset:
    """Return a data set of the geometries of any file; a file that is not HDF5 is converted into ``folder``.

    Raises
    ------
    InputError
        The file cannot be read.
    """
    if is_hdf5(source):
        return Dataset(source)
    make_folder(folder)
    copy, digest = folder / "source.h5", file_sha256(source)
    if copy.exists():
        found = Dataset(copy)
        if found.created.get("sha256") == digest:
            return found
        found.close()
    write_dataset(
        copy, structures_from_atoms(read_structures(source), geometries_only=True), created={"sha256": digest}
    )
    return Dataset(copy)
