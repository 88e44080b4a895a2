"""A digest at the end of an exported file, in a place that the format allows and other programs ignore.

The last 64 bytes of a sealed file are the SHA-256, in hexadecimal digits, of all bytes before them. In an archive they
are the end of its comment, in an ONNX file the end of the value of its last metadata entry.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from mlff_core.errors import CheckpointError

MARK = b"mlff-sha256"
"""Mark before the digits; a few bytes of the format may lie in between."""
DIGITS = 64
ARCHIVE = b"PK\x03\x04"
"""First bytes of a zip archive, such as a TorchScript file."""

_ENDING = re.compile(re.escape(MARK) + rb".{1,4}[0-9a-f]{64}\Z", re.DOTALL)
_END_OF_ARCHIVE = b"PK\x05\x06"
_END_SIZE = 22
"""Bytes of the record that ends an archive without a comment."""


def sealed(content: bytes) -> bytes:
    """Return a file's content with its digest appended; it must end with :data:`MARK` and what the format needs."""
    return content + hashlib.sha256(content).hexdigest().encode()


def seal_archive(path: Path) -> None:
    """Write the digest into the comment of an archive; another file, or an archive with a comment, stays as it is."""
    content = path.read_bytes()
    end = len(content) - _END_SIZE
    if not content.startswith(ARCHIVE) or content[end : end + 4] != _END_OF_ARCHIVE:
        return
    comment = MARK + b":"
    length = (len(comment) + DIGITS).to_bytes(2, "little")
    path.write_bytes(sealed(content[:-2] + length + comment))


def check_seal(path: Path, content: bytes) -> bool:
    """Return whether a file has a digest, after checking that it is right.

    Parameters
    ----------
    path
        Path of the file, for the message.
    content
        Content of the whole file.

    Raises
    ------
    CheckpointError
        The digest does not match the content.
    """
    if _ENDING.search(content[-2 * DIGITS :]) is None:
        return False
    if hashlib.sha256(content[:-DIGITS]).hexdigest().encode() != content[-DIGITS:]:
        raise CheckpointError(f"{path} is damaged: its content is not what was exported; get or export it again")
    return True
