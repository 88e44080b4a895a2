"""``mlff tune``: a student for one system."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import click

from mlff_core.cli.options import COUNT, POSITIVE, SEED, guard_option, keyed, teacher_option, topology_option


@click.command()
@click.argument("teacher")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--output", "-o", "out", type=click.Path(path_type=Path), required=True, help="File of the student (.pt)."
)
@click.option(
    "--from", "init_from", default="organic-ultra-tiny", show_default=True, help="Student to start from, name or path."
)
@click.option("--minutes", type=POSITIVE, default=1.0, show_default=True, help="Time of the training.")
@click.option("--frames", "n_frames", type=COUNT, help="Frames to label.  [default: 40 to 240, by the number of atoms]")
@click.option(
    "--temperature-kelvin",
    "temperatures_kelvin",
    type=POSITIVE,
    nargs=2,
    default=(300.0, 600.0),
    show_default=True,
    help="Lowest and highest temperature of the trajectories.",
)
@click.option("--lr", type=POSITIVE, default=1e-3, show_default=True, help="Learning rate at the start.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@topology_option
@teacher_option
@guard_option
def command(
    teacher: str,
    file: Path,
    out: Path,
    init_from: str,
    minutes: float,
    n_frames: int | None,
    temperatures_kelvin: tuple[float, float],
    lr: float,
    seed: int,
    topology: Path | None,
    pairs: tuple[str, ...],
    guard: str,
) -> None:
    """Fine-tune a student to one system, to run inside the teacher's dynamics.

    It takes about a minute. TEACHER is a teacher (mlff teachers list) or a larger model, FILE a structure file or a
    SMILES; trajectories of the student start from all its frames. Their frames are labelled by TEACHER, and the student
    is fine-tuned on them. If the command is stopped, give it again: it continues with what is in OUTPUT.tune.

    \b
    Example:
      mlff tune so3lr aspirin.xyz -o inner.pt
    """  # noqa: D301
    from mlff_core.cli.any_potential import open_potential
    from mlff_core.cli.denormals import denormals_flushed
    from mlff_core.cli.progress import bar
    from mlff_core.potentials.interface import Potential
    from mlff_core.structures.reading import read_structures
    from mlff_core.training.progress import TerminalReporter
    from mlff_core.training.signals import stopped_by_signals
    from mlff_core.training.trainer import Trainer
    from mlff_core.training.tuning import TuneSettings, tune

    settings = TuneSettings(init_from, minutes, n_frames, temperatures_kelvin, lr, seed)
    starts = read_structures(file, index=":", topology=topology)

    def load() -> Potential:
        return open_potential(teacher, keyed("--teacher-option", pairs), device="cpu", dtype="float32", guard=guard)[0]

    with denormals_flushed(), ExitStack() as bars:

        def begin(title: str, total: int) -> Callable[[int], None]:
            bars.close()
            click.echo(f"{title} …", err=True)
            return bars.enter_context(bar(title, total))

        def train(trainer: Trainer) -> None:
            bars.close()
            bars.enter_context(stopped_by_signals(trainer))

        result = tune(
            load,
            starts,
            out,
            settings,
            teacher_name=" ".join((teacher, *pairs)),
            on_stage=begin,
            reporter=TerminalReporter(),
            on_trainer=train,
        )
    click.echo(
        f"{result.n_frames} frames; force MAE on held-out trajectories {result.force_mae_before:.4f} → "
        f"{result.force_mae:.4f} eV/Å",
        err=True,
    )
    click.echo(str(result.model))
