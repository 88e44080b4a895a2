"""Weights that are unpickled, which can run code in the file: only the file with the expected hash is opened."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mlff_core.errors import InputError


def pinned_content(teacher: str, path: Path, sha256: str, package: str) -> bytes:
    """Return the bytes of a file with weights after a check of its SHA-256.

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
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"the weights of {teacher} cannot be read from {path}: {error.strerror}; "
            f"install the package again: pip install --force-reinstall --no-deps {package}"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise InputError(
            f"{path} was refused before any code in it was run: its SHA-256 is {digest}, wanted {sha256}; "
            f"install the package again: pip install --force-reinstall --no-deps {package}"
        )
    return content
