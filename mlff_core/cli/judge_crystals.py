"""The set ``crystals`` of ``mlff judge``: lattice, elasticity, defects and phonons beside experiment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlff_core.judging.crystals.properties import CrystalReport

if TYPE_CHECKING:
    from mlff_core.potentials.interface import Potential

CRYSTALS = "crystals"
"""Name of the set."""


def judged(potentials: Sequence[Potential]) -> list[list[CrystalReport]]:
    """Return the crystals of each potential that knows at least one of their elements."""
    from mlff_core.cli.progress import bar
    from mlff_core.errors import InputError
    from mlff_core.judging.crystals.experiment import ELEMENTS
    from mlff_core.judging.crystals.properties import STEPS, judge_crystals, known

    common = known(potentials[0], list(ELEMENTS.values()))
    for one in potentials[1:]:
        common = known(one, common)
    if not common:
        names = " and ".join(one.card.name for one in potentials)
        raise InputError(f"there is no crystal that {names} can do together; the set has {', '.join(ELEMENTS)}")
    found = []
    for potential in potentials:
        steps = STEPS * len(common)
        with bar(f"{potential.card.name} on crystals", steps) as advance:
            done = 0

            def step(_: str) -> None:
                nonlocal done
                advance(done)
                done += 1

            found.append(judge_crystals(potential, common, step))
    return found


def tables(reports: Sequence[Sequence[CrystalReport]]) -> None:
    """Print a table for each crystal, and how far each potential is from the last one."""
    from mlff_core.cli.judging_tables import new_table, stdout_console
    from mlff_core.judging.crystals.experiment import element
    from mlff_core.judging.crystals.properties import PROPERTIES
    from mlff_core.judging.crystals.report import deviations
    from mlff_core.judging.definitions import number

    console = stdout_console()
    names = [rows[0].model for rows in reports]
    for k, first in enumerate(reports[0]):
        measured = element(first.symbol).measured
        table = new_table(f"{first.symbol} {element(first.symbol).prototype}", "", *names, "experiment", "unit")
        for key, (label, unit) in PROPERTIES.items():
            values = [rows[k].values.get(key) for rows in reports]
            if any(value is not None for value in values):
                table.add_row(label, *(number(value) for value in values), number(measured.get(key)), unit)
        console.print(table)
    for rows in reports:
        for one in rows:
            for what, why in one.skipped.items():
                console.print(
                    f"{one.model}, {one.symbol}: no {what}: {why}", style="red", highlight=False, markup=False
                )
    if len(reports) > 1:
        table = new_table(
            f"relative deviations from {names[-1]}", "", *(f"{name}" for name in names[:-1]), "largest at"
        )
        told = [deviations(rows, reports[-1]) for rows in reports[:-1]]
        for group in dict.fromkeys(one.group for row in told for one in row):
            own = [next((one for one in row if one.group == group), None) for row in told]
            cells = ["–" if one is None else f"{one.mean:.1%} (to {one.largest:.1%})" for one in own]
            table.add_row(group, *cells, next((one.where for one in own if one is not None), ""))
        console.print(table)
