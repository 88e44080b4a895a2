"""``mlff benchmark``: how long whole MD steps take."""

from __future__ import annotations

import json
from dataclasses import asdict

import click


@click.command()
@click.argument("model")
@click.option("--systems", default="", help="Names, comma-separated: ethanol-9, hexanol-21x32, water-504 …")
@click.option("--repeats", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the machine and versions.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 …")
@click.option("--dtype", default="float32", show_default=True, help="float32 or float64.")
def command(model: str, systems: str, repeats: int, as_json: bool, device: str, dtype: str) -> None:
    """Time whole MD steps of a model.

    MODEL is a name (mlff models list) or a path. Atoms move at every step, and the search for neighbours is in the
    time; the figures are medians over repeats.
    """
    from rich.console import Console
    from rich.table import Table

    from mlff_core import load
    from mlff_core.benchmark import Timing, machine, selected, time_steps
    from mlff_core.checkpoint import file_sha256
    from mlff_core.cli.progress import bar
    from mlff_core.registry import resolve

    names = selected(systems.split(","))
    potential = load(model, device=device, dtype=dtype)
    timings: list[Timing] = []
    with bar("benchmark", len(names)) as advance:
        for name in names:
            timings.append(time_steps(potential, name, n_repeats=repeats))
            advance(len(timings))
    if as_json:
        content = {
            "model": potential.card.name,
            "model_sha256": file_sha256(resolve(model)),
            "n_parameters": potential.card.n_parameters,
            "dtype": dtype,
            "machine": machine(potential.device),
            "timings": [asdict(timing) for timing in timings],
        }
        click.echo(json.dumps(content, indent=2, ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("system")
    for heading in ("atoms", "ms/step", "fastest", "slowest", "atoms/s", "ns/day"):
        table.add_column(heading, justify="right")
    for timing in timings:
        if timing.ms_per_step is None:
            table.add_row(timing.system, str(timing.n_atoms), "–")
            click.echo(f"{timing.system}: {timing.message}", err=True)
            continue
        figures = (timing.ms_per_step, timing.ms_per_step_min, timing.ms_per_step_max)
        rate = (timing.atoms_per_s, timing.ns_per_day)
        table.add_row(timing.system, str(timing.n_atoms), *(f"{x:.3f}" for x in figures), *(f"{x:.3g}" for x in rate))
    Console().print(table)
    click.echo(f"velocity Verlet, 0.5 fs, {potential.device}, {dtype}, medians of {repeats} repeats", err=True)
