"""``mlff md``: molecular dynamics."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlff_core.cli.options import (
    COUNT,
    NOT_NEGATIVE,
    NUMBER,
    POSITIVE,
    SEED,
    Whole,
    keyed,
    loading_options,
    teacher_option,
    topology_option,
)
from mlff_core.cli.watching import tell_uncertain, watch_options, watched

if TYPE_CHECKING:
    from mlff_core.dynamics.state import Array, MDState


SHOWN_EVERY = 100
"""Steps between two energies on the line of progress."""


@click.command()
@click.argument("model")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--output", "-o", "folder", type=click.Path(path_type=Path), required=True, help="Folder for the files of the run."
)
@click.option("--ensemble", default="nvt", show_default=True, help="Ensemble: nve, nvt (Langevin) or npt.")
@click.option("--steps", "n_steps", type=COUNT, help="Length of the run, steps.")
@click.option("--time-ps", type=POSITIVE, help="Length of the run, ps, instead of --steps.")
@click.option(
    "--timestep-fs",
    type=POSITIVE,
    help="Time step; with --inner that of MODEL.  [default: 0.5, with --inner 0.5 for each inner step]",
)
@click.option("--inner", metavar="MODEL", help="Cheaper model, for several short steps in each step of MODEL.")
@click.option("--inner-steps", type=COUNT, help="Steps of --inner in each step of MODEL.")
@click.option(
    "--hydrogen-mass",
    type=POSITIVE,
    help="Mass of hydrogen atoms, amu, taken from the atoms they are bonded to: 3 allows longer steps.",
)
@click.option(
    "--temperature-kelvin",
    type=NOT_NEGATIVE,
    help="Temperature of the bath and of the initial velocities; nve without it uses the velocities of FILE.",
)
@click.option(
    "--friction-per-ps",
    type=POSITIVE,
    default=1.0,
    show_default=True,
    help="Friction of the Langevin thermostat, 1/ps.",
)
@click.option(
    "--pressure-gpa", type=NUMBER, default=1e-4, show_default=True, help="Pressure with npt; 0.0001 GPa is 1 bar."
)
@click.option("--full-cell", is_flag=True, help="With npt: also change the shape of the cell (for crystals).")
@click.option(
    "--barostat-time-fs", type=POSITIVE, default=1000.0, show_default=True, help="Response time of the volume."
)
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--log-every", type=COUNT, default=10, show_default=True, help="Steps.")
@click.option("--frame-every", type=COUNT, default=100, show_default=True, help="Steps.")
@click.option("--checkpoint-every", type=COUNT, default=1000, show_default=True, help="Steps.")
@click.option(
    "--trajectory",
    default="trajectory.extxyz",
    show_default=True,
    help="Name of the trajectory file (.extxyz or .traj).",
)
@click.option(
    "--replicas",
    "n_replicas",
    type=Whole(1, 1_000_000),
    default=1,
    show_default=True,
    help="Number of copies to run at once.",
)
@click.option("--all-frames", is_flag=True, help="Run every frame of FILE at once.")
@click.option("--restart", is_flag=True, help="Continue from the last restart file in the folder, if there is one.")
@watch_options
@topology_option
@teacher_option
@loading_options
def command(
    model: str,
    file: Path,
    topology: Path | None,
    folder: Path,
    n_steps: int | None,
    time_ps: float | None,
    timestep_fs: float | None,
    inner: str | None,
    inner_steps: int | None,
    pairs: tuple[str, ...],
    n_replicas: int,
    all_frames: bool,
    restart: bool,
    max_uncertainty: float | None,
    on_uncertain: str,
    device: str,
    dtype: str,
    guard: str,
    **options: Any,
) -> None:
    """Run molecular dynamics of a structure.

    MODEL is a name (mlff models list), a path, or a teacher (mlff teachers list), FILE a structure file or a SMILES;
    the run starts from its last frame. If a run is killed, give the same command with --restart: it continues.

    With --replicas N, N copies run at once in one batch, each with its own initial velocities and random numbers: copy
    k, counted from 0, runs as it would alone with the seed --seed + k. With --all-frames every frame of FILE is run in
    this way (N times each). The column or entry "replica" of log and trajectory then gives the copy.

    With --inner and --inner-steps K, each step of MODEL has K short steps of a cheaper model, and MODEL corrects it:
    the motion is that of MODEL, at a fraction of its calls. Steps are counted, and options in steps are, as those of
    MODEL. --hydrogen-mass 3 allows longer steps.

    \b
    Examples:
      mlff md organic-tiny ethanol.xyz -o run --temperature-kelvin 300 --time-ps 10
      mlff md organic-tiny ethanol.xyz -o run --temperature-kelvin 300 --time-ps 10 --restart
      mlff md so3lr ethanol.xyz -o run --temperature-kelvin 300 --time-ps 10 --inner organic-original --inner-steps 6
    """  # noqa: D301
    from mlff_core.cli.any_potential import open_potential
    from mlff_core.cli.progress import bar
    from mlff_core.dynamics import MDSettings, run_md, run_replicas
    from mlff_core.errors import InputError
    from mlff_core.structures.reading import read_structures

    if (n_steps is None) == (time_ps is None):
        raise click.UsageError("give the length of the run with either --steps or --time-ps")
    if (inner is None) != (inner_steps is None):
        raise click.UsageError("--inner and --inner-steps belong together; give both or neither")
    if timestep_fs is None:
        timestep_fs = 0.5 * (inner_steps or 1)
    if n_steps is None:
        n_steps = max(1, round(1000 * (time_ps or 0.0) / timestep_fs))
    settings = MDSettings(n_steps=n_steps, timestep_fs=timestep_fs, inner_steps=inner_steps, **options)
    frames = read_structures(file, index=":" if all_frames else "-1", topology=topology)
    frames = [atoms for atoms in frames for _ in range(n_replicas)]
    if n_replicas > 1 and settings.temperature_kelvin is None:
        raise InputError(
            "copies of one structure need --temperature-kelvin; without it all of them have the same velocities"
        )
    loading: dict[str, Any] = {"device": device, "dtype": dtype, "guard": guard}
    potential, sha256 = open_potential(model, keyed("--teacher-option", pairs), **loading)
    potential = watched(potential, max_uncertainty, on_uncertain)
    inside, inside_sha256 = (None, "") if inner is None else open_potential(inner, **loading)
    common: dict[str, Any] = {
        "restart": restart,
        "model_sha256": sha256,
        "inner": inside,
        "inner_sha256": inside_sha256,
    }

    energy_now = ""

    def note(rate: float) -> str:
        each = f"{rate * timestep_fs * 86400 * 1e-6:.3g} ns/day"
        return f"{each}{energy_now}" if len(frames) == 1 else f"{len(frames)} × {each}"

    began = time.perf_counter()
    with bar("md", n_steps, note=note) as advance:
        if len(frames) == 1:

            def on_step(state: MDState[Array]) -> None:
                nonlocal energy_now
                if state.step % SHOWN_EVERY == 0:
                    energy_now = f", potential energy {state.energy:.3f} eV"
                advance(state.step)

            one = run_md(potential, frames[0], settings, folder, on_step=on_step, **common)
            first, last, temperature = one.first_step, one.last_step, one.temperature_kelvin
            drift, of_what = one.conserved_drift / len(frames[0]), ""
        else:
            many = run_replicas(potential, frames, settings, folder, on_step=advance, **common)
            first, last = many.first_step, many.last_step
            temperature = sum(many.temperatures_kelvin) / len(frames)
            drifts = [drift / len(atoms) for drift, atoms in zip(many.conserved_drifts, frames, strict=True)]
            drift, of_what = max(drifts, key=abs), f"{len(frames)} structures, "
    seconds = time.perf_counter() - began
    rate = f", {(last - first) * timestep_fs * 86400e-6 / seconds:.3g} ns/day" if last > first else ""
    begun = f"from step {first} " if first else ""
    most = " at most" if of_what else ""
    click.echo(
        f"{of_what}{begun}to step {last} ({last * timestep_fs:g} fs), {temperature:.1f} K over the second half, "
        f"conserved energy {1000 * drift:+.3g} meV/atom{most} from start to end{rate}; files in {folder}",
        err=True,
    )
    tell_uncertain(potential)
