"""i-PI's wire protocol: what its messages hold, in the bytes and units in which they travel.

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


class Results:
    """What one FORCEREADY message holds, to be filled in.

    The numbers lie in one array in the order of the message, so that one look tells whether all of them are finite.

    Parameters
    ----------
    n_structures, n_atoms
        Structures, and atoms of each.

    Attributes
    ----------
    numbers
        Energies, forces and virials one after the other.
    energies
        Shape (n_structures,), hartree.
    forces
        Shape (n_structures, n_atoms, 3), hartree/bohr.
    virials
        −dE/d(strain), transposed as i-PI has it, shape (n_structures, 3, 3), hartree.
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
    """What one INIT message holds: the id of a bead or replica, and the structures in a message of positions."""

    id: int
    batch_size: int


class Stream(Protocol):
    """Where bytes come from."""

    def read(self, size: int, /) -> bytes:
        """Return ``size`` bytes, or fewer where the connection has ended."""

    def readinto(self, target: Any, /) -> int:
        """Fill an array or other buffer, and return how many bytes came before the connection ended."""

    def peek(self, size: int = 0, /) -> bytes:
        """Return what has come, without taking it."""


def all_finite(numbers: npt.NDArray[np.float64]) -> bool:
    """Return whether all numbers of an array are surely finite; False also where their squares are too large for that.

    A sum of squares is finite only if all it sums is, and is the one of NumPy's sums whose call costs least.

    Parameters
    ----------
    numbers
        Any number of them, any shape, any unit.
    """
    flat = numbers.ravel()
    return math.isfinite(flat.dot(flat))


def header(word: str) -> bytes:
    """Return a header as it travels."""
    return word.ljust(HEADER_LENGTH).encode("ascii")


FORCEREADY = header("FORCEREADY")
WORDS = {header(word): word for word in ("STATUS", "INIT", "POSDATA", "GETFORCE", "EXIT")}


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
    word = WORDS.get(raw)
    return raw.decode("ascii", errors="backslashreplace").rstrip(" ") if word is None else word


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
    found = re.search(r"\bbatch_size\s*:\s*([0-9]+)", text)
    if found is not None and len(found.group(1)) > len(str(MAX_ATOMS)):
        raise IPIError(f"INIT announces {found.group(1)[:40]} structures in a message; {MAX_ATOMS} are the most")
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
    """Reads POSDATA messages of one shape into the same arrays each time, which costs less than to make them.

    Parameters
    ----------
    batch_size
        Structures in a message, as INIT announced.
    n_atoms
        Atoms that a structure must have.
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
            The message is short, or has another number of atoms.
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
            # Each cell is followed by its inverse, which nobody needs.
            self._structures = Structures(self._cells[:, 0], np.empty((self.batch_size, self.n_atoms, 3)))
        if self.batch_size == 1:
            self._cells.data.cast("B")[:] = head[:CELL_BYTES]
        else:
            _fill(stream, self._cells, "POSDATA")
        _fill(stream, self._structures.positions, "POSDATA")
        return self._structures


def pack_results(results: Results) -> bytes:
    """Return a whole FORCEREADY message, to be sent in one piece."""
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
        raise IPIError(f"the connection ended inside {message}: {size} bytes were wanted, {len(raw)} came")
    return raw


def _fill(stream: Stream, target: npt.NDArray[np.float64], message: str) -> None:
    came = stream.readinto(target)
    if came < target.nbytes:
        raise IPIError(f"the connection ended inside {message}: {target.nbytes} bytes were wanted, {came} came")
