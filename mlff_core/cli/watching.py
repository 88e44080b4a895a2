"""Options of commands that run dynamics and watch the uncertainty of the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from mlff_core.cli.options import POSITIVE

if TYPE_CHECKING:
    from mlff_core.potentials.interface import Potential


def watch_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--max-uncertainty`` and ``--on-uncertain`` to a command."""
    function = click.option(
        "--on-uncertain",
        type=click.Choice(["warn", "stop"]),
        default="warn",
        show_default=True,
        help="What to do above this limit.",
    )(function)
    return click.option(
        "--max-uncertainty",
        type=POSITIVE,
        help="Largest standard deviation of a force component, eV/Å; MODEL must be a committee (mlff committee).",
    )(function)


def watched(potential: Potential, max_uncertainty: float | None, on_uncertain: Any) -> Potential:
    """Return the potential, watched if a limit was given (eV/Å)."""
    if max_uncertainty is None:
        return potential
    from mlff_core.potentials.watched import WatchedPotential

    return WatchedPotential(potential, max_forces_std=max_uncertainty, on_uncertain=on_uncertain)


def tell_uncertain(potential: Potential) -> None:
    """Print on stderr how often a watched potential was above its limit."""
    from mlff_core.potentials.watched import WatchedPotential

    if isinstance(potential, WatchedPotential):
        click.echo(
            f"{potential.n_uncertain} of {potential.n_predictions} predictions were above the limit; "
            f"largest forces_std {potential.worst_forces_std:.3g} eV/Å",
            err=True,
        )
