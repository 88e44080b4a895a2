"""``mlff train``: train a student from a config file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from mlff_core.cli.json_text import json_text


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a setting, such as stop.max_epochs=5."
)
@click.option("--resume/--fresh", default=None, help="Continue the run in the folder (or start one), or start again.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run, instead of the one in CONFIG.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(config: Path, overrides: tuple[str, ...], resume: bool | None, out: Path | None, as_json: bool) -> None:
    """Train a student with the settings of a config file.

    The folder of the run gets config.toml, model.pt (the best model so far), state.pt (to resume) and log.csv. Paths in
    CONFIG are relative to the current folder. Ctrl-C and the time limit stop.max_minutes save the state and end the
    run; --resume then continues it with the same result as an uninterrupted run.

    \b
    Examples:
      mlff train student.toml
      mlff train student.toml --set stop.max_minutes=60 --resume
    """  # noqa: D301
    from mlff_core.cli.denormals import denormals_flushed
    from mlff_core.config import load_config
    from mlff_core.training.progress import TerminalReporter
    from mlff_core.training.signals import stopped_by_signals
    from mlff_core.training.trainer import TrainConfig, Trainer

    if out is not None:
        overrides = (*overrides, f"out={json.dumps(str(out))}")
    settings = load_config(TrainConfig, config, overrides)
    trainer = Trainer(settings, TerminalReporter())
    with denormals_flushed(), stopped_by_signals(trainer):
        result = trainer.fit(resume=resume)
    if os.environ.get("RANK", "0") != "0":
        return  # only one of torchrun's processes prints
    if as_json:
        plain = {
            "out": str(result.out),
            "model": str(result.model),
            "status": result.status,
            "steps": result.steps,
            "epochs": result.epochs,
            "minutes": result.minutes,
            "best_step": result.best_step,
            "metrics": result.metrics,
        }
        click.echo(json_text(plain, indent=2, with_nulls=True))
        return
    endings = {
        "finished": "finished",
        "time": "stopped by stop.max_minutes; continue with --resume",
        "stopped": "stopped; continue with --resume",
    }
    done = f"{endings[result.status]} after {result.steps} steps, {result.epochs:.2f} epochs"
    if result.best_step is not None:
        found = result.metrics
        done += (
            f"; best at step {result.best_step}, force MAE {found['force_mae']:.4f} eV/Å, "
            f"energy MAE {found['energy_mae_mev_per_atom']:.2f} meV/atom"
        )
    click.echo(f"{done}: {result.model}", err=True)
    click.echo(str(result.model))
