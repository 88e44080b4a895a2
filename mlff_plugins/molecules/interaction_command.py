"""``mlff interaction``: the interaction energy of two molecules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlff_core.cli.json_text import json_text
from mlff_core.cli.options import COUNT, POSITIVE, loading_options
from mlff_core.errors import InputError

if TYPE_CHECKING:
    from mlff_plugins.molecules.interactions import Interaction


@click.command()
@click.argument("model")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--as-is", is_flag=True, help="Do not relax the complex first.")
@click.option("--charges", metavar="A,B", help="Charge of each molecule; of a SMILES they are known.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write the complex to this file.")
@click.option("--fmax", type=POSITIVE, default=0.005, show_default=True, help="Largest force at a minimum, eV/Å.")
@click.option("--max-steps", type=COUNT, default=2000, show_default=True, help="Most steps of each relaxation.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@loading_options
def command(
    model: str,
    file: Path,
    as_is: bool,
    charges: str | None,
    output: Path | None,
    fmax: float,
    max_steps: int,
    as_json: bool,
    **loading: str,
) -> None:
    """Compute the interaction energy of two molecules.

    MODEL is a name (mlff models list) or a path, FILE a structure file of the complex, or a SMILES of both molecules
    with a dot between them. The complex is relaxed first. The interaction is its energy above that of the molecules as
    they are in it, the binding energy that above the molecules relaxed alone.

    \b
    Examples:
      mlff interaction organic-original "O.O"
      mlff interaction organic-original dimer.xyz --as-is
    """  # noqa: D301
    from mlff_core import load
    from mlff_core.structures.reading import there_is
    from mlff_core.structures.writing import check_writable, write_structures
    from mlff_plugins.molecules.interactions import charges_of_smiles, interaction, two_molecules
    from mlff_plugins.molecules.one_molecule import one_molecule

    atoms = one_molecule(file)
    if output is not None:
        check_writable(output, [atoms])
    given: list[int] | None = None
    if charges is not None:
        given = _two(charges)
        atoms.info.setdefault("charge", sum(given))
    elif not there_is(file):
        given = charges_of_smiles(file, two_molecules(atoms))
    found = interaction(load(model, **loading), atoms, charges=given, as_is=as_is, fmax=fmax, max_steps=max_steps)
    if output is not None:
        write_structures(output, [found.complex])
        click.echo(f"wrote the complex to {output}", err=True)
    if as_json:
        click.echo(json_text(_plain(found), indent=2))
    else:
        _print(found)


def _two(text: str) -> list[int]:
    try:
        first, second = (int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--charges needs two whole numbers, as 1,0, got {text!r}") from None
    return [first, second]


def _plain(found: Interaction) -> dict[str, Any]:
    from mlff_core.units import KCAL_MOL_PER_EV

    return {
        "interaction_kcal_mol": found.interaction * KCAL_MOL_PER_EV,
        "binding_kcal_mol": found.binding * KCAL_MOL_PER_EV,
        "deformations_kcal_mol": [value * KCAL_MOL_PER_EV for value in found.deformations],
        "energy": found.energy,
        "fragment_energies": found.fragments,
        "relaxed_fragment_energies": found.relaxed_fragments,
        "closest_distance": found.closest,
        "charges": found.charges,
        "members": [own.tolist() for own in found.members],
        "symbols": found.complex.get_chemical_symbols(),
        "positions": found.complex.positions.tolist(),
    }


def _print(found: Interaction) -> None:
    from mlff_core.units import KCAL_MOL_PER_EV
    from mlff_plugins.molecules.tables import show

    first, second = (found.complex[own].get_chemical_formula() for own in found.members)
    rows = [("interaction, molecules as in the complex", found.interaction)]
    rows += [(f"deformation of {name}", value) for name, value in zip((first, second), found.deformations, strict=True)]
    rows.append(("binding, molecules relaxed alone", found.binding))
    shown = [(name, f"{value * KCAL_MOL_PER_EV:.2f}") for name, value in rows]
    show(f"{first} and {second}, closest atoms {found.closest:.2f} Å apart", ("", "kcal/mol"), shown)
