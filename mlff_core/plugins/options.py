"""Reading and checking of options for engines, exporters and teachers."""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Collection, Mapping
from typing import Any

from mlff_core.errors import InputError

_KINDS: dict[type, tuple[type, str]] = {
    bool: (bool, "true or false"),
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    str: (str, "a text"),
}
"""The values accepted for each type of default; NumPy's numbers count as numbers."""


def read_options(owner: str, given: Mapping[str, Any] | None, **defaults: Any) -> dict[str, Any]:
    """Return every option of a plugin with the given or the default value.

    Parameters
    ----------
    owner
        Name of the plugin for messages: ``"engine ase"``.
    given
        Names and values of the options given; None for none.
    defaults
        Name and default of each option. A value must be of the same kind as a default that is a bool, a number or a
        string (a whole number is accepted for a float); where the default is None, the plugin checks the value.

    Raises
    ------
    InputError
        An unknown option (the message names the nearest known one), or a value of another kind than the default.

    Examples
    --------
    >>> read_options("engine ase", {"skin": 2}, batch=None, skin=1.0)
    {'batch': None, 'skin': 2.0}
    """
    given = dict(given or {})
    check_names(owner, given, defaults)
    return {name: _value(owner, name, given.get(name, default), default) for name, default in defaults.items()}


def check_names(owner: str, given: Collection[str], known: Collection[str]) -> None:
    """Refuse an unknown option.

    Raises
    ------
    InputError
        The option is unknown; the message names it, the nearest known one, and all known ones.
    """
    for name in given:
        if name in known:
            continue
        if not known:
            raise InputError(f"{owner} takes no options, got {name!r}")
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise InputError(f"{owner} has no option {name!r}{hint} It has: {', '.join(sorted(known))}")


def _value(owner: str, name: str, value: Any, default: Any) -> Any:
    for kind, (wanted, described) in _KINDS.items():
        if type(default) is not kind:
            continue
        # A bool is an int to isinstance.
        if not isinstance(value, wanted) or (isinstance(value, bool) and kind is not bool):
            raise InputError(f"option {name} of {owner} must be {described}, got {value!r}")
        return kind(value)
    return value
