"""Weights that are unpickled, which can run code in the file: only the file with the expected hash is opened."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mlff_core.errors import InputError


def pinned_content(teacher: str, path: Path, sha256: str, package: str) -> bytes:
    """Return the bytes of a file of a package with weights, after a check of its SHA-256.

    Parameters
    ----------
    teacher
        For the message.
    path
        The file.
    sha256
        The hash that it must have.
    package
        The distribution with its version that brings the right file back, such as ``"sevenn==0.13.0"``.

    Raises
    ------
    InputError
        The file is missing or another one; no code in it was run.
    """
    again = f"install the package again: pip install --force-reinstall --no-deps {package}"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"the weights of {teacher} cannot be read from {path}: {error.strerror}; {again}") from error
    check_sha256(path, content, sha256, again)
    return content


def check_sha256(path: Path, content: bytes, sha256: str, remedy: str) -> None:
    """Refuse the content of a file if its SHA-256 is not the one wanted.

    Raises
    ------
    InputError
        The message has both hashes and the remedy.
    """
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise InputError(
            f"{path} was refused before any code in it was run: its SHA-256 is {digest}, wanted {sha256}; {remedy}"
        )
