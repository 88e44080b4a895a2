"""``mlff spectrum``: the infrared spectrum of a molecule or of a trajectory."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlff_core.cli.json_text import json_text
from mlff_core.cli.options import POSITIVE, keyed, topology_option
from mlff_core.errors import InputError, UnsupportedError
from mlff_plugins.molecules.options import minimum_options, precise_loading_options

if TYPE_CHECKING:
    from ase import Atoms

    from mlff_core.potentials.interface import Potential
    from mlff_plugins.molecules.spectrum_output import Curve


@click.command()
@click.argument("model")
@click.argument("file", type=click.Path(path_type=Path))
@topology_option
@click.option("--teacher", help="Teacher or model to compare with (mlff teachers list).")
@click.option("--teacher-option", "pairs", multiple=True, metavar="KEY=VALUE", help="Set an option of the teacher.")
@click.option(
    "--width-per-cm", type=POSITIVE, default=20.0, show_default=True, help="Full width of a line at half height, 1/cm."
)
@click.option("--interval-fs", type=POSITIVE, help="Time between frames; by default that in the trajectory.")
@click.option("--temperature-kelvin", type=POSITIVE, help="Of the trajectory; by default that of its velocities.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write the spectrum as .csv or .json.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the spectrum into this file (.png).")
@minimum_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@precise_loading_options
def command(
    model: str,
    file: Path,
    topology: Path | None,
    teacher: str | None,
    pairs: tuple[str, ...],
    width_per_cm: float,
    interval_fs: float | None,
    temperature_kelvin: float | None,
    output: Path | None,
    plot: Path | None,
    fmax: float,
    max_steps: int,
    as_json: bool,
    **loading: str,
) -> None:
    """Compute an infrared spectrum.

    MODEL is a name (mlff models list) or a path of a model that gives charges. If FILE is a SMILES or holds one
    molecule, the spectrum is harmonic: the molecule is relaxed, and each vibration absorbs as its motion changes the
    dipole moment. If FILE is a trajectory, the spectrum comes from the autocorrelation of the dipole moments of its
    frames, with all anharmonicity that a classical run has; write a frame at least every 4 fs to see bonds to
    hydrogen. The teacher relaxes the molecule too, from the model's minimum; of a trajectory it takes the same frames.

    \b
    Examples:
      mlff spectrum charged.pt "CC(=O)NC" --teacher so3lr --plot nma.png
      mlff spectrum charged.pt run/trajectory.extxyz --plot run.png
    """  # noqa: D301
    from mlff_core import load
    from mlff_core.atomic_write import check_place
    from mlff_core.cli.data_run import load_teacher
    from mlff_core.structures.reading import read_structures
    from mlff_plugins.molecules import spectrum_output as shown
    from mlff_plugins.molecules.tables import check_plot

    if output is not None:
        if output.suffix.lower() not in (".csv", ".json"):
            raise InputError(f"spectra are written as .csv or .json, and {output} has another ending")
        check_place(output)
    if plot is not None:
        check_plot(plot)
    if pairs and teacher is None:
        raise click.UsageError("--teacher-option needs --teacher")
    frames = read_structures(file, topology=topology)
    is_run = len(frames) > 1
    if not is_run and (interval_fs or temperature_kelvin):
        raise click.UsageError(
            f"--interval-fs and --temperature-kelvin are for trajectories, and {file} has one structure"
        )
    potentials = [load(model, **loading)]
    if teacher is not None:
        potentials.append(load_teacher(teacher, keyed("--teacher-option", pairs)))
    for one in potentials:
        if "charges" not in one.supports:
            raise UnsupportedError(
                f"{one.card.name} gives no charges, and so no dipole moments; take a model that does, or fit charges "
                "to it with `mlff charges fit`"
            )
    names = [potentials[0].card.name, *([teacher] if teacher is not None else [])]
    if is_run:
        interval = interval_fs or _interval(frames, file)
        temperature = temperature_kelvin or _temperature(frames, file)
        curves = _of_run(potentials, names, frames, interval, temperature, width_per_cm)
    else:
        curves = _of_molecule(potentials, names, frames[0], file, width_per_cm, fmax, max_steps)
    title = f"infrared spectrum of {file}, {'trajectory' if is_run else 'harmonic'}"
    content = shown.plain(curves, title)
    if output is not None:
        shown.write(output, curves, content)
        click.echo(f"wrote {output}", err=True)
    if plot is not None:
        from mlff_core.atomic_write import write_atomically
        from mlff_core.judging.report.plots import png

        write_atomically(plot, png(shown.figure_of(curves, title)))
        click.echo(f"wrote {plot}", err=True)
    if as_json:
        click.echo(json_text(content))
    else:
        shown.print_spectra(curves, title)
    _warn(curves, frames, is_run)


def _of_molecule(
    potentials: list[Potential],
    names: list[str],
    atoms: Atoms,
    file: Path,
    width: float,
    fmax: float,
    max_steps: int,
) -> list[Curve]:
    from mlff_plugins.molecules.spectra import harmonic_spectrum
    from mlff_plugins.molecules.spectrum_output import Curve
    from mlff_plugins.molecules.vibrations import vibrations

    if atoms.pbc.any():
        raise InputError(
            f"{file} has a periodic cell and one structure; the spectrum of a crystal or a liquid needs a trajectory"
        )
    curves = []
    for name, potential in zip(names, potentials, strict=True):
        found = vibrations(potential, atoms, fmax=fmax, max_steps=max_steps)
        atoms = found.atoms  # the next one starts from this minimum, so that both have the same conformer
        curves.append(Curve(name, harmonic_spectrum(found, width), found))
    return curves


def _of_run(
    potentials: list[Potential],
    names: list[str],
    frames: list[Atoms],
    interval_fs: float,
    temperature_kelvin: float,
    width: float,
) -> list[Curve]:
    from mlff_core.cli.progress import bar
    from mlff_plugins.molecules.spectra import frame_dipoles, trajectory_spectrum
    from mlff_plugins.molecules.spectrum_output import Curve

    curves = []
    for name, potential in zip(names, potentials, strict=True):
        with bar(f"dipoles by {name}", len(frames)) as advance:
            dipoles = frame_dipoles(potential, frames, advance)
        curves.append(Curve(name, trajectory_spectrum(dipoles, interval_fs, temperature_kelvin, width)))
    return curves


def _interval(frames: list[Atoms], file: Path) -> float:
    """Return the time between frames that the trajectory states, fs."""
    times: list[Any] = [frame.info.get("time_fs") for frame in frames]
    if any(time is None for time in times):
        raise InputError(f"{file} does not state the times of its frames; give --interval-fs")
    steps = {round(float(after) - float(before), 6) for before, after in pairwise(times)}
    if len(steps) != 1 or min(steps) <= 0:
        raise InputError(
            f"the frames of {file} are not at equal intervals, but {sorted(steps)[:3]} fs apart; give one run"
        )
    return steps.pop()


def _temperature(frames: list[Atoms], file: Path) -> float:
    from mlff_plugins.molecules.spectra import mean_temperature

    found = mean_temperature(frames)
    if not found:
        raise InputError(f"{file} has no velocities; give the temperature of the run by --temperature-kelvin")
    return found


def _warn(curves: list[Curve], frames: list[Atoms], is_run: bool) -> None:
    """Say on stderr what the spectrum cannot show."""
    from mlff_core.structures.electrons import electronic_state

    spectrum = curves[0].spectrum
    if is_run and spectrum.wavenumbers[-1] < 4000:
        click.echo(
            f"the frames are so far apart that nothing above {spectrum.wavenumbers[-1]:.0f} 1/cm can be seen, and "
            "faster vibrations appear at wrong places; write frames more often",
            err=True,
        )
    for curve in curves:
        if curve.vibrations is not None and curve.vibrations.n_imaginary:
            click.echo(f"{curve.name}: {curve.vibrations.n_imaginary} imaginary vibrations are left out", err=True)
    if electronic_state(frames[0]).charge:
        click.echo("the dipole moment of an ion is that about its centre of mass", err=True)
