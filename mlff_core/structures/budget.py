"""Text files read within bounds: declared sizes are compared with the size of the file before memory is allocated."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from mlff_core.errors import InputError

MAX_INFLATION = 200
"""Largest allowed ratio of decompressed to compressed size; SMILES and coordinates shrink to a tenth at best."""

SLACK = 1 << 24
"""Bytes that any compressed file may decompress to, whatever its size."""

MAX_LINE = 1_000_000
"""Longest allowed line, characters; an extended xyz comment with the metadata of a frame is far shorter."""

_BOMB = f"{{path}} holds more than {MAX_INFLATION} times its size; if it can be trusted, decompress it first"
_OPENERS: dict[str, Callable[..., IO[Any]]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def lines(path: Path, *, errors: str = "strict") -> Iterator[str]:
    """Yield the lines of a text file, compressed or not, without their ends.

    Parameters
    ----------
    path
        The file; ``.gz``, ``.bz2`` and ``.xz`` are decompressed.
    errors
        What to do with bytes that are not UTF-8, as in :func:`open`.

    Raises
    ------
    InputError
        The file cannot be read, is not text, has a line longer than ``MAX_LINE``, or decompresses to far more than
        its size.
    """
    opener = _OPENERS.get(path.suffix.lower())
    try:
        most = MAX_INFLATION * path.stat().st_size + SLACK
        with (
            path.open(encoding="utf-8", errors=errors)
            if opener is None
            else opener(path, "rt", encoding="utf-8", errors=errors)
        ) as stream:
            n_read = 0
            for number, line in enumerate(iter(lambda: stream.readline(MAX_LINE + 1), ""), start=1):
                n_read += len(line)
                if "\0" in line:
                    raise InputError(f"{path}: line {number} holds NUL bytes, so this is not text; give another file")
                if len(line) > MAX_LINE:
                    raise InputError(f"{path}: line {number} is longer than {MAX_LINE:,} characters; give another file")
                if opener is not None and n_read > most:
                    raise InputError(_BOMB.format(path=path))
                yield line.rstrip("\r\n")
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{path} cannot be read as text: {error}") from error


def check_declared_sizes(path: Path) -> None:
    """Refuse a structure file that declares more atoms than it holds, before a reader allocates memory for them.

    Parameters
    ----------
    path
        Any structure file; compressed files of every format are checked, other files only if they are xyz.

    Raises
    ------
    InputError
        An xyz file ends before the atoms that it declares, or a compressed file decompresses to far more than its
        size.
    """
    endings = [suffix.lower() for suffix in path.suffixes]
    is_compressed = endings[-1:] != [] and endings[-1] in _OPENERS
    ending = endings[-2] if is_compressed and len(endings) > 1 else (endings or [""])[-1]
    if ending in (".xyz", ".extxyz"):
        _check_xyz(path)
    elif is_compressed:
        _check_inflation(path)


def _check_inflation(path: Path) -> None:
    most, n_read = MAX_INFLATION * path.stat().st_size + SLACK, 0
    try:
        with _OPENERS[path.suffix.lower()](path, "rb") as stream:
            while block := stream.read(1 << 20):
                n_read += len(block)
                if n_read > most:
                    raise InputError(_BOMB.format(path=path))
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{path} cannot be decompressed: {error}; copy the file again") from error


def _check_xyz(path: Path) -> None:
    found = lines(path, errors="replace")
    for frame, line in enumerate(found):
        try:
            n_atoms = int(line.split()[0])
        except (IndexError, ValueError):
            return  # the end, or a line that the reader refuses with its own message
        for k in range(n_atoms + 1):
            if next(found, None) is None:
                raise InputError(
                    f"{path}: frame {frame} says that it has {n_atoms:,} atoms, and the file ends after "
                    f"{max(0, k - 1):,}; it is cut short or damaged"
                )
