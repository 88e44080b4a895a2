"""Options that several commands take, and the reading of KEY=VALUE."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mlff_core.errors import InputError

Command = Callable[..., Any]

device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 …")
dtype_option = click.option("--dtype", default="float32", show_default=True, help="float32 or float64.")
guard_option = click.option(
    "--guard",
    type=click.Choice(["auto", "warn", "stop", "off"]),
    default="auto",
    show_default=True,
    help="What happens at structures unlike the training data; auto: MLFF_GUARD, or warn.",
)
split_option = click.option(
    "--split", type=click.Choice(["train", "validation", "test"]), help="Judge on this split only."
)


def report_option(what: str) -> Callable[[Command], Command]:
    """Return ``--out`` of a command that judges, which writes ``what`` into a folder."""
    return click.option(
        "--out", type=click.Path(path_type=Path, file_okay=False), help=f"Write {what} into this folder."
    )


def keyed(option: str, pairs: tuple[str, ...]) -> dict[str, Any]:
    """Return KEY=VALUE pairs as a dict; a value is JSON, or a text where it is not.

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
            raise InputError(f"{option} wants KEY=VALUE, got {pair!r}")
        try:
            found[key] = json.loads(value)
        except json.JSONDecodeError:
            found[key] = value
    return found
