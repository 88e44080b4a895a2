"""Safe reading of an HDF5 file that may be damaged or hostile.

A data set is one file: links, external storage and virtual data sets are errors. Declared
sizes are compared with the stored bytes before anything is allocated, and any error of the HDF5 library in
a damaged file becomes a message of one line.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from mlff_core.data.layout import COLUMNS
from mlff_core.data.structure import Array
from mlff_core.errors import InputError

FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}
"""Allowed filters: none loads code, or expands bytes more than :data:`MAX_INFLATION` times."""

MAX_INFLATION = 1100
"""Deflate expands one byte to at most 1032."""

SLACK = 1 << 16
"""Size that a data set may always have, bytes."""

MAX_CHUNK_BYTES = 1 << 28
"""Largest chunk: it is always read as a whole."""


class StoredColumn:
    """An HDF5 data set of the file.

    Parameters
    ----------
    dataset
        The object of h5py.
    name
        Name for messages.
    path
        Path of the file.
    """

    def __init__(self, dataset: Any, name: str, path: Path) -> None:
        self._dataset, self._what = dataset, f"{path}: data set {name!r}"
        with readable(self._what):
            self.shape: tuple[int, ...] = dataset.shape if dataset.shape is not None else ()
            self.dtype: np.dtype[Any] = dataset.dtype
            self._check(name, path.stat().st_size)

    def _check(self, name: str, file_bytes: int) -> None:
        dataset = self._dataset
        if dataset.is_virtual or dataset.external:
            raise InputError(
                f"{self._what}: its values are in other files, which a data set must not read; copy them into this file"
            )
        properties = dataset.id.get_create_plist()
        filters = [properties.get_filter(k)[0] for k in range(properties.get_nfilters())]
        if len(set(filters)) < len(filters) or not set(filters) <= set(FILTERS):
            raise InputError(
                f"{self._what}: its filters must be among {', '.join(FILTERS.values())}, each once, got filters "
                f"{', '.join(map(str, filters))}; write it with gzip"
            )
        if dataset.chunks and int(np.prod(dataset.chunks, dtype=object)) * self.dtype.itemsize > MAX_CHUNK_BYTES:
            raise InputError(f"{self._what}: its chunks must be smaller than {MAX_CHUNK_BYTES >> 20} MiB")
        column = COLUMNS.get(name)
        if column is not None and column.default is not None:
            return  # rows with the default value need not be stored; their number is that of the others
        declared = int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize
        stored = min(dataset.id.get_storage_size(), file_bytes)
        if declared > MAX_INFLATION * stored + SLACK:
            raise InputError(
                f"{self._what}: has shape {self.shape}, but only {stored} bytes are stored; the file "
                "is damaged: copy or make it again"
            )

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def is_text(self) -> bool:
        """True if it holds strings."""
        return h5py.check_string_dtype(self.dtype) is not None

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 0

    def __getitem__(self, selection: slice) -> Array:
        with readable(self._what):
            return np.asarray(self._dataset[selection])

    def text(self) -> list[str]:
        """Return all strings."""
        with readable(self._what):
            return list(self._dataset.asstr()[:])


class StoredGroup:
    """The file, or a group in it.

    Parameters
    ----------
    group
        The object of h5py.
    path
        Path of the file.
    prefix
        Path of the group in the file.
    """

    def __init__(self, group: Any, path: Path, prefix: str = "") -> None:
        self._group, self._path, self._prefix = group, path, prefix
        self._members: dict[str, Any] = {}

    def __contains__(self, name: str) -> bool:
        with readable(f"{self._path}: {self._prefix}{name}"):
            return bool(self._group.id.links.exists(name.encode()))

    def __getitem__(self, name: str) -> Any:
        """Return a :class:`StoredColumn`, or a :class:`StoredGroup` if it is a group."""
        if name not in self._members:
            self._members[name] = self._open(name)
        return self._members[name]

    def _open(self, name: str) -> StoredColumn | StoredGroup:
        full = f"{self._prefix}{name}"
        with readable(f"{self._path}: {full!r}"):
            if self._group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
                raise InputError(
                    f"{self._path}: {full!r} is a link, which a data set must not hold; copy its target into this file"
                )
            member = self._group[name]
        wanted: type = h5py.Group if full == "hessian" else h5py.Dataset
        if not isinstance(member, wanted):
            raise InputError(
                f"{self._path}: {full!r} must be an HDF5 {wanted.__name__.lower()}, is {type(member).__name__}"
            )
        if isinstance(member, h5py.Group):
            return StoredGroup(member, self._path, f"{full}/")
        return StoredColumn(member, full, self._path)

    def attribute(self, name: str) -> Any:
        """Return an attribute, None if there is none."""
        with readable(f"{self._path}: attribute {name!r}"):
            value = self._group.attrs.get(name)
        return value.item() if isinstance(value, np.generic) else value

    def json(self, name: str) -> Any:
        """Return the value of a JSON attribute, None if there is no such attribute.

        Raises
        ------
        InputError
            The attribute is not JSON.
        """
        value = self.attribute(name)
        if value is None:
            return None
        try:
            return json.loads(value)
        except (TypeError, ValueError, RecursionError):
            raise InputError(f"{self._path}: attribute {name!r}: must be JSON, is {str(value)[:60]!r}") from None

    def close(self) -> None:
        """Close the file."""
        self._group.close()


def open_stored(path: Path) -> StoredGroup:
    """Return an HDF5 file, open for reading.

    Raises
    ------
    InputError
        The file is not HDF5, or is truncated.
    """
    try:
        return StoredGroup(h5py.File(path, "r", locking="best-effort"), path)
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"{path} cannot be opened as HDF5: {_first_line(error)}; it may be truncated: write or copy it again"
        ) from error


@contextlib.contextmanager
def readable(what: str) -> Iterator[None]:
    """Turn any error of h5py on damaged bytes into one of our errors with a message of one line.

    Raises
    ------
    InputError
        The message names the part that cannot be read.
    """
    try:
        yield
    except InputError:
        raise
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise InputError(
            f"{what}: cannot be read: {_first_line(error)}; the file is damaged: copy or make it again"
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
