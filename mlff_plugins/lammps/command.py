"""``mlff lammps``: LAMMPS input files with a model as their pair style."""

from __future__ import annotations

from pathlib import Path

import click

from mlff_core.cli.options import device_option, dtype_option, guard_option
from mlff_core.cli.watching import tell_uncertain, watch_options, watched


@click.group("lammps")
def command() -> None:
    """Run LAMMPS with a model."""


@command.command("run")
@click.argument("model")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--var", "variables", nargs=2, multiple=True, metavar="NAME VALUE", help="A variable of the input file.")
@click.option("--log", default="log.lammps", show_default=True, help="LAMMPS' log file; none for no file.")
@click.option("--charge", type=float, help="Total charge, e.")
@watch_options
@device_option
@dtype_option
@guard_option
def run(
    model: str,
    file: Path,
    variables: tuple[tuple[str, str], ...],
    log: str,
    charge: float | None,
    max_uncertainty: float | None,
    on_uncertain: str,
    device: str,
    dtype: str,
    guard: str,
) -> None:
    """Run a LAMMPS input file.

    MODEL is a name (mlff models list) or a path. FILE is an input file in `units metal` or `units real` with the lines
    `pair_style mlff` and `pair_coeff * * C H O`: the element of each atom type, or none to find them by mass.
    """
    from mlff_core import load
    from mlff_core.errors import InputError
    from mlff_plugins.lammps.driver import open_lammps
    from mlff_plugins.lammps.script import run_script, split_script

    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read as a LAMMPS input file: {error}") from error
    split_script(text)
    potential = watched(load(model, device=device, dtype=dtype, guard=guard), max_uncertainty, on_uncertain)
    arguments = ["-log", log]
    for name, value in variables:
        arguments += ["-var", name, value]
    lmp = open_lammps(arguments)
    try:
        driver = run_script(lmp, potential, text, charge=charge)
    finally:
        lmp.close()
    click.echo(f"{potential.card.name} was evaluated {driver.n_calls} times", err=True)
    tell_uncertain(potential)


@command.command("build-plugin")
def build() -> None:
    """Build pair_style mlff for runs over many MPI processes.

    Compiles it once for the installed LAMMPS, and prints the line that loads it in an input file.
    """
    from mlff_plugins.lammps.pair_style import build_plugin

    click.echo(f"plugin load {build_plugin()}")


@command.command("write-model")
@click.argument("model")
@click.argument("file", type=click.Path(path_type=Path))
@dtype_option
def write(model: str, file: Path, dtype: str) -> None:
    """Write a model for pair_style mlff.

    MODEL is a name (mlff models list) or a path. FILE is what `pair_coeff * * FILE C H O` reads after the plugin of
    `mlff lammps build-plugin` was loaded.
    """
    from mlff_core import load
    from mlff_core.errors import InputError
    from mlff_plugins.lammps.pair_style import write_model

    try:
        write_model(load(model, device="cpu", dtype=dtype), file)
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error}") from error
    click.echo(f"wrote {file}", err=True)
