"""What ``mlff demo --material`` prints at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from mlff_plugins.demo.material import MaterialResult


def table(result: MaterialResult) -> Table:
    """Return the table of the student beside its teacher and experiment."""
    from mlff_core.cli.judge_crystals import property_rows
    from mlff_core.cli.judging_tables import new_table

    student, teacher, metrics = result.student, result.teacher, result.evaluation.metrics
    made = new_table(
        f"{student.symbol}, {result.n_train} structures of training, errors on {result.n_test} others",
        "",
        "student tiny",
        f"teacher {teacher.model}",
        "experiment",
        "unit",
    )
    made.add_row("parameters", f"{result.evaluation.card.n_parameters:,}", "", "", "")
    made.add_row("force MAE", f"{metrics['force_mae']:.3f}", "", "", "eV/Å")
    made.add_row("force R², by component", f"{metrics['force_r2']:.4f}", "1", "", "")
    made.add_row("energy MAE", f"{metrics['energy_mae_mev_per_atom']:.1f}", "0", "", "meV/atom")
    for row in property_rows([student, teacher]):
        made.add_row(*row)
    made.add_row("labelling", "", f"{result.seconds_label:.0f}", "", "s")
    made.add_row("training", f"{result.seconds_train:.0f}", "", "", "s")
    made.add_row("judging, both", f"{result.seconds_judge:.0f}", "", "", "s")
    return made


def next_steps(result: MaterialResult) -> str:
    """Return the files and commands to go on with."""
    folder, symbol = result.folder, result.student.symbol
    return f"""
Files in {folder}:
  model.pt             the student, with its card
  {symbol}-{result.teacher.model}.h5        structures and labels
  validation.json      all metrics
  judge.json           properties of the crystal
  training/            settings, log, state

Try next:
  mlff models show {folder}/model.pt
  mlff validate {folder}/model.pt {folder}/{symbol}-{result.teacher.model}.h5 --split test
  mlff lammps --help   run it in LAMMPS; docs/metals.md has an input file
  docs/metals.md       a student of several metals and their alloys"""
