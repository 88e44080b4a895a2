"""``mlff predict``: energies, forces and stresses of the structures in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlff_core.cli.json_text import json_text
from mlff_core.cli.options import loading_options, topology_option

if TYPE_CHECKING:
    from ase import Atoms


@click.command()
@click.argument("model")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--stress", is_flag=True, help="Also compute the stress; every structure needs a periodic cell.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="Write the structures with their results to this file."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list that includes forces and stresses.")
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=32,
    show_default=True,
    help="Number of structures to compute at once.",
)
@topology_option
@loading_options
def command(
    model: str,
    file: Path,
    topology: Path | None,
    stress: bool,
    output: Path | None,
    as_json: bool,
    batch_size: int,
    **loading: str,
) -> None:
    """Compute energies, forces and stresses of the structures in a file.

    MODEL is a name (mlff models list) or a path, FILE a structure file or a SMILES; all its frames are computed.
    Energies are in eV, forces in eV/Å, stresses in eV/Å³ (positive under tension). A committee (mlff committee) also
    gives the standard deviations of energies and forces. A model that gives charges adds them (e) to --json and
    --output, and dipoles (e·Å, about the centre of mass) if no structure is periodic.

    \b
    Examples:
      mlff predict organic-tiny ethanol.xyz
      mlff predict organic-tiny "CC(=O)O"
      mlff predict organic-tiny crystal.cif --stress --output results.extxyz
    """  # noqa: D301
    from mlff_core import load
    from mlff_core.cli.progress import bar
    from mlff_core.potentials.frames import predict_frames, with_results
    from mlff_core.potentials.interface import CHARGES, DEVIATIONS
    from mlff_core.structures.reading import read_structures
    from mlff_core.structures.writing import check_writable, write_structures

    frames = read_structures(file, topology=topology)
    if output is not None:
        check_writable(output, frames)
    potential = load(model, **loading)
    want = {"energy", "forces"} | ({"stress"} if stress else set())
    want |= DEVIATIONS & potential.supports
    if as_json or output is not None:
        want |= ({"charges"} if any(frame.pbc.any() for frame in frames) else CHARGES) & potential.supports
    with bar("predict", len(frames)) as advance:
        rows = predict_frames(potential, frames, want=want, batch_size=batch_size, on_frames=advance)
    if output is not None:
        write_structures(output, [with_results(frame, row) for frame, row in zip(frames, rows, strict=True)])
        click.echo(f"wrote {len(frames)} structures to {output}", err=True)
    if as_json:
        click.echo(json_text([_plain(k, frame, row) for k, (frame, row) in enumerate(zip(frames, rows, strict=True))]))
    else:
        _print_table(frames, rows)


def _plain(index: int, frame: Atoms, row: dict[str, Any]) -> dict[str, Any]:
    arrays = {name: value if isinstance(value, float) else value.tolist() for name, value in row.items()}
    return {"frame": index, "formula": frame.get_chemical_formula(), "n_atoms": len(frame), **arrays}


def _print_table(frames: list[Atoms], rows: list[dict[str, Any]]) -> None:
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("frame", justify="right")
    table.add_column("formula")
    headings = ["atoms", "energy eV", "largest force eV/Å"]
    headings += ["± eV", "largest ± eV/Å"] if "energy_std" in rows[0] else []
    headings += ["pressure GPa"] if "stress" in rows[0] else []
    for heading in headings:
        table.add_column(heading, justify="right")
    from mlff_core.units import GPA_PER_EV_PER_ANGSTROM3

    for k, (frame, row) in enumerate(zip(frames, rows, strict=True)):
        cells = [str(k), frame.get_chemical_formula(), str(len(frame)), f"{row['energy']:.6f}"]
        cells.append(f"{np.linalg.norm(row['forces'], axis=1).max():.5f}")
        if "energy_std" in row:
            cells += [f"{float(row['energy_std']):.6f}", f"{row['forces_std'].max():.5f}"]
        if "stress" in row:
            cells.append(f"{-np.trace(row['stress']) / 3 * GPA_PER_EV_PER_ANGSTROM3:.5f}")
        table.add_row(*cells)
    Console().print(table)
