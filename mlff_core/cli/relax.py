"""``mlff relax``: relaxation of structures to a minimum of the energy."""

from __future__ import annotations

from pathlib import Path

import click

from mlff_core.cli.json_text import json_text
from mlff_core.cli.options import COUNT, POSITIVE, loading_options, topology_option

OPTIMIZERS = ("bfgs", "lbfgs", "fire")
ADVICE = {"fire": "raise --max-steps, or try bfgs", "bfgs": "raise --max-steps, or try fire"}
"""What to do if an optimizer did not converge."""


@click.command()
@click.argument("model")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write the relaxed structures to this file.")
@click.option("--cell", is_flag=True, help="Also relax shape and volume of the cell.")
@click.option("--fmax", type=POSITIVE, default=0.01, show_default=True, help="Largest force at the end, eV/Å.")
@click.option("--max-steps", type=COUNT, default=500, show_default=True)
@click.option(
    "--optimizer",
    type=click.Choice(OPTIMIZERS),
    help="bfgs, lbfgs (large systems) or fire, one structure after another; by default bfgs for one structure, and "
    "L-BFGS for all at once if there are several and the cells stay.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@topology_option
@loading_options
def command(
    model: str,
    file: Path,
    topology: Path | None,
    output: Path | None,
    cell: bool,
    fmax: float,
    max_steps: int,
    optimizer: str | None,
    as_json: bool,
    **loading: str,
) -> None:
    """Relax structures to a minimum of the energy.

    MODEL is a name (mlff models list) or a path, FILE a structure file or a SMILES; every frame is relaxed.

    \b
    Examples:
      mlff relax organic-tiny ethanol.xyz --output relaxed.xyz
      mlff relax organic-tiny "CC(=O)Oc1ccccc1C(=O)O" --output aspirin.xyz
    """  # noqa: D301
    from rich.console import Console
    from rich.table import Table

    from mlff_core import load
    from mlff_core.cli.progress import bar
    from mlff_core.dynamics.batched_relaxation import has_only_fixed, relax_many
    from mlff_core.dynamics.relaxation import relax
    from mlff_core.errors import MlffError
    from mlff_core.structures.reading import read_structures
    from mlff_core.structures.writing import check_writable, write_structures

    frames = read_structures(file, topology=topology)
    if output is not None:
        check_writable(output, frames)
    potential = load(model, **loading)
    with bar("relax", len(frames)) as advance:
        if optimizer is None and not cell and len(frames) > 1 and all(has_only_fixed(frame) for frame in frames):
            done = relax_many(potential, frames, fmax=fmax, max_steps=max_steps, on_done=advance)
        else:
            optimizer = optimizer or "bfgs"
            done = []
            for k, frame in enumerate(frames):
                try:
                    done.append(relax(potential, frame, fmax=fmax, max_steps=max_steps, optimizer=optimizer, cell=cell))
                except MlffError as error:
                    if len(frames) == 1:
                        raise
                    raise type(error)(f"frame {k} of {len(frames)}: {error}") from error
                advance(k + 1)
    if output is not None:
        write_structures(output, [one.atoms for one in done])
        click.echo(f"wrote {len(done)} structures to {output}", err=True)
    rows = [
        {
            "frame": k,
            "formula": one.atoms.get_chemical_formula(),
            "n_atoms": len(one.atoms),
            "converged": one.converged,
            "n_steps": one.n_steps,
            "energy_before": one.energy_before,
            "energy": one.energy,
            "max_force": one.max_force,
            "max_stress": one.max_stress,
        }
        for k, one in enumerate(done)
    ]
    if as_json:
        click.echo(json_text(rows, indent=2))
    else:
        table = Table(box=None, pad_edge=False)
        for heading in (
            "frame",
            "formula",
            "atoms",
            "converged",
            "steps",
            "energy eV",
            "change eV",
            "largest force eV/Å",
        ):
            table.add_column(heading)
        for k, one in enumerate(done):
            table.add_row(
                str(k),
                one.atoms.get_chemical_formula(),
                str(len(one.atoms)),
                "yes" if one.converged else "no",
                str(one.n_steps),
                f"{one.energy:.6f}",
                f"{one.energy - one.energy_before:+.6f}",
                f"{one.max_force:.5f}",
            )
        Console().print(table)
    failed = sum(not one.converged for one in done)
    if failed:
        click.echo(
            f"{failed} of {len(done)} did not converge in {max_steps} steps; "
            + ADVICE.get(optimizer or "", "raise --max-steps, or try --optimizer bfgs"),
            err=True,
        )
