import pytest

from mlff_core.errors import InputError, first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("no cell\ngive one"), "no cell"),
        (RuntimeError("\n  bad bytes \nat 7"), "bad bytes "),
        (StopIteration(), "StopIteration"),
        (KeyError("card"), "it lacks 'card'"),
    ],
)
def test_the_first_line_of_an_error_names_its_cause(error, line):
    assert first_line(error) == line
