"""How the students were trained: curves and a table of stages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from students_page.measured import EXAMPLES, NAMES, row, validations

from mlff_core.config import read_toml


def curves() -> Iterator[str]:
    """Return the learning curves and the tables of stages."""
    yield "## Learning curves\n"
    yield "![Force errors of the three students against training time](students/learning_curves.png)\n"
    yield """Each student was trained in stages; each stage starts from the weights of the stage before. The tables
show the data of each stage (number of structures, and number in the second set, which gives a share of every batch),
the settings that changed, and the errors on validation molecules at the end. From the second stage on, the validation
molecules include collisions, later also many pairs of atoms alone. Their energies are far from the others, so the
curves rise between stages. `examples/train/*.stages.toml` has all settings that differ from `examples/train`, and the
hashes of the data; the complete logs are in `docs/students`.
"""
    for name in NAMES:
        yield from _stages(name)


def _stages(name: str) -> Iterator[str]:
    yield f"### {name}\n"
    yield row(
        "stage", "structures", "second set", "learning rate", "energy weight", "core", "steps", "minutes on a core",
        "force MAE, eV/Å", "energy MAE, meV/atom",
    )  # fmt: skip
    yield row(*["---"] * 10)
    recipe, usual = read_toml(EXAMPLES / f"{name}.stages.toml"), read_toml(EXAMPLES / f"{name}.toml")
    for number, stage in enumerate(recipe["stage"], start=1):
        settings, last = stage["settings"], validations(name, number)[-1]
        second = stage["second_data"].get("n_structures")
        yield row(
            str(number),
            f"{stage['data']['n_structures']:,}",
            "" if second is None else f"{second:,}",
            f"{settings.get('optimizer.lr', usual['optimizer']['lr']):g}",
            f"{settings.get('loss.energy_weight', usual['loss']['energy_weight']):g}",
            "yes" if settings["model.core"] else "no",
            f"{int(last['step']):,}",
            f"{float(last['minutes']):.0f}",
            f"{float(last['val_force_mae']):.3f}",
            f"{float(last['val_energy_mae_mev_per_atom']):.1f}",
        )
    if numbers := recipe["average_of"]:
        yield f"\nThe shipped file is the mean of the weights at the ends of stages {', '.join(map(str, numbers))}."
    yield ""


def draw_curves(path: Path) -> None:
    """Draw the force MAE of the three students against training time, all stages in a row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for color, name in zip(("C0", "C1", "C2"), NAMES, strict=True):
        begun, number = 0.0, 1
        while rows := validations(name, number):
            minutes = [begun + float(row["minutes"]) for row in rows]
            errors = [float(row["val_force_mae"]) for row in rows]
            axes.plot(minutes, errors, color=color, lw=1.2, label=name if number == 1 else None)
            axes.plot(minutes[-1], errors[-1], ".", color=color, ms=7)
            begun, number = minutes[-1], number + 1
    axes.set(xlabel="minutes on one core", ylabel="force MAE on validation molecules, eV/Å", yscale="log")
    axes.set_yticks([0.05, 0.07, 0.1, 0.15, 0.2], ["0.05", "0.07", "0.1", "0.15", "0.2"])
    axes.minorticks_off()
    axes.legend(title="a point is the end of a stage")
    figure.savefig(path, dpi=110)
