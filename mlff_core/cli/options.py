"""Options shared by several commands, and the reading of KEY=VALUE."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mlff_core.errors import InputError

Command = Callable[..., Any]


class Number(click.FloatRange):
    """A finite number in a range; click's own range accepts NaN and, if one end is open, infinity.

    A value outside is refused by our own error with status 1, as in settings.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number."""
        number = click.FLOAT.convert(value, param, ctx)
        if self.min is None and self.max is None:
            _require(math.isfinite(number), "finite", number, param)
        elif self.max is None and self.min == 0:
            rule = "positive and finite" if self.min_open else "finite and not negative"
            holds = number > 0 if self.min_open else number >= 0
            _require(holds and math.isfinite(number), rule, number, param)
        else:
            _require(_is_within(number, self), f"in the range {self._describe_range()}", number, param)
        return number


class Whole(click.IntRange):
    """A whole number in a range; see :class:`Number`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number."""
        number = click.INT.convert(value, param, ctx)
        _require(_is_within(number, self), f"in the range {self._describe_range()}", number, param)
        return number


def _is_within(number: float, kind: click.FloatRange | click.IntRange) -> bool:
    return (kind.min is None or number >= kind.min) and (kind.max is None or number <= kind.max)


def _require(holds: bool, rule: str, number: float, param: click.Parameter | None) -> None:
    if not holds:
        name = param.opts[0] if param is not None else "a value"
        raise InputError(f"{name} must be {rule}, got {number}")


NUMBER = Number()
POSITIVE = Number(min=0, min_open=True)
NOT_NEGATIVE = Number(min=0)
COUNT = Whole(1, 2**63 - 1)
SEED = Whole(0, 2**63 - 1)

device_option = click.option("--device", default="auto", show_default=True, help="Device: auto, cpu, cuda, cuda:1 …")
dtype_option = click.option("--dtype", default="float32", show_default=True, help="Precision: float32 or float64.")
topology_option = click.option(
    "--topology",
    type=click.Path(path_type=Path),
    help="Structure file of the atoms, if FILE is a trajectory of coordinates only (.dcd, .xtc, .trr).",
)
teacher_option = click.option(
    "--teacher-option",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set an option of the teacher; may be given several times.",
)
split_option = click.option("--split", type=click.Choice(["train", "validation", "test"]), help="Use this split only.")
guard_option = click.option(
    "--guard",
    type=click.Choice(["auto", "warn", "stop", "off"]),
    default="auto",
    show_default=True,
    help="What to do at structures unlike the training data; auto: MLFF_GUARD, or warn.",
)


def loading_options(function: Command) -> Command:
    """Add ``--device``, ``--dtype`` and ``--guard`` to a command, which gets them as arguments of the same names."""
    return device_option(dtype_option(guard_option(function)))


def report_option(what: str) -> Callable[[Command], Command]:
    """Return the option ``--out`` of a judging command, which writes ``what`` into a folder."""
    return click.option(
        "--out", type=click.Path(path_type=Path, file_okay=False), help=f"Write {what} into this folder."
    )


def keyed(option: str, pairs: tuple[str, ...]) -> dict[str, Any]:
    """Return KEY=VALUE pairs as a dict; a value is read as JSON, or as a string if it is not valid JSON.

    Raises
    ------
    InputError
        A pair of ``option`` is not KEY=VALUE.

    Examples
    --------
    >>> keyed("--option", ("skin=0.5", "weights=int8"))
    {'skin': 0.5, 'weights': 'int8'}
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise InputError(f"{option} needs KEY=VALUE, got {pair!r}")
        try:
            found[key] = json.loads(value)
        except json.JSONDecodeError:
            found[key] = value
    return found
