"""``mlff conformers``: the conformers of a molecule."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlff_core.cli.json_text import json_text
from mlff_core.cli.options import COUNT, POSITIVE, SEED, Whole, loading_options

if TYPE_CHECKING:
    from mlff_plugins.molecules.conformers import ConformerSearch
    from mlff_plugins.molecules.embedding import Starts


@click.command()
@click.argument("model")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write the conformers to this file, as .sdf …")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw their energies and weights into this file (.png).")
@click.option(
    "--n", "n_embedded", type=Whole(1, 10_000), help="Number of geometries to embed; by default 50, 200 or 300."
)
@click.option("--temperature-kelvin", type=POSITIVE, default=298.15, show_default=True, help="Of the weights.")
@click.option("--rmsd", type=POSITIVE, default=0.25, show_default=True, help="Minima closer than this are one, Å.")
@click.option("--fmax", type=POSITIVE, default=0.01, show_default=True, help="Largest force at the end, eV/Å.")
@click.option("--max-steps", type=COUNT, default=1000, show_default=True, help="Most steps of each relaxation.")
@click.option("--seed", type=SEED, default=1, show_default=True, help="The same seed gives the same conformers.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@loading_options
def command(
    model: str,
    file: Path,
    output: Path | None,
    plot: Path | None,
    n_embedded: int | None,
    temperature_kelvin: float,
    rmsd: float,
    fmax: float,
    max_steps: int,
    seed: int,
    as_json: bool,
    **loading: str,
) -> None:
    """Find the conformers of a molecule and rank them.

    MODEL is a name (mlff models list) or a path, FILE a SMILES or a structure file. RDKit embeds geometries, which are
    relaxed together; a file of several structures of one molecule is relaxed as it is. Of minima that agree, without
    the hydrogens on carbon and over equivalent atoms, the lowest is kept. Weights are Boltzmann's of the energies.

    \b
    Examples:
      mlff conformers organic-original "CCCC"
      mlff conformers organic-original "CC(=O)Oc1ccccc1C(=O)O" -o aspirin.sdf --plot aspirin.png
      mlff conformers organic-tiny crest_conformers.xyz --temperature-kelvin 310
    """  # noqa: D301
    from mlff_core import load
    from mlff_core.atomic_write import check_place
    from mlff_core.cli.progress import bar
    from mlff_core.structures.writing import check_writable
    from mlff_plugins.molecules.conformers import search
    from mlff_plugins.molecules.embedding import starts
    from mlff_plugins.molecules.tables import check_plot

    if output is not None:
        check_place(output)
    if plot is not None:
        check_plot(plot)
    potential = load(model, **loading)
    begin = starts(file, n_embedded, seed)
    if output is not None and output.suffix.lower() != ".sdf":
        check_writable(output, begin.frames)
    if begin.chosen is not None:
        click.echo(f"the molecule leaves stereocentres open; took {begin.chosen}", err=True)
    with bar("relax", len(begin.frames)) as advance:
        found = search(
            potential,
            begin,
            temperature_kelvin=temperature_kelvin,
            rmsd=rmsd,
            fmax=fmax,
            max_steps=max_steps,
            on_done=advance,
        )
    if output is not None:
        _write(output, begin, found)
        click.echo(f"wrote {len(found.conformers)} conformers to {output}", err=True)
    if plot is not None:
        _draw(plot, found, str(file), potential.card.name, temperature_kelvin)
        click.echo(f"wrote {plot}", err=True)
    if as_json:
        click.echo(json_text(_plain(found, temperature_kelvin), indent=2))
    else:
        _print(found)
    if found.n_reacted:
        click.echo(f"{found.n_reacted} of {found.n_starts} geometries lost a bond and are left out", err=True)
    if found.n_not_converged:
        click.echo(
            f"{found.n_not_converged} of {found.n_starts} did not converge in {max_steps} steps; raise --max-steps",
            err=True,
        )


def _plain(found: ConformerSearch, temperature_kelvin: float) -> dict[str, Any]:
    return {
        "temperature_kelvin": temperature_kelvin,
        "n_starts": found.n_starts,
        "n_not_converged": found.n_not_converged,
        "n_reacted": found.n_reacted,
        "conformers": [
            {
                "relative_energy_kcal_mol": one.relative_energy_kcal_mol,
                "weight": one.weight,
                "n_found": one.n_found,
                "energy": one.energy,
                "symbols": one.atoms.get_chemical_symbols(),
                "positions": one.atoms.positions.tolist(),
            }
            for one in found.conformers
        ],
    }


def _print(found: ConformerSearch) -> None:
    from mlff_plugins.molecules.tables import show

    rows = [
        (str(k), f"{one.relative_energy_kcal_mol:.2f}", f"{one.weight:.1%}", f"{one.n_found}×", f"{one.energy:.6f}")
        for k, one in enumerate(found.conformers)
    ]
    n = len(found.conformers)
    title = f"{n} conformer{'s' * (n > 1)} from {found.n_starts} geometries"
    show(title, ("conformer", "kcal/mol", "weight", "found", "energy eV"), rows)


def _write(path: Path, begin: Starts, found: ConformerSearch) -> None:
    from mlff_core.atomic_write import write_atomically
    from mlff_core.structures.sdf_writing import sdf_text
    from mlff_core.structures.writing import write_structures

    frames = []
    for one in found.conformers:
        properties = {
            "relative_energy_kcal_mol": f"{one.relative_energy_kcal_mol:.4f}",
            "weight": f"{one.weight:.6f}",
            "energy_ev": f"{one.energy:.8f}",
        }
        one.atoms.info.update({name: float(value) for name, value in properties.items() if name != "energy_ev"})
        frames.append((one.atoms, properties))
    if path.suffix.lower() == ".sdf":
        write_atomically(path, sdf_text(begin.molecule, frames).encode())
    else:
        write_structures(path, [atoms for atoms, _ in frames])


def _draw(path: Path, found: ConformerSearch, what: str, model: str, temperature_kelvin: float) -> None:
    from mlff_core.atomic_write import write_atomically
    from mlff_core.judging.report.plots import BLUE, ORANGE, canvas, png, tidy

    figure = canvas(8.0, 3.6)
    left, right = figure.subplots(1, 2)
    numbers = range(len(found.conformers))
    left.scatter(numbers, [one.relative_energy_kcal_mol for one in found.conformers], s=260, marker="_", color=BLUE)
    left.set(xlabel="conformer", ylabel="energy above the lowest, kcal/mol")
    right.bar(numbers, [100 * one.weight for one in found.conformers], color=ORANGE)
    right.set(xlabel="conformer", ylabel=f"weight at {temperature_kelvin:g} K, %")
    for axis in (left, right):
        axis.xaxis.get_major_locator().set_params(integer=True)
        tidy(axis)
    figure.suptitle(f"{what}, {model}", fontsize=10)
    write_atomically(path, png(figure))
