"""``mlff parity``: the certificate that every engine gives the same numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlff_core.cli.json_text import json_text
from mlff_core.cli.options import dtype_option

if TYPE_CHECKING:
    from rich.table import Table

    from mlff_core.export.parity_report import ParityRow


@click.command()
@click.argument("model")
@click.option(
    "--engine", "engines", multiple=True, help="Compare only this engine or runtime; may be given several times."
)
@dtype_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the JSON to this file.")
@click.pass_context
def command(
    context: click.Context, model: str, engines: tuple[str, ...], dtype: str, as_json: bool, out: Path | None
) -> None:
    """Check that every engine gives the same numbers.

    Energies within 2e-5 eV/atom, forces within 2e-5 of the largest one (at least 1 eV/Å), stresses within 2e-6 eV/Å³,
    charges of atoms within 2e-5 of the largest one (at least 1 e); 1e-8 of each with --dtype float64.

    \b
    Examples:
      mlff parity organic-tiny
      mlff parity organic-tiny --engine ase --engine onnx --out parity.json
    """  # noqa: D301
    from rich.console import Console

    from mlff_core import load
    from mlff_core.atomic_write import make_folder, write_atomically
    from mlff_core.export.parity import certify
    from mlff_core.models.checkpoint import file_sha256
    from mlff_core.models.registry import resolve
    from mlff_core.plugins.host import host

    messages = Console(stderr=True, highlight=False)

    def tell(row: ParityRow) -> None:
        if messages.is_terminal:
            messages.print(f"{row.engine}: {row.case}: {row.status}", markup=False)

    if out is not None:
        make_folder(out.parent)  # an error here comes before minutes of work
    # In float64 all agree to 1e-8 with the network itself; tables of filters are less exact.
    kernel = "reference" if dtype == "float64" else "auto"
    potential = load(model, device="cpu", dtype=dtype, kernel=kernel, guard="off")
    report = certify(potential, host(), sha256=file_sha256(resolve(model)), only=engines, on_row=tell)
    text = json_text(report.to_json(), indent=2, with_nulls=True)
    if out is not None:
        write_atomically(out, f"{text}\n".encode())
    if as_json:
        click.echo(text)
    else:
        exact = [row for row in report.rows if row.engine not in report.reduced]
        reduced = [row for row in report.rows if row.engine in report.reduced]
        if exact:
            Console().print(_table(exact))
        if reduced:
            click.echo("\nVariants with reduced accuracy, each with its own tolerance:")
            Console().print(_table(reduced))
        for row in report.rows:
            if row.status == "missing":
                # The whole message: the table folds it.
                click.echo(f"{row.engine}: {row.message}", err=True)
        click.echo(f"{report.model} {report.sha256[:12]}: {'every row agrees' if report.ok else 'NOT in agreement'}")
    if not report.ok:
        context.exit(1)


def _table(rows: Sequence[ParityRow]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("engine", "case", "status"):
        table.add_column(heading)
    has_charges = any(row.delta_charges is not None for row in rows)
    for heading in ("ΔE meV/atom", "ΔF eV/Å", "Δstress eV/Å³", *(["Δcharge e"] if has_charges else []), "ms"):
        table.add_column(heading, justify="right")
    table.add_column("message", overflow="fold")
    for row in rows:
        numbers = [row.delta_energy_mev_per_atom, row.delta_forces, row.delta_stress]
        if has_charges:
            numbers.append(row.delta_charges)
        table.add_row(
            row.engine,
            row.case,
            row.status,
            *("" if number is None else f"{number:.1e}" for number in numbers),
            "" if row.ms is None else f"{row.ms:.2f}",
            # Not as markup, which would remove the extra in brackets from an install command.
            Text(row.message),
        )
    return table
