"""``mlff data convert``: conversion between data sets and structure files."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("convert")
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--license", "license_", default="", help="Licence of the labels, if OUTPUT is a data set.")
@click.option("--energy-key", metavar="NAME", help="Name of the energy (eV) in SOURCE; common names are detected.")
@click.option("--forces-key", metavar="NAME", help="Name of the forces (eV/Å) in SOURCE.")
@click.option("--stress-key", metavar="NAME", help="Name of the stress (eV/Å³, positive under tension) in SOURCE.")
@click.option("--virial-key", metavar="NAME", help="Name of the virial (eV, −volume × stress) in SOURCE.")
def command(
    source: Path,
    output: Path,
    license_: str,
    energy_key: str | None,
    forces_key: str | None,
    stress_key: str | None,
    virial_key: str | None,
) -> None:
    """Convert SOURCE to OUTPUT; the file endings give the formats (.h5, .extxyz, .xyz, .traj …).

    \b
    Examples:
      mlff data convert molecules.xyz molecules.h5
      mlff data convert molecules.h5 molecules.extxyz
    """  # noqa: D301
    from mlff_core.cli.data_labels import labelled_with
    from mlff_core.data.convert import convert
    from mlff_core.data.labels import LabelKeys, Labels

    labels = Labels(LabelKeys(energy=energy_key, forces=forces_key, stress=stress_key, virial=virial_key))
    n_structures = convert(source, output, license_, labels)
    made = output if output.suffix in (".h5", ".hdf5") else source
    click.echo(f"{output}: {n_structures} structures, {labelled_with(made)}")
    for name, count in labels.not_taken.items():
        click.echo(f"  not converted: {name}, in {count} structures", err=True)
