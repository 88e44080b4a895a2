"""``mlff lammps``: LAMMPS input files with a model as the pair style."""

from __future__ import annotations

import re
from pathlib import Path

import click

from mlff_core.cli.options import NUMBER, dtype_option, loading_options
from mlff_core.cli.watching import tell_uncertain, watch_options, watched
from mlff_core.errors import InputError


@click.group("lammps")
def command() -> None:
    """Run LAMMPS with a model.

    \b
    Example:
      mlff lammps run organic-tiny in.nvt --log log.lammps
    """  # noqa: D301


@command.command("run")
@click.argument("model")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--var",
    "variables",
    nargs=2,
    multiple=True,
    metavar="NAME VALUE",
    help="Set a variable of the input file; may be given several times.",
)
@click.option("--log", default="log.lammps", show_default=True, help="LAMMPS' log file; 'none' for no file.")
@click.option("--charge", type=NUMBER, help="Total charge, e.")
@click.option("--write-q", is_flag=True, help="Set the atoms' charges q to those of the model at every step.")
@watch_options
@loading_options
def run(
    model: str,
    file: Path,
    variables: tuple[tuple[str, str], ...],
    log: str,
    charge: float | None,
    write_q: bool,
    max_uncertainty: float | None,
    on_uncertain: str,
    **loading: str,
) -> None:
    """Run a LAMMPS input file with a model.

    MODEL is a name (mlff models list) or a path. FILE is an input file in `units metal` or `units real` with the lines
    `pair_style mlff` and `pair_coeff * * C H O`: the element of each atom type, or no elements to find
    them by mass.

    \b
    Example:
      mlff lammps run organic-tiny in.lmp
    """  # noqa: D301
    from mlff_core import load
    from mlff_core.errors import InputError
    from mlff_plugins.lammps.driver import open_lammps
    from mlff_plugins.lammps.script import run_script, split_script

    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read as a LAMMPS input file: {error}") from error
    split_script(text)
    potential = watched(load(model, **loading), max_uncertainty, on_uncertain)
    arguments = ["-log", log]
    for name, value in variables:
        arguments += ["-var", name, value]
    lmp = open_lammps(arguments)
    try:
        driver = run_script(lmp, potential, text, charge=charge, write_q=write_q)
    finally:
        lmp.close()
    click.echo(f"{potential.card.name} was evaluated {driver.n_calls} times", err=True)
    tell_uncertain(potential)


@command.command("build-plugin")
def build() -> None:
    """Build pair_style mlff for runs on many MPI processes.

    The plugin is compiled once for the installed LAMMPS; the command prints the line that loads it in an input file.
    """
    from mlff_plugins.lammps.pair_style import build_plugin

    path = str(build_plugin())
    if not path.isascii():
        raise InputError(
            f"LAMMPS reads input files in ASCII, but the plugin is {path}; set MLFF_CACHE_DIR to a folder with a plain "
            "name"
        )
    # LAMMPS would interpret blanks, # and $.
    click.echo(f"plugin load {path}" if re.fullmatch(r"[\w./+=:,-]+", path) else f'plugin load "{path}"')


@command.command("write-model")
@click.argument("model")
@click.argument("file", type=click.Path(path_type=Path))
@dtype_option
def write(model: str, file: Path, dtype: str) -> None:
    """Write a model file for pair_style mlff.

    MODEL is a name (mlff models list) or a path. `pair_coeff * * FILE C H O` reads the file after the plugin of
    `mlff lammps build-plugin` was loaded.

    \b
    Example:
      mlff lammps write-model organic-tiny organic-tiny.mlff
    """  # noqa: D301
    from mlff_core import load
    from mlff_core.atomic_write import unwritable
    from mlff_plugins.lammps.pair_style import write_model

    try:
        write_model(load(model, device="cpu", dtype=dtype), file)
    except OSError as error:
        raise unwritable(file, error) from error
    click.echo(f"wrote {file}", err=True)
