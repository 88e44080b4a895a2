"""Settings: frozen dataclasses read from TOML, changed by ``key=value``, and written back as TOML.

A table of the file is a nested dataclass. TOML is data only. The error for an unknown key names the nearest known one,
and the error for a value of the wrong type names what is allowed.
"""

from __future__ import annotations

import difflib
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from mlff_core.atomic_write import write_atomically
from mlff_core.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")
LARGEST = 1e30
"""Largest allowed number: beyond it float32 overflows, and weights and losses become NaN."""

LONGEST_SHOWN = 200
"""Largest number of characters of a wrong value in a message."""

_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path (a text)"}


def load_config(cls: type[T], path: str | Path, overrides: Sequence[str] = ()) -> T:
    """Return the settings of a TOML file, with ``key=value`` overrides on top.

    Parameters
    ----------
    cls
        A dataclass; its fields are the keys, its nested dataclasses the tables.
    path
        The TOML file.
    overrides
        Each one is ``"table.key=value"``; the value is read as TOML, or as text where it is not valid TOML.

    Raises
    ------
    InputError
        The file is missing or is not TOML, a key is unknown or missing, or a value has the wrong type or is out of
        range.
    """
    return from_dict(cls, apply_overrides(read_toml(path), overrides))


def read_toml(path: str | Path) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises
    ------
    InputError
        The file is missing, unreadable, or not TOML.
    """
    path = Path(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"there is no config file {path}; give the path of a TOML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the config file {path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"the config file {path} is not valid TOML: {error}") from error
    except RecursionError:
        raise InputError(f"the config file {path} is nested too deeply to be read; give a flatter one") from None


def apply_overrides(plain: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return ``plain`` with each ``"table.key=value"`` set.

    Raises
    ------
    InputError
        An override has no ``=``, or leads through a key that is not a table.

    Examples
    --------
    >>> apply_overrides({"schedule": {"kind": "cosine"}}, ["schedule.warmup_steps=50", "name=first"])
    {'schedule': {'kind': 'cosine', 'warmup_steps': 50}, 'name': 'first'}
    """
    result = _copy(plain)
    for override in overrides:
        key, equals, text = override.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            raise InputError(f"an override must look like table.key=value, got {override!r}")
        table = result
        for k, part in enumerate(parts[:-1]):
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise InputError(f"{override!r} cannot be set: {'.'.join(parts[: k + 1])} is a value, not a table")
        table[parts[-1]] = _parse_value(text.strip())
    return result


def from_dict(cls: type[T], plain: Mapping[str, Any], where: str = "") -> T:
    """Return the dataclass ``cls`` made from plain values.

    Parameters
    ----------
    cls
        A dataclass. Fields may be bool, int, float, str, Path, Literal, ``X | None``, ``tuple[X, ...]``,
        ``dict[str, X]``, Any, or other dataclasses.
    plain
        Content of a TOML table.
    where
        Dotted name of the table, for messages.

    Raises
    ------
    InputError
        A key is unknown or missing, a value has the wrong type, or the dataclass refuses it.
    """
    hints = get_type_hints(cls)
    known = [field for field in fields(cls) if field.init]  # type: ignore[arg-type]
    names = [field.name for field in known]
    prefix = f"{where}." if where else ""
    for key in plain:
        if key not in names:
            close = difflib.get_close_matches(key, names, n=1, cutoff=0.0)
            raise InputError(
                f"unknown config key {prefix}{key}; did you mean {prefix}{close[0]}? known are {', '.join(names)}"
                if close
                else f"unknown config key {prefix}{key}: the table [{where}] takes none"
            )
    for field in known:
        if field.name not in plain and field.default is MISSING and field.default_factory is MISSING:
            raise InputError(f"config key {prefix}{field.name} is missing; it must be {_allowed(hints[field.name])}")
    values = {key: _convert(hints[key], value, f"{prefix}{key}") for key, value in plain.items()}
    try:
        return cls(**values)
    except InputError as error:
        raise InputError(f"in the config, {f'[{where}] ' if where else ''}{error}") from error


def to_dict(config: Any) -> dict[str, Any]:
    """Return plain values of a dataclass, ready for TOML or JSON: unset (None) keys are left out, tuples are lists."""
    plain = {}
    for field in fields(config):
        value = getattr(config, field.name)
        if value is not None:
            plain[field.name] = _plain(value)
    return plain


def to_toml(config: Any) -> str:
    """Return a dataclass as the text of a TOML file that :func:`load_config` reads back."""
    import tomli_w

    return tomli_w.dumps(to_dict(config))


def save_config(path: str | Path, config: Any) -> Path:
    """Write a dataclass as TOML by rename, and return the path."""
    path = Path(path)
    write_atomically(path, to_toml(config).encode())
    return path


def _copy(plain: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in plain.items()}


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _convert(hint: Any, value: Any, key: str) -> Any:
    """Return ``value`` as the type ``hint`` asks for."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        errors = []
        for option in arguments:
            if option is type(None):
                continue
            try:
                return _convert(option, value, key)
            except InputError as error:
                errors.append(error)
        raise errors[0] if len(errors) == 1 else _wrong(hint, value, key)
    if is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, Mapping):
            return from_dict(hint, value, key)
    elif origin is Literal:
        if value in arguments and type(value) in {type(argument) for argument in arguments}:
            return value
    elif origin is tuple and isinstance(value, (list, tuple)):
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_convert(arguments[0], item, f"{key}[{k}]") for k, item in enumerate(value))
        if len(arguments) == len(value):
            return tuple(_convert(option, item, key) for option, item in zip(arguments, value, strict=True))
    elif origin in (dict, Mapping) and isinstance(value, Mapping):
        return {str(name): _convert(arguments[1], item, f"{key}.{name}") for name, item in value.items()}
    elif hint is int and type(value) is int:
        if not -(2**63) <= value < 2**63:
            raise _out_of_range(value, key, "a whole number of 64 bits")
        return value
    elif hint is Any or (hint in (str, bool) and type(value) is hint):
        return value
    elif hint is float and type(value) in (int, float):
        if not abs(value) <= LARGEST:  # also false for NaN
            raise _out_of_range(value, key, f"a finite number, {LARGEST:g} at most")
        return float(value)
    elif hint is Path and isinstance(value, (str, Path)) and "\0" not in str(value):
        return Path(value)
    raise _wrong(hint, value, key)


def _wrong(hint: Any, value: Any, key: str) -> InputError:
    return _out_of_range(value, key, _allowed(hint))


def _out_of_range(value: Any, key: str, wanted: str) -> InputError:
    text = repr(value)
    shown = text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]} …"
    return InputError(f"config key {key} must be {wanted}, got {shown}")


def _allowed(hint: Any) -> str:
    """Return a description of the values that a type allows."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_allowed(option) for option in arguments if option is not type(None))
    if origin is Literal:
        return "one of " + ", ".join(repr(argument) for argument in arguments)
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return f"a list, each {_allowed(arguments[0])}"
        return f"a list of {len(arguments)}, each {_allowed(arguments[0])}"
    if is_dataclass(hint) or origin in (dict, Mapping):
        return "a table"
    return _NAMES.get(hint, "any value")
