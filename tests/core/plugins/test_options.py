import numpy as np
import pytest

from mlff_core.errors import InputError
from mlff_core.plugins.options import check_names, read_options


def read(**given):
    return read_options("engine pairs", given, batch=None, skin=1.0, units="metal", n=3, fast=False)


def test_what_is_not_given_has_its_default():
    assert read_options("engine pairs", None, batch=None, skin=1.0) == {"batch": None, "skin": 1.0}
    assert read(units="real") == {"batch": None, "skin": 1.0, "units": "real", "n": 3, "fast": False}


def test_numbers_of_python_and_numpy_are_numbers():
    given = read(skin=np.float32(0.5), n=np.int64(4))
    assert (given["skin"], type(given["skin"]), given["n"], type(given["n"])) == (0.5, float, 4, int)
    assert read(skin=2)["skin"] == 2.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"skin": "wide"}, "option skin of engine pairs must be a number, got 'wide'"),
        ({"skin": True}, "option skin of engine pairs must be a number, got True"),
        ({"n": 2.5}, "option n of engine pairs must be a whole number, got 2.5"),
        ({"units": 1}, "option units of engine pairs must be a text, got 1"),
        ({"fast": "false"}, "option fast of engine pairs must be true or false, got 'false'"),
        ({"skn": 1.0}, "engine pairs has no option 'skn'; did you mean 'skin'?"),
        ({"colour": 1}, "engine pairs has no option 'colour'. It has: batch, fast, n, skin, units"),
    ],
)
def test_a_wrong_option_is_refused_by_name(given, message):
    with pytest.raises(InputError) as raised:
        read(**given)
    assert str(raised.value).startswith(message)


def test_a_plugin_without_options_takes_none():
    check_names("exporter pairs", {}, ())
    with pytest.raises(InputError, match=r"^exporter pairs takes no options, got 'level'$"):
        check_names("exporter pairs", {"level": 1}, ())
