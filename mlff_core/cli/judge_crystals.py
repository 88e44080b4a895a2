"""The set ``crystals`` of ``mlff judge``: lattice, elasticity, defects and phonons beside experiment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import TYPE_CHECKING

from mlff_core.judging.crystals.properties import CrystalReport

if TYPE_CHECKING:
    from mlff_core.potentials.interface import Potential

CRYSTALS = "crystals"
"""Name of the set."""


def judged(potentials: Sequence[Potential]) -> list[list[CrystalReport]]:
    """Return, for each potential, the crystals whose elements all potentials know."""
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
        with bar(f"{potential.card.name} on crystals", STEPS * len(common)) as advance:
            found.append(judge_crystals(potential, common, _counted(advance)))
    return found


def _counted(advance: Callable[[int], None]) -> Callable[[str], None]:
    """Return a function to call at the beginning of each step, which passes on the number of finished ones."""
    done = count()
    return lambda _: advance(next(done))


def property_rows(reports: Sequence[CrystalReport]) -> Iterator[tuple[str, ...]]:
    """Yield label, value of each report, experiment and unit of each property that at least one report has.

    Parameters
    ----------
    reports
        Of one crystal.
    """
    from mlff_core.judging.crystals.experiment import element
    from mlff_core.judging.crystals.properties import PROPERTIES
    from mlff_core.judging.definitions import number

    measured = element(reports[0].symbol).measured
    for key, (label, unit) in PROPERTIES.items():
        values = [one.values.get(key) for one in reports]
        if any(value is not None for value in values):
            yield (label, *(number(value) for value in values), number(measured.get(key)), unit)


def tables(reports: Sequence[Sequence[CrystalReport]]) -> None:
    """Print a table for each crystal, and how far each potential is from the last one."""
    from mlff_core.cli.judging_tables import new_table, stdout_console
    from mlff_core.judging.crystals.experiment import element
    from mlff_core.judging.crystals.report import deviations

    console = stdout_console()
    names = [rows[0].model for rows in reports]
    for k, first in enumerate(reports[0]):
        table = new_table(f"{first.symbol} {element(first.symbol).prototype}", "", *names, "experiment", "unit")
        for row in property_rows([rows[k] for rows in reports]):
            table.add_row(*row)
        console.print(table)
    for rows in reports:
        for one in rows:
            for what, why in one.skipped.items():
                console.print(
                    f"{one.model}, {one.symbol}: no {what}: {why}", style="red", highlight=False, markup=False
                )
    if len(reports) > 1:
        table = new_table(f"relative deviations from {names[-1]}", "", *names[:-1], "largest at")
        by_model = [{one.group: one for one in deviations(rows, reports[-1])} for rows in reports[:-1]]
        for group in dict.fromkeys(group for found in by_model for group in found):
            own = [found.get(group) for found in by_model]
            cells = ["–" if one is None else f"{one.mean:.1%} (to {one.largest:.1%})" for one in own]
            table.add_row(group, *cells, next((one.where for one in own if one is not None), ""))
        console.print(table)
