"""Errors of the machine as lines for a user: a full disk, too little memory, an input nested too deeply.

They can happen at any read or write, so they are handled in one place, the command line's group. Every other exception
that is not an :class:`~mlff_core.errors.MlffError` is a bug and keeps its traceback.
"""

from __future__ import annotations

import errno
import os
import traceback

from mlff_core.atomic_write import REMEDIES, lack_of_room
from mlff_core.errors import first_line

_REMEDIES = {
    **REMEDIES,
    errno.ENAMETOOLONG: "give a shorter name",
    errno.EACCES: "change its permissions, or choose another place",
    errno.EPERM: "change its permissions, or choose another place",
    errno.EROFS: "choose another place",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ELOOP: "give a file that the link leads to",
}
_OF_TORCH = ("can't allocate memory", "not enough memory", "out of memory", "cannot allocate memory", "Invalid buffer")


def line_of(error: BaseException) -> str | None:
    """Return one line for the user about an error of the machine; None for any other error.

    Examples
    --------
    >>> line_of(OSError(28, "No space left on device", "run/log.csv"))
    'run/log.csv: No space left on device; free some space, or choose another place'
    >>> line_of(KeyError("a bug")) is None
    True
    """
    if isinstance(error, BrokenPipeError):
        return None  # the reader of our output has closed it: click exits without a message
    if isinstance(error, OSError):
        return _of_the_system(error)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _is_of_memory(error)):
        detail = str(error).strip() and f" ({first_line(error)})"
        return f"there is not enough memory{detail}; give a smaller system or smaller batches, or free some memory"
    if isinstance(error, RecursionError):
        return "the input is nested too deeply to be read; give a flatter one"
    if isinstance(error, UnicodeEncodeError):
        characters = error.object[error.start : error.end]
        return f"the characters {characters!a} cannot be written as {error.encoding}; set PYTHONIOENCODING=utf-8"
    if isinstance(error, (RuntimeError, KeyError)) and _is_of_hdf5(error):
        return f"an HDF5 file cannot be read or written: {first_line(error)}; check the disk, or create the file again"
    return None


def _of_the_system(error: OSError) -> str:
    number = error.errno if error.errno is not None else lack_of_room(error)
    reason = error.strerror or (first_line(error) if number is None else os.strerror(number))
    where = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    remedy = _REMEDIES.get(number or 0, "check the path and the disk")
    place = " → ".join(where) + ": " if where else ""
    return " ".join(f"{place}{reason}; {remedy}".split())


def _is_of_memory(error: RuntimeError) -> bool:
    # torch's own class is a RuntimeError, and its CPU allocator raises a plain RuntimeError.
    return any(text in str(error) for text in _OF_TORCH)


def _is_of_hdf5(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and frames[-1].filename.replace(os.sep, "/").startswith("h5py/")
