"""Reading of the driver's settings from an i-PI input: the address of i-PI, and the initial structure."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from mlff_core.errors import InputError
from mlff_core.structures.reading import read_structures
from mlff_plugins.ipi.client import UNIX_PREFIX, Address

DEFAULT_NAME = "input.xml"
FORMATS = {"xyz", "pdb", "ase"}
"""i-PI's modes of ``<file>`` that hold a structure with its elements."""


@dataclass(frozen=True)
class IPIInput:
    """The parts of an i-PI input that concern a driver."""

    path: Path
    """The file."""
    address: Address
    """Address where i-PI listens."""
    wraps: bool
    """True where i-PI wraps positions into the cell before it sends them."""
    structures: tuple[tuple[Path, str], ...]
    """Files with i-PI's initial structures, and i-PI's mode of each."""


def read_input(path: str | Path) -> IPIInput:
    """Return the driver's settings in an i-PI input.

    Raises
    ------
    InputError
        The file is missing, not XML, or does not have exactly one ``<ffsocket>`` that this driver supports.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"there is no i-PI input {path}; name it with --input, or give --template and --unix or --host and --port"
        )
    try:
        root = ET.parse(path).getroot()
    except ET.ParseError as error:
        raise InputError(f"{path} is not XML: {error}") from error
    sockets = list(root.iter("ffsocket"))
    if len(sockets) != 1:
        names = ", ".join(socket.get("name", "unnamed").strip() for socket in sockets) or "none"
        raise InputError(
            f"{path} must have one <ffsocket>, it has {names}; give --template and --unix, or --host and --port"
        )
    files = [
        (path.parent / (file.text or "").strip(), file.get("mode", "xyz").strip())
        for initialize in root.iter("initialize")
        for file in initialize.iter("file")
    ]
    return IPIInput(
        path=path,
        address=_address(path, root, sockets[0]),
        wraps=sockets[0].get("pbc", "False").strip().lower() == "true",
        structures=tuple(files),
    )


def template_of(given: IPIInput) -> Atoms:
    """Return the initial structure of an i-PI input.

    Raises
    ------
    InputError
        The input names no structure file, a file without elements, or several files with different atoms.
    """
    readable = [(path, mode) for path, mode in given.structures if mode in FORMATS]
    if not readable:
        modes = ", ".join(sorted({mode for _, mode in given.structures})) or "none"
        raise InputError(
            f"{given.path} names no structure file of mode {', '.join(sorted(FORMATS))} (it has {modes}); "
            "give one with --template"
        )
    templates = [read_template(path, mode) for path, mode in readable]
    first = templates[0]
    for (path, _), other in zip(readable[1:], templates[1:], strict=True):
        if len(other) != len(first) or (other.numbers != first.numbers).any():
            raise InputError(
                f"{given.path} names structures of different atoms, {readable[0][0]} and {path}; give --template"
            )
    return first


def read_template(path: str | Path, mode: str | None = None) -> Atoms:
    """Return the first structure of a file, periodic where the file says so.

    i-PI's own xyz files have the cell in their comment (``# CELL(abcABC): …``), which ASE does not read; such a
    structure is periodic, as everything with a cell is to i-PI.

    Parameters
    ----------
    path
        Any file that ASE reads.
    mode
        i-PI's mode of the file, ``"xyz"``, ``"pdb"`` or ``"ase"``, where it is known.

    Raises
    ------
    InputError
        The file is missing, unreadable, or holds no atoms.
    """
    atoms = read_structures(path, index="0")[0]
    path = Path(path)
    if path.suffix == ".xyz" and mode in (None, "xyz"):
        with path.open() as lines:
            next(lines, "")
            comment = next(lines, "")
        if "CELL" in comment:
            # Every message has a cell, so the one here only needs to be valid.
            span = float(np.ptp(atoms.positions, axis=0).max()) + 10.0
            atoms.set_cell(np.eye(3) * span)
            atoms.pbc = True
    return atoms


def check_not_wrapped(given: IPIInput, template: Atoms) -> None:
    """Refuse an input with which i-PI would wrap the atoms of a molecule into a cell.

    Raises
    ------
    InputError
        i-PI is set to wrap positions into the cell, but the template is not periodic.
    """
    if given.wraps and not template.pbc.all():
        raise InputError(
            f"{given.path} has <ffsocket pbc='True'>, so i-PI wraps atoms into the cell, but the template is not "
            "periodic along all lattice vectors; write pbc='False', or give a periodic template"
        )


def _address(path: Path, root: ET.Element, socket: ET.Element) -> Address:
    mode = socket.get("mode", "inet").strip()
    name = (socket.findtext("address") or "localhost").strip()
    if mode == "unix":
        return Address.unix(name, root.get("sockets_prefix", UNIX_PREFIX).strip())
    if mode == "inet":
        port = (socket.findtext("port") or "65535").strip()
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise InputError(f"{path}: <port> must lie in 1–65535, got {port!r}")
        return Address(host=name, port=int(port))
    raise InputError(f"{path}: <ffsocket mode={mode!r}> is not supported; use mode='unix' or mode='inet'")
