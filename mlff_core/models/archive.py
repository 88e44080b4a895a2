"""Check of what an archive declares, before anything in it is unpacked."""

from __future__ import annotations

import io
import zipfile
from pathlib import PurePosixPath, PureWindowsPath
from typing import BinaryIO

from mlff_core.errors import InputError

MOST_INFLATED = 64 * 2**20
"""Bytes that the deflated parts of an archive may inflate to together; TorchScript deflates its code alone."""


def check_archive(stream: BinaryIO, size: int, *, may_deflate: bool) -> None:
    """Refuse an archive whose parts would take more memory than the file has bytes, or lie outside it.

    Parameters
    ----------
    stream
        The archive.
    size
        Size of the archive, bytes.
    may_deflate
        Whether parts may be compressed, up to :data:`MOST_INFLATED` in all.

    Raises
    ------
    InputError
        It is not an archive, or a part is compressed where that is not allowed, declares more bytes than the file has,
        has the name of another part, or has a name that leads out of the folder into which the archive is unpacked.
    """
    try:
        with zipfile.ZipFile(stream) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise InputError(f"it is no whole archive ({error})") from error
    names = [part.filename for part in parts]
    if len(set(names)) < len(names):
        raise InputError("two of its parts have one name")
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or PureWindowsPath(name).drive:
            raise InputError(f"its part {name!r} lies outside of it")
    stored = sum(part.file_size for part in parts if part.compress_type == zipfile.ZIP_STORED)
    packed = [part for part in parts if part.compress_type != zipfile.ZIP_STORED]
    if packed and not may_deflate:
        raise InputError(f"its part {packed[0].filename!r} is compressed, and those of such a file never are")
    inflated = sum(part.file_size for part in packed)
    if inflated > MOST_INFLATED or stored + sum(part.compress_size for part in packed) > size:
        raise InputError(
            f"its parts declare {stored + inflated} bytes, more than the {size} bytes of the file have room for"
        )


def extra_file(content: bytes, name: str) -> str:
    """Return the text of an extra file of a TorchScript archive, which is read before its program is.

    Raises
    ------
    InputError
        The archive has no such file.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for path in archive.namelist():
            if PurePosixPath(path).parts[1:] == ("extra", name):
                return archive.read(path).decode()
    raise InputError(f"it has no part {name}")
