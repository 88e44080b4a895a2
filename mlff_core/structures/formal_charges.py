"""Formal charges in structure files that ASE's readers ignore: mol, SDF and PDB files, Gaussian inputs.

The layouts are those of "CTfile Formats" (MDL, V2000) and of the PDB format 3.3. In a CIF, oxidation numbers are not
formal charges, and a crystal is neutral.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mlff_core.errors import InputError
from mlff_core.structures.budget import lines

if TYPE_CHECKING:
    from ase import Atoms

_CHARGE_OF_CODE = {1: 3, 2: 2, 3: 1, 5: -1, 6: -2, 7: -3}
"""Total charge, e, by the code in the atom block of a mol file."""

_DOUBLET_CODE = 4
"""Code of a radical in the same column."""

_UNPAIRED = {0: 0, 1: 0, 2: 1, 3: 2}
"""Unpaired electrons by the number in ``M  RAD``: 1 is a singlet, 2 a doublet, 3 a triplet."""

_PDB_CHARGE = re.compile(r"(?P<digit>\d)?(?P<sign>[+-])(?P<after>\d)?")


def molfile_state(record: str, n_atoms: int, where: str) -> dict[str, int]:
    """Return ``charge`` (e) and ``spin_multiplicity`` (2S + 1) of a V2000 record; empty if it states neither.

    ``M  CHG`` and ``M  RAD`` replace the codes of the atom block, as the format defines.

    Parameters
    ----------
    record
        Text of the record, including its three header lines.
    n_atoms
        Number of atoms in it.
    where
        File and molecule, for messages.

    Raises
    ------
    InputError
        A charge or radical cannot be read, or belongs to an atom that does not exist.
    """
    rows = record.split("\n")
    charges: dict[int, int] = {}
    radicals: dict[int, int] = {}
    replaced = False
    for row in rows[4 + n_atoms :]:
        if row.startswith("M  END"):
            break
        if row.startswith(("M  CHG", "M  RAD")):
            replaced = True
            into = charges if row.startswith("M  CHG") else radicals
            into.update(_property_pairs(row, n_atoms, where))
    if not replaced:
        for number, row in enumerate(rows[4 : 4 + n_atoms], start=1):
            code = _charge_code(row)
            if code == _DOUBLET_CODE:
                radicals[number] = 2
            elif code in _CHARGE_OF_CODE:
                charges[number] = _CHARGE_OF_CODE[code]
            elif code != 0:
                raise InputError(f"{where}: atom {number} has the charge code {code}, it must be 0 to 7; correct it")
    unknown = sorted(set(radicals.values()) - set(_UNPAIRED))
    if unknown:
        raise InputError(f"{where}: M  RAD has {unknown[0]}, it must be 1, 2 or 3; correct it")
    unpaired = sum(_UNPAIRED[value] for value in radicals.values())
    state: dict[str, int] = {}
    if charges:
        state["charge"] = sum(charges.values())
    if unpaired:
        state["spin_multiplicity"] = 1 + unpaired
    return state


def _property_pairs(row: str, n_atoms: int, where: str) -> dict[int, int]:
    try:
        count, *values = (int(field) for field in row[6:].split())
        found = dict(zip(values[::2], values[1::2], strict=True))
    except ValueError:
        raise InputError(f"{where}: the line {row.strip()!r} cannot be read; correct it or leave it out") from None
    if len(found) != count or not all(1 <= atom <= n_atoms for atom in found):
        raise InputError(
            f"{where}: the line {row.strip()!r} must name {count} different atoms of 1 to {n_atoms}; correct it"
        )
    return found


def _charge_code(row: str) -> int:
    fields = row.split()
    # Columns 37 to 39, or the sixth field if the file does not keep to the columns.
    in_columns = len(row) > 31 and row[31:34].strip() == fields[3]
    text = row[36:39].strip() if in_columns else (fields[5] if len(fields) > 5 else "")
    try:
        return int(text or 0)
    except ValueError:
        return 0


def read_pdb(path: Path) -> list[Atoms]:
    """Return the models of a PDB file; ``info["charge"]`` is the sum of the charges in columns 79 and 80, if any.

    Raises
    ------
    InputError
        The file cannot be read as text.
    """
    import ase.io

    frames = ase.io.read(path, index=":", format="proteindatabank")
    models: list[list[int]] = [[]]
    sizes = [0]
    for line in lines(path, errors="replace"):
        if line.startswith(("ATOM", "HETATM")):
            sizes[-1] += 1
            found = _PDB_CHARGE.fullmatch(line[78:80].strip())
            # Old files have other text in these columns.
            if found is not None and not (found["digit"] and found["after"]):
                amount = int(found["digit"] or found["after"] or 1)
                models[-1].append(-amount if found["sign"] == "-" else amount)
        elif line.startswith("END"):
            models.append([])
            sizes.append(0)
    for frame, charges, size in zip(frames, models, sizes, strict=False):
        if len(frame) != size:
            raise InputError(f"{path}: a model has {size} atoms, but {len(frame)} were read; check the file")
        if charges:
            frame.info["charge"] = sum(charges)
    # For ASE, ENDMDL and the END after it end two models; the second has no atoms.
    return [frame for frame in frames if len(frame)]


def is_pdb(path: Path) -> bool:
    """Return whether a file is a PDB file, compressed or not, by its ending."""
    return path.name.lower().endswith((".pdb", ".pdb.gz", ".pdb.bz2", ".pdb.xz"))


def is_gaussian_input(path: Path) -> bool:
    """Return whether a file is a Gaussian input, by its ending."""
    return path.suffix.lower() in (".com", ".gjf")


def read_gaussian_input(path: Path) -> list[Atoms]:
    """Return the structure of a Gaussian input with the charge and multiplicity stated before its atoms."""
    import ase.io

    frame = ase.io.read(path, format="gaussian-in", attach_calculator=True)
    parameters, frame.calc = frame.calc.parameters, None
    for name, ours in (("charge", "charge"), ("mult", "spin_multiplicity")):
        if parameters.get(name) is not None:
            frame.info[ours] = parameters[name]
    return [frame]
