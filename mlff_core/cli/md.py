"""``mlff md``: molecular dynamics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mlff_core.cli.watching import tell_uncertain, watch_options, watched

if TYPE_CHECKING:
    from mlff_core.md.state import MDState


@click.command()
@click.argument("model")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--output", "-o", "folder", type=click.Path(path_type=Path), required=True, help="Folder of the run.")
@click.option("--ensemble", default="nvt", show_default=True, help="nve, nvt (Langevin) or npt.")
@click.option("--steps", "n_steps", type=click.IntRange(min=1), help="Length of the run, steps.")
@click.option("--time-ps", type=float, help="Length of the run, ps, instead of --steps.")
@click.option("--timestep-fs", type=float, default=0.5, show_default=True)
@click.option(
    "--temperature-kelvin", type=float, help="Of the bath and the first velocities; nve without it keeps FILE's."
)
@click.option("--friction-per-ps", type=float, default=1.0, show_default=True, help="Of the Langevin thermostat.")
@click.option("--pressure-gpa", type=float, default=1e-4, show_default=True, help="With npt; 0.0001 is 1 bar.")
@click.option("--full-cell", is_flag=True, help="With npt: change the shape of the cell too. For crystals.")
@click.option("--barostat-time-fs", type=float, default=1000.0, show_default=True, help="Response of the volume.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--log-every", type=int, default=10, show_default=True, help="Steps.")
@click.option("--frame-every", type=int, default=100, show_default=True, help="Steps.")
@click.option("--checkpoint-every", type=int, default=1000, show_default=True, help="Steps.")
@click.option("--trajectory", default="trajectory.extxyz", show_default=True, help="Name; .extxyz or .traj.")
@click.option("--restart", is_flag=True, help="Go on from the last restart file in the folder, if there is one.")
@watch_options
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 …")
@click.option("--dtype", default="float32", show_default=True, help="float32 or float64.")
def command(
    model: str,
    file: Path,
    folder: Path,
    n_steps: int | None,
    time_ps: float | None,
    restart: bool,
    max_uncertainty: float | None,
    on_uncertain: str,
    device: str,
    dtype: str,
    **options: Any,
) -> None:
    """Run molecular dynamics.

    MODEL is a name (mlff models list) or a path, FILE any structure file that ASE reads; the run starts from its last
    frame. A run that was killed goes on when the same line is given again with --restart.
    """
    from mlff_core import load
    from mlff_core.checkpoint import file_sha256
    from mlff_core.cli.progress import bar
    from mlff_core.errors import InputError
    from mlff_core.md import MDSettings, run_md
    from mlff_core.registry import resolve
    from mlff_core.structures import read_structures

    if (n_steps is None) == (time_ps is None):
        raise click.UsageError("give the length of the run: either --steps or --time-ps")
    timestep_fs = options["timestep_fs"]
    if n_steps is None:
        if time_ps is None or not 0 < time_ps < float("inf") or not timestep_fs > 0:
            raise InputError(f"--time-ps and --timestep-fs must be positive, got {time_ps} and {timestep_fs}")
        n_steps = max(1, round(1000 * time_ps / timestep_fs))
    settings = MDSettings(n_steps=n_steps, **options)
    atoms = read_structures(file, index="-1")[0]
    potential = watched(load(model, device=device, dtype=dtype), max_uncertainty, on_uncertain)

    def note(rate: float) -> str:
        return f"{rate * timestep_fs * 86400 * 1e-6:.3g} ns/day"

    with bar("md", n_steps, note=note) as advance:

        def on_step(state: MDState) -> None:
            advance(state.step)

        report = run_md(
            potential,
            atoms,
            settings,
            folder,
            restart=restart,
            model_sha256=file_sha256(resolve(model)),
            on_step=on_step,
        )
    begun = f"from step {report.first_step} " if report.first_step else ""
    click.echo(
        f"{begun}to step {report.last_step} ({report.last_step * timestep_fs:g} fs), "
        f"{report.temperature_kelvin:.1f} K over the second half, conserved energy "
        f"{1000 * report.conserved_drift / len(atoms):+.3g} meV/atom from start to end; files in {folder}",
        err=True,
    )
    tell_uncertain(potential)
