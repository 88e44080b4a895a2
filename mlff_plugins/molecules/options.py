"""Options of the commands that need a minimum to high accuracy."""

from __future__ import annotations

import click

from mlff_core.cli.options import COUNT, POSITIVE, Command, device_option, guard_option


def minimum_options(function: Command) -> Command:
    """Add ``--fmax`` and ``--max-steps`` of the relaxation to a command."""
    fmax = click.option(
        "--fmax", type=POSITIVE, default=0.001, show_default=True, help="Largest force at the minimum, eV/Å."
    )
    max_steps = click.option(
        "--max-steps", type=COUNT, default=2000, show_default=True, help="Most steps of the relaxation."
    )
    return fmax(max_steps(function))


def precise_loading_options(function: Command) -> Command:
    """Add ``--device``, ``--dtype`` (float64 unless another is given) and ``--guard`` to a command."""
    dtype = click.option("--dtype", default="float64", show_default=True, help="Precision: float32 or float64.")
    return device_option(dtype(guard_option(function)))
