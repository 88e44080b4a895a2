"""Check of an ONNX file for data in other files, without the package ``onnx``, before ONNX Runtime opens it.

The fields are those of ``onnx.proto``: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mlff_core.errors import InputError

EXTERNAL = 1
"""``TensorProto.data_location`` of a tensor whose data lie in another file."""
MOST_NESTED = 50
"""Largest depth of graphs within graphs; an export of this project has one graph."""


@dataclass
class _Message:
    """A type of message, with its fields that are messages and may contain tensors."""

    inside: dict[int, _Message] = field(default_factory=dict)


_TENSOR, _SPARSE, _ATTRIBUTE, _NODE, _GRAPH = _Message(), _Message(), _Message(), _Message(), _Message()
_SPARSE.inside = {1: _TENSOR, 2: _TENSOR}
_ATTRIBUTE.inside = {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE}
_NODE.inside = {5: _ATTRIBUTE}
_GRAPH.inside = {1: _NODE, 5: _TENSOR, 15: _SPARSE}
_MODEL = _Message({7: _GRAPH, 20: _Message({1: _GRAPH, 2: _GRAPH}), 25: _Message({7: _NODE, 11: _ATTRIBUTE})})
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14


def check_self_contained(content: bytes) -> None:
    """Refuse an ONNX file that takes data from other files.

    Parameters
    ----------
    content
        The file's bytes.

    Raises
    ------
    InputError
        A tensor lies in another file, or the bytes are not an ONNX file.
    """
    _check_message(memoryview(content), _MODEL, 0)


def _check_message(content: memoryview, kind: _Message, depth: int) -> None:
    if depth > 4 * MOST_NESTED:
        raise InputError("its graphs are nested too deeply")
    for number, value in _fields(content):
        if kind is _TENSOR and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value == EXTERNAL)):
            raise InputError("it takes numbers from another file, and an export of this project is one file")
        inner: Mapping[int, _Message] = kind.inside
        if number in inner and isinstance(value, memoryview):
            _check_message(value, inner[number], depth + 1)


def _fields(content: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number and value of each field of a message in protobuf's encoding."""
    at, end = 0, len(content)
    while at < end:
        key, at = _varint(content, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(content, at)
            yield number, value
            continue
        if wire == 2:
            length, at = _varint(content, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise InputError("it is no ONNX file, or damaged")
        if at + length > end:
            raise InputError("it is cut short")
        yield number, content[at : at + length]
        at += length


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(content) and shift < 70:
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise InputError("it is no ONNX file, or damaged")
