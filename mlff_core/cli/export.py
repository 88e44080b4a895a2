"""``mlff export``: write a model in another format, read it back, compare."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from mlff_core.cli.json_text import json_text
from mlff_core.cli.options import dtype_option, keyed


@click.command()
@click.argument("model")
@click.option("--format", "format_name", required=True, help="Name of an exporter; `mlff plugins list` shows them.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="File to write.")
@click.option("--structure", help="Structure file with the atoms, for formats that store them (openmm).")
@dtype_option
@click.option(
    "--option",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set an option of the exporter; may be given several times.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    model: str,
    format_name: str,
    output: Path,
    structure: str | None,
    dtype: str,
    pairs: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write a model in another format, read it back and compare.

    \b
    Examples:
      mlff export organic-tiny --format onnx -o model.onnx
      mlff export organic-tiny --format openmm -o model.pt --structure water.pdb
    """  # noqa: D301
    from mlff_core import load
    from mlff_core.plugins import host as plugins

    exporter = plugins.exporter(format_name)
    exporter.ensure_installed()
    options = keyed("--option", pairs)
    if structure is not None:
        options["structure"] = structure
    potential = load(model, device="cpu", dtype=dtype, kernel="reference", guard="off")
    report = exporter.export(potential, output, options)
    costs = {}
    if exporter.has_operator:
        from mlff_core.export.step_cost import cost_line, step_costs

        costs = step_costs(potential)
    if as_json:
        content = {**asdict(report), "path": str(report.path)}
        click.echo(json_text({**content, "step_cost": costs} if costs else content))
        return
    click.echo(f"{report.path} ({report.format}, {report.size_bytes / 1e6:.2f} MB), read back and compared:")
    click.echo(f"  energy differs by at most {report.delta_energy:.1e} eV/atom")
    click.echo(f"  forces differ by at most {report.delta_forces:.1e} eV/Å")
    if report.delta_stress is not None:
        click.echo(f"  stress differs by at most {report.delta_stress:.1e} eV/Å³")
    for key, value in report.details.items():
        click.echo(f"  {key}: {value}")
    if costs:
        click.echo(f"  {cost_line(costs)}")
