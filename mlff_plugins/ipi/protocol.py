"""i-PI's wire protocol: the content of its messages, as bytes in i-PI's units.

Headers have 12 bytes, padded with spaces; numbers are int32 and float64 in the machine's byte order; lengths are bohr,
energies hartree. One message of positions holds one structure, or as many as the INIT text announced as ``batch_size``.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mlff_core.errors import MlffError, UnsupportedError

HEADER_LENGTH = 12
INT32 = struct.Struct("=i")
SHARED_MEMORY = b"ipi_shm_"
"""Prefix of i-PI's names of shared memory."""

CELL_BYTES = 144
"""Number of values of a cell and its inverse."""
MAX_INIT_LENGTH = 1 << 20
"""Bytes; a longer INIT text is a protocol error."""

MAX_ATOMS = 1 << 27
"""A larger number of atoms is a protocol error."""


class IPIError(MlffError):
    """The connection to i-PI failed, or the data received do not follow i-PI's protocol."""


@dataclass(frozen=True)
class Structures:
    """Content of one POSDATA message.

    Parameters
    ----------
    cells
        i-PI's cell matrices, shape (n_structures, 3, 3), bohr; **columns are lattice vectors**.
    positions
        Shape (n_structures, n_atoms, 3), bohr.
    """

    cells: npt.NDArray[np.float64]
    positions: npt.NDArray[np.float64]


class Results:
    """Content of one FORCEREADY message, to be filled in.

    The numbers are in one array in the order of the message, so that one check covers all of them.

    Parameters
    ----------
    n_structures, n_atoms
        Number of structures, and of atoms of each.

    Attributes
    ----------
    numbers
        Energies, forces and virials one after the other.
    energies
        Shape (n_structures,), hartree.
    forces
        Shape (n_structures, n_atoms, 3), hartree/bohr.
    virials
        −dE/d(strain), transposed as in i-PI, shape (n_structures, 3, 3), hartree.
    extras
        A JSON object for each structure.
    """

    __slots__ = ("energies", "extras", "forces", "numbers", "virials")

    def __init__(self, n_structures: int, n_atoms: int) -> None:
        first, last = n_structures, n_structures * (1 + 3 * n_atoms)
        self.numbers: npt.NDArray[np.float64] = np.empty(last + 9 * n_structures)
        self.energies = self.numbers[:first]
        self.forces = self.numbers[first:last].reshape(n_structures, n_atoms, 3)
        self.virials = self.numbers[last:].reshape(n_structures, 3, 3)
        self.extras: Sequence[str] = ()

    @classmethod
    def joined(cls, parts: Sequence[Results]) -> Results:
        """Return the results of several parts of a batch, in order."""
        whole = cls(sum(len(part.energies) for part in parts), parts[0].forces.shape[1])
        for name in ("energies", "forces", "virials"):
            np.concatenate([getattr(part, name) for part in parts], out=getattr(whole, name))
        whole.extras = [extra for part in parts for extra in part.extras]
        return whole


@dataclass(frozen=True)
class Init:
    """Content of one INIT message: the id of a bead or replica, and the number of structures per POSDATA message."""

    id: int
    batch_size: int


class Stream(Protocol):
    """A source of bytes."""

    def read(self, size: int, /) -> bytes:
        """Return ``size`` bytes, or fewer if the connection has ended."""

    def readinto(self, target: Any, /) -> int:
        """Fill an array or other buffer, and return the number of bytes received before the connection ended."""

    def peek(self, size: int = 0, /) -> bytes:
        """Return the bytes received so far without consuming them."""


def all_finite(numbers: npt.NDArray[np.float64]) -> bool:
    """Return whether all numbers of an array are certainly finite; False also if the sum of their squares overflows.

    A sum of squares is finite only if all terms are, and it is the cheapest of NumPy's sums.

    Parameters
    ----------
    numbers
        Any number of them, any shape, any unit.
    """
    flat = numbers.ravel()
    return math.isfinite(flat.dot(flat))


def header(name: str) -> bytes:
    """Return a header as bytes."""
    return name.ljust(HEADER_LENGTH).encode("ascii")


FORCEREADY = header("FORCEREADY")
NAMES = {header(name): name for name in ("STATUS", "INIT", "POSDATA", "GETFORCE", "EXIT")}


def read_header(stream: Stream) -> str | None:
    """Return the next header, None if the connection has ended between two messages.

    Raises
    ------
    IPIError
        The connection ended inside the header.
    """
    raw = stream.read(HEADER_LENGTH)
    if not raw:
        return None
    if len(raw) < HEADER_LENGTH:
        raise IPIError(f"a header of {HEADER_LENGTH} bytes was expected, got {raw!r} and the end of the connection")
    name = NAMES.get(raw)
    return raw.decode("ascii", errors="backslashreplace").rstrip(" ") if name is None else name


def read_init(stream: Stream) -> Init:
    """Return the content of an INIT message, whose header has been read.

    Raises
    ------
    IPIError
        The message is too short or does not follow i-PI's protocol.
    """
    init_id, length = (int(n) for n in np.frombuffer(_exactly(stream, 8, "INIT"), dtype=np.int32))
    if not 0 <= length <= MAX_INIT_LENGTH:
        raise IPIError(f"INIT announces a text of {length} bytes; the other end does not speak i-PI's protocol")
    text = _exactly(stream, length, "INIT").decode("utf-8", errors="replace")
    found = re.search(r"\bbatch_size\s*:\s*([0-9]+)", text)
    if found is not None and len(found.group(1)) > len(str(MAX_ATOMS)):
        raise IPIError(f"INIT announces {found.group(1)[:40]} structures in a message; at most {MAX_ATOMS} are allowed")
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


class PositionsReader:
    """Reads POSDATA messages of one shape into the same arrays each time, to save making new ones.

    Parameters
    ----------
    batch_size
        Number of structures in a message, from INIT.
    n_atoms
        Number of atoms of a structure.
    """

    def __init__(self, batch_size: int, n_atoms: int) -> None:
        if batch_size * n_atoms > MAX_ATOMS:
            raise IPIError(
                f"INIT announces {batch_size} structures of {n_atoms} atoms in a message; at most {MAX_ATOMS} atoms "
                "are read"
            )
        self.batch_size, self.n_atoms = batch_size, n_atoms
        self._structures: Structures | None = None
        self._cells: npt.NDArray[np.float64] = np.empty(0)

    def read(self, stream: Stream) -> Structures:
        """Return the content of a message whose header has been read; the next message is read into the same arrays.

        Raises
        ------
        IPIError
            The message is too short, or has another number of atoms.
        """
        # A batch begins with the number of atoms, a single structure with its cell.
        head = _exactly(stream, CELL_BYTES + 4 if self.batch_size == 1 else 4, "POSDATA")
        (came,) = INT32.unpack_from(head, len(head) - 4)
        if came != self.n_atoms:
            plausible = 0 < came <= MAX_ATOMS
            raise IPIError(
                f"i-PI sends {came} atoms, but the template has {self.n_atoms}; give as template the file that i-PI "
                "starts from"
                if plausible
                else f"POSDATA announces {came} atoms; the other end does not speak i-PI's protocol"
            )
        if self._structures is None:
            self._cells = np.empty((self.batch_size, 2, 3, 3))
            # Each cell is followed by its inverse, which is not needed.
            self._structures = Structures(self._cells[:, 0], np.empty((self.batch_size, self.n_atoms, 3)))
        if self.batch_size == 1:
            self._cells.data.cast("B")[:] = head[:CELL_BYTES]
        else:
            _fill(stream, self._cells, "POSDATA")
        _fill(stream, self._structures.positions, "POSDATA")
        return self._structures


def pack_results(results: Results) -> bytes:
    """Return a whole FORCEREADY message, to be sent in one call."""
    n_structures, n_atoms = results.forces.shape[:2]
    numbers = results.numbers.data.cast("B")
    parts: list[bytes | memoryview[int]] = [
        FORCEREADY,
        numbers[: 8 * n_structures],
        INT32.pack(n_atoms),
        numbers[8 * n_structures :],
    ]
    for extra in results.extras:
        text = extra.encode("utf-8")
        parts += [INT32.pack(len(text)), text]
    return b"".join(parts)


def _exactly(stream: Stream, size: int, message: str) -> bytes:
    raw = stream.read(size) if size else b""
    if len(raw) < size:
        raise IPIError(f"the connection ended inside {message}: {size} bytes were expected, {len(raw)} came")
    return raw


def _fill(stream: Stream, target: npt.NDArray[np.float64], message: str) -> None:
    came = stream.readinto(target)
    if came < target.nbytes:
        raise IPIError(f"the connection ended inside {message}: {target.nbytes} bytes were expected, {came} came")
