"""``mlff serve-ipi``, ``mlff ipi-mts`` and ``mlff ipi-pes-path``."""

from __future__ import annotations

from pathlib import Path

import click

from mlff_core.cli.options import (
    COUNT,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    keyed,
    loading_options,
    teacher_option,
    topology_option,
)
from mlff_core.cli.watching import tell_uncertain, watch_options, watched


@click.command("serve-ipi")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--unix", "unix", help="Name of i-PI's UNIX socket (its <address>), or a path that contains a slash.")
@click.option("--host", help="Host of i-PI's TCP socket.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of i-PI's TCP socket.")
@click.option("--template", type=click.Path(path_type=Path), help="Structure file with the atoms in the order of i-PI.")
@click.option(
    "--input",
    "input_file",
    type=click.Path(path_type=Path),
    help="Input file of i-PI.  [default: input.xml, if needed]",
)
@click.option(
    "--batch",
    default="auto",
    show_default=True,
    help="Largest number of structures to compute together; auto takes all that i-PI sends.",
)
@click.option(
    "--wait-s", type=NOT_NEGATIVE, default=60.0, show_default=True, help="Longest wait until i-PI listens, s."
)
@click.option(
    "--idle-s",
    type=POSITIVE,
    default=3600.0,
    show_default=True,
    help="Longest time without a message from i-PI after that, s.",
)
@watch_options
@teacher_option
@loading_options
def serve_ipi(
    models: tuple[str, ...],
    unix: str | None,
    host: str | None,
    port: int | None,
    template: Path | None,
    input_file: Path | None,
    batch: str,
    wait_s: float,
    idle_s: float,
    max_uncertainty: float | None,
    on_uncertain: str,
    pairs: tuple[str, ...],
    **loading: str,
) -> None:
    """Compute energies and forces for i-PI with MODEL, or with a teacher, until i-PI has finished.

    Options that are not given are read from the i-PI input in the working folder: the address, and the structure file
    with the atoms. i-PI may be started before or after. Several models form a committee: i-PI gets their mean, and the
    result of each member in the extras. If the committee's uncertainty is above the limit and it is set to stop, the
    driver ends. i-PI then ends too if its <ffsocket> has <exit_on_disconnect>; otherwise it waits for another driver.

    \b
    Examples:
      mlff serve-ipi organic-tiny --unix water --template start.xyz
      mlff serve-ipi organic-tiny --host localhost --port 31415 --template start.xyz
    """  # noqa: D301
    from mlff_core.cli.any_potential import open_potential
    from mlff_core.errors import InputError
    from mlff_core.potentials.ensemble import Ensemble
    from mlff_core.structures.reading import batch_from_atoms
    from mlff_plugins.ipi.client import Address, Client, connect
    from mlff_plugins.ipi.driver import Driver
    from mlff_plugins.ipi.input_file import DEFAULT_NAME, check_not_wrapped, read_input, read_template, template_of

    if unix is not None and (host is not None or port is not None):
        raise click.UsageError("give either --unix, or --host and --port")
    if host is not None and port is None:
        raise click.UsageError("--host needs --port")
    if batch != "auto" and not batch.isdecimal():
        raise InputError(f"--batch must be auto or a number, got {batch!r}")
    if input_file is not None or template is None or (unix is None and port is None):
        given = read_input(input_file or DEFAULT_NAME)
        atoms = template_of(given) if template is None else read_template(template)
        check_not_wrapped(given, atoms)
        address = given.address
    else:
        atoms = read_template(template)
    if unix is not None:
        address = Address.unix(unix)
    elif port is not None:
        address = Address(host=host or "localhost", port=port)
    loaded = [open_potential(model, keyed("--teacher-option", pairs), **loading)[0] for model in models]
    potential = loaded[0] if len(loaded) == 1 else Ensemble(loaded)
    potential = watched(potential, max_uncertainty, on_uncertain)
    driver = Driver(potential, batch_from_atoms(atoms), None if batch == "auto" else int(batch))
    click.echo(f"{potential.card.name}, {atoms.get_chemical_formula()}: waiting for i-PI at {address}", err=True)
    client = Client(connect(address, wait_s), driver, driver.n_atoms, idle_s)
    click.echo("connected", err=True)
    client.serve()
    click.echo(f"i-PI has finished; {client.n_evaluations} structures computed", err=True)
    tell_uncertain(potential)


@click.command("ipi-mts", short_help="Write an i-PI input for multiple time steps with two models.")
@click.argument("outer", metavar="MODEL")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--output", "-o", "folder", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--inner", metavar="MODEL", required=True, help="Cheaper model, for the short steps.")
@click.option("--inner-steps", type=COUNT, required=True, help="Steps of --inner in each step of MODEL.")
@click.option("--steps", "n_steps", type=COUNT, default=1000, show_default=True, help="Steps of MODEL.")
@click.option("--timestep-fs", type=POSITIVE, help="Step of MODEL.  [default: 0.5 for each inner step]")
@click.option("--temperature-kelvin", type=POSITIVE, default=300.0, show_default=True)
@click.option(
    "--friction-per-ps", type=POSITIVE, default=1.0, show_default=True, help="Of the Langevin thermostat, 1/ps."
)
@click.option("--nve", is_flag=True, help="Constant energy: no thermostat.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@topology_option
def ipi_mts(
    outer: str,
    file: Path,
    folder: Path,
    inner: str,
    inner_steps: int,
    n_steps: int,
    timestep_fs: float | None,
    temperature_kelvin: float,
    friction_per_ps: float,
    nve: bool,
    seed: int,
    topology: Path | None,
) -> None:
    """Write an i-PI input in which MODEL corrects the short steps of a cheaper model.

    MODEL is a model or a teacher, FILE a structure file or a SMILES. The folder gets input.xml and start.extxyz; the
    three commands to run in it, i-PI and a driver for each model, are printed.

    \b
    Example:
      mlff ipi-mts so3lr aspirin.xyz -o run --inner organic-original --inner-steps 6
    """  # noqa: D301
    from mlff_core.structures.reading import read_structures
    from mlff_plugins.ipi.mts_input import MTSRun, write_mts_input

    run = MTSRun(
        outer,
        inner,
        inner_steps,
        timestep_fs or 0.5 * inner_steps,
        n_steps,
        temperature_kelvin,
        None if nve else friction_per_ps,
        seed,
    )
    commands = write_mts_input(run, read_structures(file, index="-1", topology=topology)[0], folder)
    click.echo(f"run these in {folder}, each in the background or in a terminal of its own:", err=True)
    for line in commands:
        click.echo(line)


@click.command("ipi-pes-path", short_help="Print the path of the file that i-PI loads a model by.")
def ipi_pes_path() -> None:
    """Print the path of the file for <pes_path> of i-PI's <ffdirect> and i-pi-driver-py."""
    from mlff_plugins.ipi.pes_file import PES_FILE

    click.echo(PES_FILE)
