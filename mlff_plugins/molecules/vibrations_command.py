"""``mlff vibrations``: frequencies and thermochemistry of a molecule."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlff_core.cli.json_text import json_text
from mlff_core.cli.options import POSITIVE
from mlff_plugins.molecules.options import minimum_options, precise_loading_options

if TYPE_CHECKING:
    from mlff_plugins.molecules.vibrations import Thermochemistry, Vibrations


@click.command()
@click.argument("model")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="Write the modes: .molden for viewers, or a trajectory."
)
@click.option("--as-is", is_flag=True, help="Do not relax the structure first; for transition states.")
@click.option("--temperature-kelvin", type=POSITIVE, default=298.15, show_default=True, help="Of the thermochemistry.")
@click.option("--pressure-bar", type=POSITIVE, default=1.0, show_default=True, help="Of the thermochemistry.")
@click.option(
    "--symmetry-number", type=click.IntRange(1, 1000), help="Rotational symmetry number; by default it is found."
)
@minimum_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON that includes geometry and modes.")
@precise_loading_options
def command(
    model: str,
    file: Path,
    output: Path | None,
    as_is: bool,
    temperature_kelvin: float,
    pressure_bar: float,
    symmetry_number: int | None,
    fmax: float,
    max_steps: int,
    as_json: bool,
    **loading: str,
) -> None:
    """Compute vibrations and thermochemistry of a molecule.

    MODEL is a name (mlff models list) or a path, FILE a SMILES or a structure file with one molecule, which is relaxed
    first. Frequencies are harmonic. A model that gives dipoles also gives infrared intensities (km/mol). The
    thermochemistry is that of an ideal gas, a rigid rotor and harmonic oscillators, by ASE.

    \b
    Examples:
      mlff vibrations organic-original O
      mlff vibrations organic-original "CCO" --temperature-kelvin 350 -o ethanol.molden
      mlff vibrations organic-original transition_state.xyz --as-is
    """  # noqa: D301
    from mlff_core import load
    from mlff_core.atomic_write import check_place
    from mlff_core.structures.writing import check_writable
    from mlff_plugins.molecules.mode_files import write_modes
    from mlff_plugins.molecules.one_molecule import one_molecule
    from mlff_plugins.molecules.vibrations import thermochemistry, vibrations

    if output is not None:
        check_place(output)
    atoms = one_molecule(file)
    if output is not None and output.suffix.lower() != ".molden":
        check_writable(output, [atoms, atoms])
    found = vibrations(load(model, **loading), atoms, as_is=as_is, fmax=fmax, max_steps=max_steps)
    thermo = None
    if not found.n_imaginary:
        thermo = thermochemistry(
            found, temperature_kelvin=temperature_kelvin, pressure_bar=pressure_bar, sigma=symmetry_number
        )
    if output is not None:
        write_modes(output, found)
        click.echo(f"wrote {len(found.modes)} modes to {output}", err=True)
    if as_json:
        click.echo(json_text(_plain(found, thermo), indent=2))
    else:
        _print(found, thermo)
    if thermo is None:
        click.echo(f"{found.n_imaginary} imaginary: this is no minimum, so there is no thermochemistry", err=True)
    if as_is and found.max_force > 0.05:
        click.echo(
            f"the largest force is {found.max_force:.3f} eV/Å: away from a stationary point frequencies mean little",
            err=True,
        )


def _plain(found: Vibrations, thermo: Thermochemistry | None) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "energy": found.energy,
        "max_force": found.max_force,
        "wavenumbers_per_cm": found.wavenumbers.tolist(),
        "intensities_km_per_mol": None if found.intensities is None else found.intensities.tolist(),
        "thermochemistry": None if thermo is None else asdict(thermo),
        "symbols": found.atoms.get_chemical_symbols(),
        "positions": found.atoms.positions.tolist(),
        "modes": found.modes.tolist(),
    }


def _print(found: Vibrations, thermo: Thermochemistry | None) -> None:
    from mlff_core.units import KCAL_MOL_PER_EV
    from mlff_plugins.molecules.tables import show

    infrared = found.intensities
    headings = ["mode", "1/cm", *(["infrared km/mol"] if infrared is not None else [])]
    modes = []
    for k, wavenumber in enumerate(found.wavenumbers):
        shown = f"{wavenumber:.1f}" if wavenumber >= 0 else f"{-wavenumber:.1f}i"
        modes.append([str(k + 1), shown, *([f"{infrared[k]:.1f}"] if infrared is not None else [])])
    show(f"{found.atoms.get_chemical_formula()}, {found.energy:.6f} eV", headings, modes)
    if thermo is None:
        return
    state = f"ideal gas, {thermo.temperature_kelvin:g} K, {thermo.pressure_bar:g} bar"
    rows = [
        ("zero-point energy", thermo.zero_point_energy * KCAL_MOL_PER_EV, "kcal/mol"),
        ("H − E", thermo.enthalpy * KCAL_MOL_PER_EV, "kcal/mol"),
        ("S", 1000 * thermo.entropy * KCAL_MOL_PER_EV, "cal/(mol K)"),
        ("G − E", thermo.gibbs_energy * KCAL_MOL_PER_EV, "kcal/mol"),
    ]
    shown_rows = [(name, f"{value:.2f}", unit) for name, value, unit in rows]
    show(f"{state}, symmetry number {thermo.symmetry_number}", ("", "value", "unit"), shown_rows)
