"""Files that are either complete or absent, and outputs that one process writes at a time.

Both use the operating system's file locks (``flock``), which end with the process that holds them: what a killed run
leaves behind blocks no other run, and the next run removes it. Where there are no such locks (Windows, some network
file systems) files are still written completely, but two processes can write the same output.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mlff_core.errors import InputError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

REMEDIES = {
    errno.ENOSPC: "free some space, or choose another place",
    errno.EDQUOT: "free some space, or choose another place",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f), or choose another place",
}
"""What to do if a disk or a limit stops a write."""

PART = ".part."
"""Part of the name of a file that is not complete yet: ``.<random>.part.<name>``."""


def make_folder(folder: Path) -> None:
    """Make a folder and its parent folders, unless they exist.

    Raises
    ------
    InputError
        The folder cannot be made, or nothing can be written into it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # permissions are not enough: folders of /proc have them
            pass
    except OSError as error:
        raise unwritable(folder, error) from error


def unwritable(path: Path, error: OSError) -> InputError:
    """Return the error to raise when ``path`` could not be written, with a remedy."""
    code = lack_of_room(error)
    reason = os.strerror(code) if code is not None else error.strerror or error
    return InputError(f"{path} cannot be written: {reason}; {REMEDIES.get(code or 0, 'choose another place')}")


def lack_of_room(error: OSError) -> int | None:
    """Return the limit of the disk that caused an error, as a number of :mod:`errno`; None for another error.

    Examples
    --------
    >>> lack_of_room(OSError("Can't write data (errno = 28, error message = 'No space left on device')"))
    28
    """
    if error.errno is not None:
        return error.errno if error.errno in REMEDIES else None
    # h5py's errors have no number, but their message quotes the system's.
    return next((code for code in REMEDIES if os.strerror(code) in str(error)), None)


def check_place(path: Path) -> None:
    """Refuse a path that no file can be written to, before work is done for it; makes its parent folders.

    Raises
    ------
    InputError
        The path is a folder, or nothing can be written there.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file")
    make_folder(path.parent)


@contextmanager
def part_beside(path: Path) -> Iterator[Path]:
    """Yield an empty file beside ``path``, renamed to it when the block ends without an error, and removed otherwise.

    Its name ends with the name of ``path``. Such files that killed processes left for the same ``path`` are removed.

    Raises
    ------
    InputError
        ``path`` is a folder, or nothing can be written there.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; give the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale_parts(path.parent, path.name)
        handle, part = _locked_part(path)
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        yield part
        with part.open("rb+") as stream:
            os.fsync(stream.fileno())
        # mkstemp makes files private; a finished file gets the usual permissions.
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        part.replace(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and (code := lack_of_room(error)) is not None:
            # Errors of writes have no file name, and the name of the unfinished file means nothing to a user.
            raise OSError(code, os.strerror(code), str(path)) from error
        raise
    finally:
        os.close(handle)


def _locked_part(path: Path) -> tuple[int, Path]:
    """Return a new file for :func:`part_beside` and a descriptor whose lock shows that its process is alive."""
    while True:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=f"{PART}{path.name}")
        if fcntl is not None:
            with contextlib.suppress(OSError):  # no locks on this file system
                fcntl.flock(handle, fcntl.LOCK_EX)
        if Path(name).exists():
            return handle, Path(name)
        os.close(handle)  # another process took it for a stale file before it was locked, and removed it


def remove_stale_parts(folder: Path, name: str | None = None) -> None:
    """Remove the unfinished files that killed processes left in a folder.

    Parameters
    ----------
    folder
        Where to look; folders in it are not searched.
    name
        Name of the finished file; None removes those of every name.
    """
    if fcntl is None:
        return
    for entry in os.scandir(folder):
        if not (entry.name.startswith(".") and (entry.name.endswith(f"{PART}{name}") if name else PART in entry.name)):
            continue
        with contextlib.suppress(OSError):  # another process is writing it, or has just renamed it
            handle = os.open(entry.path, os.O_RDWR)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                Path(entry.path).unlink()
            finally:
                os.close(handle)


@contextmanager
def atomic_stream(path: Path) -> Iterator[BinaryIO]:
    """Open a stream beside ``path``, and rename its file to ``path`` when the block ends without an error.

    Raises
    ------
    InputError
        ``path`` is a folder, or nothing can be written there.
    """
    with part_beside(path) as part, part.open("wb") as stream:
        yield stream


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` beside ``path`` and rename it into place."""
    with atomic_stream(path) as stream:
        stream.write(content)


@contextmanager
def one_writer(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Keep other processes from writing the same output while the block runs.

    The lock is a file ``.<name>.lock`` beside ``path``. It names the process that holds it, and is removed when the
    block ends.

    Parameters
    ----------
    path
        The file or folder that is written; it need not exist.
    wait
        Wait until the other process has finished instead of refusing; for short work only.

    Raises
    ------
    InputError
        Another process is writing it, or nothing can be written there.
    """
    resolved = Path(os.path.realpath(path))  # unlike resolve, it accepts links that form a circle
    lock = resolved.with_name(f".{resolved.name}.lock")
    make_folder(path.parent)
    try:
        handle = _locked(lock, wait)
    except BlockingIOError:
        raise InputError(
            f"{path} is being written by {_holder(lock)}; wait until that has ended, or give another place"
        ) from None
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        yield
    finally:
        # Removed while still locked: a process that opened it meanwhile sees that it is gone, and makes a new one.
        with contextlib.suppress(OSError):
            lock.unlink()
        os.close(handle)


def _locked(lock: Path, wait: bool) -> int:
    """Return a descriptor of the file with a lock on it.

    Raises
    ------
    BlockingIOError
        Another process has locked it, and ``wait`` is off.
    """
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if fcntl is not None:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                except BlockingIOError:
                    raise
                except OSError:  # no locks on this file system
                    return handle
                if not _is_same_file(handle, lock):  # the other process has finished and removed it
                    os.close(handle)
                    continue
            holder = {"pid": os.getpid(), "host": socket.gethostname(), "command": " ".join(sys.argv)[:500]}
            os.truncate(handle, 0)
            os.write(handle, json.dumps(holder).encode())
        except BaseException as error:
            with contextlib.suppress(OSError):
                if not isinstance(error, BlockingIOError):  # the lock is ours, but writing into it failed
                    lock.unlink()
                os.close(handle)
            raise
        return handle


def _is_same_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _holder(lock: Path) -> str:
    try:
        holder = json.loads(lock.read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']} ({holder['command']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
