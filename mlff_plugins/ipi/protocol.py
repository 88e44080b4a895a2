"""i-PI's wire protocol: what its messages hold, in the bytes and units in which they travel.

Headers have 12 bytes, padded with spaces; numbers are int32 and float64 in the machine's byte order; lengths are bohr,
energies hartree. One message of positions holds one structure, or as many as the INIT text announced as ``batch_size``.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mlff_core.errors import MlffError, UnsupportedError

HEADER_LENGTH = 12
INT32 = struct.Struct("=i")
SHARED_MEMORY = b"ipi_shm_"
"""How i-PI's names of shared memory begin."""

CELL_BYTES = 144
"""Of a cell and its inverse."""
MAX_INIT_LENGTH = 1 << 20
"""Bytes; an INIT text longer than this is no INIT text."""

MAX_ATOMS = 1 << 27
"""More atoms than this are a number read from the wrong place."""


class IPIError(MlffError):
    """The connection to i-PI failed, or what came over it is not i-PI's protocol."""


@dataclass(frozen=True)
class Structures:
    """What one POSDATA message holds.

    Parameters
    ----------
    cells
        i-PI's cell matrices, shape (n_structures, 3, 3), bohr; **columns are lattice vectors**.
    positions
        Shape (n_structures, n_atoms, 3), bohr.
    """

    cells: npt.NDArray[np.float64]
    positions: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Results:
    """What one FORCEREADY message holds.

    Parameters
    ----------
    energies
        Shape (n_structures,), hartree.
    forces
        Shape (n_structures, n_atoms, 3), hartree/bohr.
    virials
        −dE/d(strain), transposed as i-PI has it, shape (n_structures, 3, 3), hartree.
    extras
        A JSON object for each structure.
    """

    energies: npt.NDArray[np.float64]
    forces: npt.NDArray[np.float64]
    virials: npt.NDArray[np.float64]
    extras: Sequence[str]


@dataclass(frozen=True)
class Init:
    """What one INIT message holds: the id of a bead or replica, and the structures in a message of positions."""

    id: int
    batch_size: int


class Stream(Protocol):
    """Where bytes come from."""

    def read(self, size: int, /) -> bytes:
        """Return ``size`` bytes, or fewer where the connection has ended."""

    def peek(self, size: int = 0, /) -> bytes:
        """Return what has come, without taking it."""


def header(word: str) -> bytes:
    """Return a header as it travels."""
    return word.ljust(HEADER_LENGTH).encode("ascii")


def read_header(stream: Stream) -> str | None:
    """Return the next header, None where the connection has ended between two messages.

    Raises
    ------
    IPIError
        The connection ended inside the header.
    """
    raw = stream.read(HEADER_LENGTH)
    if not raw:
        return None
    if len(raw) < HEADER_LENGTH:
        raise IPIError(f"a header of {HEADER_LENGTH} bytes was wanted, got {raw!r} and the end of the connection")
    return raw.decode("ascii", errors="backslashreplace").rstrip(" ")


def read_init(stream: Stream) -> Init:
    """Return the content of an INIT message, whose header has been read.

    Raises
    ------
    IPIError
        The message is short or not i-PI's.
    """
    init_id, length = (int(n) for n in np.frombuffer(_exactly(stream, 8, "INIT"), dtype=np.int32))
    if not 0 <= length <= MAX_INIT_LENGTH:
        raise IPIError(f"INIT announces a text of {length} bytes; the other end does not speak i-PI's protocol")
    text = _exactly(stream, length, "INIT").decode("utf-8", errors="replace")
    found = re.search(r"\bbatch_size\s*:\s*(\d+)", text)
    return Init(init_id, max(1, int(found.group(1))) if found else 1)


def refuse_shared_memory(stream: Stream) -> None:
    """Refuse a first POSDATA message, whose header has been read, that names shared memory instead of positions.

    Raises
    ------
    UnsupportedError
        i-PI runs with ``<ffsocket mode='shm'>``.
    """
    if SHARED_MEMORY in stream.peek():
        raise UnsupportedError(
            "i-PI sends positions through shared memory, which this driver does not read; write "
            "<ffsocket mode='unix'> in its input instead of mode='shm'"
        )


def read_positions(stream: Stream, batch_size: int, n_atoms: int) -> Structures:
    """Return the content of a POSDATA message, whose header has been read.

    Parameters
    ----------
    stream
        The connection.
    batch_size
        Structures in the message, as INIT announced.
    n_atoms
        Atoms that a structure must have.

    Raises
    ------
    IPIError
        The message is short, or has another number of atoms.
    """
    # A batch begins with the number of atoms, a single structure with its cell.
    raw = _exactly(stream, CELL_BYTES + 4 if batch_size == 1 else 4, "POSDATA")
    (came,) = INT32.unpack_from(raw, len(raw) - 4)
    if came != n_atoms:
        plausible = 0 < came <= MAX_ATOMS
        raise IPIError(
            f"i-PI sends {came} atoms, but the template has {n_atoms}; give as template the file that i-PI starts from"
            if plausible
            else f"POSDATA announces {came} atoms; the other end does not speak i-PI's protocol"
        )
    if batch_size > 1:
        raw = _exactly(stream, CELL_BYTES * batch_size, "POSDATA")
    # Each cell is followed by its inverse, which nobody needs.
    cells = np.frombuffer(raw, dtype=np.float64, count=18 * batch_size).reshape(batch_size, 2, 3, 3)[:, 0]
    positions = np.frombuffer(_exactly(stream, 24 * n_atoms * batch_size, "POSDATA"), dtype=np.float64)
    return Structures(cells, positions.reshape(batch_size, n_atoms, 3))


def pack_results(results: Results) -> bytes:
    """Return a whole FORCEREADY message, to be sent in one piece."""
    parts = [
        header("FORCEREADY"),
        results.energies.tobytes(),
        INT32.pack(results.forces.shape[1]),
        results.forces.tobytes(),
        results.virials.tobytes(),
    ]
    for extra in results.extras:
        text = extra.encode("utf-8")
        parts += [INT32.pack(len(text)), text]
    return b"".join(parts)


def _exactly(stream: Stream, size: int, message: str) -> bytes:
    raw = stream.read(size) if size else b""
    if len(raw) < size:
        raise IPIError(f"the connection ended inside {message}: {size} bytes were wanted, {len(raw)} came")
    return raw
