"""``mlff judge``: compare models with reference energies of a level above any teacher."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlff_core.cli.options import device_option

if TYPE_CHECKING:
    from mlff_core.judging.references.compare import Comparison


@click.command()
@click.argument("models", metavar="[MODEL]...", nargs=-1)
@click.option("--teacher", "teachers", multiple=True, metavar="NAME", help="Judge a teacher beside the models.")
@click.option(
    "--set",
    "sets",
    multiple=True,
    metavar="FILE",
    help="A reference set: an extended xyz file; or conformers, which is shipped and the default; or crystals.",
)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Write judge.json and plots here.")
@device_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def command(
    models: tuple[str, ...],
    teachers: tuple[str, ...],
    sets: tuple[str, ...],
    out: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Compare models with reference energies of a higher level.

    A set holds complexes with interaction energies, or conformers of molecules with relative energies, all in kcal/mol;
    docs/judges.md has the format and where public sets come from. Each MODEL is a name or a file.

    The set crystals needs no file: lattice, elastic constants, vacancies, surfaces and phonons of elements, beside
    experiment and the last of the models and teachers.

    \b
    Examples:
      mlff judge organic-tiny organic-original
      mlff judge organic-tiny --teacher gfn2-xtb --set NCIA_HB375x10.extxyz.gz
      mlff judge metals.pt --teacher sevennet --set crystals
    """  # noqa: D301
    from mlff_core import load
    from mlff_core.atomic_write import make_folder, write_atomically
    from mlff_core.cli.judge_crystals import CRYSTALS, judged, tables
    from mlff_core.cli.progress import bar
    from mlff_core.errors import InputError
    from mlff_core.judging.references.compare import compare
    from mlff_core.judging.references.sets import CONFORMERS, read_set
    from mlff_core.plugins.host import teacher

    if not models and not teachers:
        raise InputError("nothing to judge: give a MODEL (mlff models list) or --teacher NAME (mlff teachers list)")
    if out is not None:
        from mlff_core.judging.report.plots import require_plots

        require_plots()
        make_folder(out)
    references = [read_set(path) for path in sets or (CONFORMERS,) if path != CRYSTALS]
    potentials = [load(model, device=device) for model in models]
    potentials += [teacher(name).load({}) for name in teachers]
    found: list[list[Comparison]] = []
    for reference in references:
        rows = []
        for potential in potentials:
            total = len(reference.complexes) + len(reference.conformers)
            with bar(f"{potential.card.name} on {reference.name}", total) as advance:
                rows.append(compare(potential, reference, advance))
        found.append(rows)
    content: dict[str, object] = {"comparisons": [one.to_json() for rows in found for one in rows]}
    crystals = judged(potentials) if CRYSTALS in sets else []
    if crystals:
        from mlff_core.judging.crystals.report import to_json

        content["crystals"] = to_json(crystals)
    if out is not None:
        from mlff_core.judging.references.plots import plot
        from mlff_core.judging.report.plots import png

        write_atomically(out / "judge.json", (json.dumps(content, indent=2) + "\n").encode())
        for rows in found:
            write_atomically(out / f"{rows[0].set_name}.png", png(plot(rows)))
        click.echo(f"judge.json and {len(found)} plots in {out}", err=True)
    if as_json:
        click.echo(json.dumps(content, indent=2))
        return
    for rows in found:
        _print(rows)
    if crystals:
        tables(crystals)


def _print(rows: list[Comparison]) -> None:
    from mlff_core.cli.judging_tables import new_table, stdout_console
    from mlff_core.judging.definitions import number
    from mlff_core.judging.references.compare import alike

    table = new_table(f"{rows[0].set_name}, kcal/mol", "metric", *(one.model for one in rows))
    for name in rows[0].metrics:
        values = [one.metrics.get(name) for one in rows]
        table.add_row(name, *(str(value) if isinstance(value, int) else number(value) for value in values))
    console = stdout_console()
    console.print(table)
    for one in rows:
        for reason, count in alike(one.skipped).items():
            console.print(f"{one.model}: {count} left out: {reason}", style="red", highlight=False, markup=False)
