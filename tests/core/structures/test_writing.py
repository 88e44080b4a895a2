"""Structures written to files."""

import pytest

from mlff_core.errors import InputError
from mlff_core.structures.writing import write_structures
from mlff_core.testing.structures import ethanol


def test_an_unknown_ending_is_refused_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "out.nonsense"
    path.write_text("precious")
    with pytest.raises(InputError, match="cannot be written"):
        write_structures(path, [ethanol()])
    assert path.read_text() == "precious"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.nonsense"]
