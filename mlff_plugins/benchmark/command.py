"""``mlff benchmark``: the time of whole MD steps."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlff_core.cli.options import device_option, dtype_option

if TYPE_CHECKING:
    from mlff_plugins.benchmark.peers.comparison import Comparison, Row
    from mlff_plugins.benchmark.timing import Timing


@click.command()
@click.argument("model")
@click.option(
    "--systems", default="", help="Systems, comma-separated: ethanol-9, hexanol-21x32, water-504, 49, 32x49 …"
)
@click.option("--repeats", type=click.IntRange(1, 10_000), default=5, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON that includes machine and versions.")
@device_option
@dtype_option
@click.option("--peers", default="", help="Other programs to compare with, comma-separated: schnetpack, torchani …")
@click.option(
    "--peer-envs",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the peers' environments, made by benchmarks/peers/make_envs.py.",
)
@click.option("--no-memory", is_flag=True, help="With --peers: do not measure peak memory.")
def command(
    model: str,
    systems: str,
    repeats: int,
    as_json: bool,
    device: str,
    dtype: str,
    peers: str,
    peer_envs: Path | None,
    no_memory: bool,
) -> None:
    """Measure the time of whole MD steps of a model.

    MODEL is a name (mlff models list) or a path. Atoms move at every step, and the time includes the neighbour search;
    reported times are medians over repeats. With --peers all programs run alternately on the same moving atoms, each in
    its own process on one CPU thread, and the processor time is reported.

    \b
    Example:
      mlff benchmark organic-tiny --systems ethanol-9,water-504
    """  # noqa: D301
    names = [name.strip() for name in systems.split(",") if name.strip()]
    if peers:
        if device not in ("auto", "cpu"):
            raise click.UsageError("--peers compares on the CPU; leave --device out")
        if peer_envs is None:
            raise click.UsageError("--peers needs --peer-envs, the folder of their environments")
        chosen = [name.strip() for name in peers.split(",") if name.strip()]
        _compare(model, names, chosen, peer_envs, repeats=repeats, dtype=dtype, memory=not no_memory, as_json=as_json)
    else:
        _time(model, names, repeats=repeats, device=device, dtype=dtype, as_json=as_json)


def _about(model: str, dtype: str, device: str) -> dict[str, Any]:
    """Return the description of model and machine for JSON."""
    from mlff_core import load
    from mlff_core.models.checkpoint import file_sha256
    from mlff_core.models.registry import resolve
    from mlff_plugins.benchmark.machine import commit, machine

    potential = load(model, device=device, dtype=dtype)
    return {
        "model": potential.card.name,
        "model_sha256": file_sha256(resolve(model)),
        "n_parameters": potential.card.n_parameters,
        "dtype": dtype,
        "machine": machine(potential.device),
        "commit": commit(),
    }


def _time(model: str, names: list[str], *, repeats: int, device: str, dtype: str, as_json: bool) -> None:
    from mlff_core import load
    from mlff_core.cli.progress import bar
    from mlff_plugins.benchmark.systems import selected
    from mlff_plugins.benchmark.timing import time_system

    names = selected(names)
    potential = load(model, device=device, dtype=dtype)
    timings: list[Timing] = []
    with bar("benchmark", len(names)) as advance:
        for name in names:
            timings.append(time_system(potential, name, n_repeats=repeats))
            advance(len(timings))
    if as_json:
        content = {**_about(model, dtype, device), "timings": [asdict(timing) for timing in timings]}
        click.echo(json.dumps(content, indent=2, ensure_ascii=False))
        return
    _print_timings(timings)
    click.echo(f"velocity Verlet, 0.5 fs, {potential.device}, {dtype}, medians of {repeats} repeats", err=True)


def _print_timings(timings: list[Timing]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("system")
    for heading in ("atoms", "ms/step", "fastest", "slowest", "atoms/s", "ns/day"):
        table.add_column(heading, justify="right")
    for timing in timings:
        if timing.ms_per_step is None:
            table.add_row(timing.system, str(timing.n_atoms), "–")
            click.echo(f"{timing.system}: {timing.message}", err=True)
            continue
        times = (timing.ms_per_step, timing.ms_per_step_min, timing.ms_per_step_max)
        rate = (timing.atoms_per_s, timing.ns_per_day)
        table.add_row(timing.system, str(timing.n_atoms), *(f"{x:.3f}" for x in times), *(f"{x:.3g}" for x in rate))
    Console().print(table)


def _compare(
    model: str,
    names: list[str],
    peers: list[str],
    folder: Path,
    *,
    repeats: int,
    dtype: str,
    memory: bool,
    as_json: bool,
) -> None:
    from mlff_core.cli.progress import bar
    from mlff_plugins.benchmark.peers.comparison import SYSTEMS, compare
    from mlff_plugins.benchmark.peers.process import our_contestant, read_peers
    from mlff_plugins.benchmark.systems import selected

    names = selected(names or SYSTEMS)
    contestants = [our_contestant(model, dtype=dtype), *read_peers(peers, folder)]
    about = _about(model, dtype, "cpu")
    done = 0
    with bar("benchmark", len(names) * len(contestants)) as advance:

        def report(row: Row) -> None:
            nonlocal done
            done += 1
            advance(done)

        comparison = compare(contestants, names, n_turns=repeats, memory=memory, report=report)
    if as_json:
        click.echo(json.dumps({**about, **asdict(comparison)}, indent=2, ensure_ascii=False))
    else:
        _print_comparison(comparison)


def _print_comparison(comparison: Comparison) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("system")
    table.add_column("program")
    for heading in ("CPU ms/step", "least", "ms/step", "ratio"):
        table.add_column(heading, justify="right")
    for row in comparison.rows:
        if row.message:
            table.add_row(row.system, row.peer, "–")
            click.echo(f"{row.system}: {row.message}", err=True)
            continue
        ratio = "–" if row.ratio is None else f"{row.ratio:.2f}"
        times = (row.cpu_ms_median, row.cpu_ms_min, row.wall_ms_median)
        table.add_row(row.system, row.peer, *(f"{x:.3f}" for x in times), ratio)
    Console().print(table)
    for name, amount in comparison.peak_memory_mib.items():
        click.echo(f"peak memory, {comparison.memory_system} atoms: {name} {amount:.0f} MiB")
