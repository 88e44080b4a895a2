"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mlff_core.errors import InputError


def make_folder(folder: Path) -> None:
    """Make a folder, and those it lies in, unless it is there.

    Raises
    ------
    InputError
        It cannot be made, or nothing can be written into it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # permissions do not tell: /proc has them
            pass
    except OSError as error:
        raise unwritable(folder, error) from error


def unwritable(path: Path, error: OSError) -> InputError:
    """Return what to tell a user whose place to write could not be written."""
    return InputError(f"{path} cannot be written: {error.strerror or error}; choose another place")


def check_place(path: Path) -> None:
    """Refuse a place that no file can be written to, before work is done for it; makes the folders it lies in.

    Raises
    ------
    InputError
        It is a folder, or nothing can be written there.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file")
    make_folder(path.parent)


@contextmanager
def atomic_stream(path: Path) -> Iterator[BinaryIO]:
    """Open a stream beside ``path``, and rename what was written into place when the block ends without an error.

    Raises
    ------
    InputError
        It is a folder, or nothing can be written there.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise unwritable(path, error) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files private; these are as readable as any other.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` beside ``path`` and rename it into place."""
    with atomic_stream(path) as stream:
        stream.write(content)
