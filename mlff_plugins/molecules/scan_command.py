"""``mlff scan``: energies over torsion angles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlff_core.cli.json_text import json_text
from mlff_core.cli.options import COUNT, POSITIVE, Whole, keyed, loading_options
from mlff_core.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_core.dynamics.held_torsions import Torsion


@click.command()
@click.argument("model")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--torsion",
    "texts",
    multiple=True,
    metavar="I-J-K-L",
    help="Atoms of a torsion, counted from 0; may be given twice. By default the only one that can be turned.",
)
@click.option(
    "--n", "n_angles", type=Whole(3, 360), help="Angles in a full turn; by default 24, or 12 of two torsions."
)
@click.option("--rigid", is_flag=True, help="Turn only, do not relax.")
@click.option("--teacher", help="Teacher or model to compute the same geometries with (mlff teachers list).")
@click.option("--teacher-option", "pairs", multiple=True, metavar="KEY=VALUE", help="Set an option of the teacher.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="Write the scan as .csv or .json, or its structures."
)
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the scan into this file (.png).")
@click.option("--fmax", type=POSITIVE, default=0.01, show_default=True, help="Largest force at the end, eV/Å.")
@click.option("--max-steps", type=COUNT, default=1000, show_default=True, help="Most steps of each relaxation.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON that includes the geometries.")
@loading_options
def command(
    model: str,
    file: Path,
    texts: tuple[str, ...],
    n_angles: int | None,
    rigid: bool,
    teacher: str | None,
    pairs: tuple[str, ...],
    output: Path | None,
    plot: Path | None,
    fmax: float,
    max_steps: int,
    as_json: bool,
    **loading: str,
) -> None:
    """Scan the energy over one or two torsion angles.

    MODEL is a name (mlff models list) or a path, FILE a SMILES or a structure file with one molecule. It is relaxed,
    turned about the middle bond of each torsion through a full turn, and relaxed with the torsions held. The teacher
    computes the model's geometries. Atoms of a SMILES count in its order, hydrogens after the others.

    \b
    Examples:
      mlff scan organic-original CCCC --plot butane.png
      mlff scan organic-original "CC(=O)Oc1ccccc1C(=O)O" --torsion 4-9-10-11 --teacher gfn2-xtb -o aspirin.csv
      mlff scan organic-tiny dipeptide.xyz --torsion 4-6-8-14 --torsion 6-8-14-16 --n 24 --plot map.png
    """  # noqa: D301
    from mlff_core import load
    from mlff_core.atomic_write import check_place
    from mlff_core.cli.data_run import load_teacher
    from mlff_core.cli.progress import bar
    from mlff_core.dynamics.batched_relaxation import relax_many
    from mlff_core.judging.report.plots import png
    from mlff_core.structures.writing import check_writable
    from mlff_plugins.molecules.one_molecule import one_molecule
    from mlff_plugins.molecules.scan_output import figure_of, plain, print_scan
    from mlff_plugins.molecules.scans import check_torsion, scan
    from mlff_plugins.molecules.tables import check_plot

    if output is not None:
        check_place(output)
    if plot is not None:
        check_plot(plot)
    if pairs and teacher is None:
        raise click.UsageError("--teacher-option needs --teacher")
    atoms = one_molecule(file)
    if output is not None and output.suffix.lower() not in (".csv", ".json"):
        check_writable(output, [atoms, atoms])
    torsions = [_torsion(text) for text in texts] or _only_torsion(atoms)
    for torsion in torsions:
        check_torsion(atoms, torsion)
    potential = load(model, **loading)
    other = None if teacher is None else load_teacher(teacher, keyed("--teacher-option", pairs))
    n = n_angles or (24 if len(torsions) == 1 else 12)
    (minimum,) = relax_many(potential, [atoms], fmax=fmax, max_steps=max_steps)
    with bar("scan", n ** len(torsions)) as advance:
        found = scan(
            potential,
            minimum.atoms,
            torsions,
            n=n,
            rigid=rigid,
            fmax=fmax,
            max_steps=max_steps,
            teacher=other,
            on_done=advance,
        )
    title = f"{'rigid' if rigid else 'relaxed'} scan of {file}, {potential.card.name}"
    content = plain(found, potential.card.name, teacher)
    if output is not None:
        _write(output, content, found)
        click.echo(f"wrote {output}", err=True)
    if plot is not None:
        from mlff_core.atomic_write import write_atomically

        write_atomically(plot, png(figure_of(found, title, potential.card.name, teacher)))
        click.echo(f"wrote {plot}", err=True)
    if as_json:
        click.echo(json_text(content))
    else:
        print_scan(found, title)
    if found.n_not_converged:
        click.echo(f"{found.n_not_converged} points did not converge in {max_steps} steps; raise --max-steps", err=True)
    missing = sum(frame is None for frame in found.frames)
    if missing:
        click.echo(f"{missing} points are left out: atoms come as close as bonded ones, or a bond breaks", err=True)


def _torsion(text: str) -> Torsion:
    try:
        i, j, k, m = (int(part) for part in text.replace(",", "-").split("-"))
    except ValueError:
        raise InputError(f"--torsion needs four atoms, as 0-1-2-3, got {text!r}") from None
    return i, j, k, m


def _only_torsion(atoms: Atoms) -> list[Torsion]:
    """Return the torsion of a molecule that has one.

    Raises
    ------
    InputError
        It has none or several; the message lists them.
    """
    from mlff_plugins.molecules.scans import torsion_choices

    choices = torsion_choices(atoms)
    if len(choices) == 1:
        return choices
    if not choices:
        raise InputError(f"{atoms.get_chemical_formula()} has no torsion that can be turned; give another molecule")
    named = ", ".join(
        f"{'-'.join(map(str, torsion))} ({'-'.join(atoms.symbols[atom] for atom in torsion)})" for torsion in choices
    )
    raise InputError(f"{atoms.get_chemical_formula()} has {len(choices)} torsions; choose with --torsion from {named}")


def _write(path: Path, content: dict[str, Any], found: Any) -> None:
    from mlff_core.atomic_write import write_atomically
    from mlff_core.structures.writing import write_structures
    from mlff_plugins.molecules.scan_output import csv_text

    if path.suffix.lower() == ".csv":
        write_atomically(path, csv_text(found).encode())
    elif path.suffix.lower() == ".json":
        write_atomically(path, (json_text(content, indent=1) + "\n").encode())
    else:
        for frame, angles in zip(found.frames, found.angles_deg, strict=True):
            if frame is not None:
                frame.info["angles_deg"] = angles.tolist()
        write_structures(path, [frame for frame in found.frames if frame is not None])
