"""Write ``docs/students.md`` from what ``examples/train/ship.py`` measured: ``python docs/make_students_page.py``."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGE = Path(__file__).with_name("students.md")
FOLDER = Path(__file__).with_name("students")
EXAMPLES = Path(__file__).parents[1] / "examples" / "train"
RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
NAMES = ("organic-original", "organic-tiny", "organic-ultra-tiny")
KINDS = {
    "minimum": "MMFF94 minimum", "rattle": "rattled", "strain": "strained", "torsion": "one torsion turned",
    "stretch": "one bond stretched", "md": "GFN-FF dynamics, 300–1000 K", "descent": "on the way to the minimum",
}  # fmt: skip
FIGURES = {
    "force_r2": ("force R²", "{:.4f}"),
    "force_mae": ("force MAE, eV/Å", "{:.4f}"),
    "force_rmse": ("force RMSE, eV/Å", "{:.4f}"),
    "force_angle_mean_deg": ("mean angle, °", "{:.2f}"),
    "energy_mae_mev_per_atom": ("energy MAE, meV/atom", "{:.2f}"),
    "relative_energy_mae_mev_per_atom": ("the same within molecules", "{:.2f}"),
}
OF_LIQUIDS = {
    "stress_mae": ("stress MAE, eV/Å³", "{:.5f}"),
    "pressure_error_mean_bar": ("pressure off, bar", "{:+.0f}"),
}
GOALS: dict[str, tuple[tuple[float, float], ...]] = {
    "force_r2": ((0.998, 0.993), (0.995, 0.988), (0.985, 0.960)),
    "force_mae": ((0.035, 0.065), (0.055, 0.085), (0.095, 0.16)),
    "force_angle_mean_deg": ((3, 6), (5, 8), (9, 14)),
    "energy_mae_mev_per_atom": ((2, 4), (3, 5), (5, 9)),
}
"""What each student was to reach, and the least that counts."""
CHECKS = ("nve", "langevin", "water", "relaxation", "frequencies", "torsions", "dimers", "s66")


def page() -> str:
    """Return the page."""
    found, liquids = _found("test_scaffolds"), _found("test_liquids")
    parts = (
        _head(found),
        _table(found),
        _groups(found),
        _liquids(liquids),
        _figures(),
        _curves(),
        _short(found),
        _making(),
        _limits(),
    )
    return "\n".join(line for part in parts for line in part)


def _found(test: str) -> list[dict[str, Any]]:
    """Return what was measured of the three on a test set."""
    return [json.loads((FOLDER / f"{name}.{test}.json").read_text()) for name in NAMES]


def _head(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    data = found[0]["data"]
    yield "# The shipped students\n"
    yield "Made by `python docs/make_students_page.py` from the JSON, figures and logs in `docs/students`.\n"
    yield f"""`organic-original`, `organic-tiny` and `organic-ultra-tiny` come with the package and work wherever a
model file does: `mlff predict organic-tiny molecule.xyz`. They know H C N O F P S Cl in neutral molecules, clusters and
liquids, imitate the teacher {data["teacher"]["method"]}, and all three learned from the same data.
"""
    yield f"""Judged on {found[0]["n_structures"]:,} geometries of {found[0]["n_molecules"]} molecules and clusters
whose scaffolds occur nowhere in training: `mlff validate organic-original test_scaffolds.h5`, where the set is made by
`examples/train/data/make_data.sh`. Forces by component, all kinds of geometry together, 95 % intervals by bootstrap
over molecules. In brackets what the student was meant to reach, and the least that was asked.
"""


def _table(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield _row("", *NAMES)
    yield _row(*["---"] * 4)
    yield _row("parameters", *(f"{one['model']['n_parameters']:,}" for one in found))
    for key, (label, form) in FIGURES.items():
        cells = []
        for k, one in enumerate(found):
            text = _with_interval(one, key, form)
            if key in GOALS:
                goal, floor = GOALS[key][k]
                text += f" [{goal:g}; {floor:g}]"
            cells.append(text)
        yield _row(label, *cells)
    yield _row("R² of force lengths, as older tables give it", *(f"{one['force_r2_magnitude']:.4f}" for one in found))
    yield ""


def _groups(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    for title, key, count, labels in (
        ("By kind of geometry", "by_kind", "n_structures", KINDS),
        ("By element", "by_element", "n_atoms", {}),
    ):
        yield f"## {title}\n"
        yield "Force MAE, eV/Å.\n"
        yield _row("", count.replace("n_", ""), *NAMES)
        yield _row(*["---"] * 5)
        for name, group in found[0][key].items():
            cells = (f"{one[key][name]['force_mae']:.3f}" for one in found)
            yield _row(labels.get(name, name), f"{group[count]:,}", *cells)
        yield ""


def _liquids(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "## Liquids\n"
    yield f"""{found[0]["n_structures"]:,} frames of periodic boxes of about 100 atoms, 270 to 450 K (`test_liquids.h5`
of the same script): another box of water than those learned from, ten liquids that are not among the training's, and
water with ethanol.
"""
    yield _row("", *NAMES)
    yield _row(*["---"] * 4)
    for key, (label, form) in {**FIGURES, **OF_LIQUIDS}.items():
        yield _row(label, *(_with_interval(one, key, form) for one in found))
    yield ""


def _with_interval(one: dict[str, Any], key: str, form: str) -> str:
    low, high = one["intervals"][key]
    return f"**{form.format(one[key])}** ({form.format(low)} to {form.format(high)})"


def _figures() -> Iterator[str]:
    yield "## Six panels\n"
    for name in NAMES:
        yield f"![Forces of {name} against the teacher's](students/{name}.png)\n"


def _curves() -> Iterator[str]:
    yield "## Learning curves\n"
    yield "![Force errors of the three against the minutes they learned](students/learning_curves.png)\n"
    yield """Each student learned in stages, which begin with the weights of the one before. The tables tell what a
stage learned from (structures, and those of the second set of which every batch takes a share), settings that changed,
and the errors on validation molecules at its end. Collisions are among those from the second stage on, later also many
pairs of bare atoms, whose energies are far from the rest: that is why the curves go up between stages. All settings
that are not those of `examples/train`, and the hashes of the data, are in `docs/students/*.stages.toml`, the logs in
full beside them.
"""
    for name in NAMES:
        yield from _stages(name)


def _stages(name: str) -> Iterator[str]:
    yield f"### {name}\n"
    yield _row(
        "stage", "structures", "second set", "learning rate", "energy weight", "core", "steps", "minutes on a core",
        "force MAE, eV/Å", "energy MAE, meV/atom",
    )  # fmt: skip
    yield _row(*["---"] * 10)
    with (FOLDER / f"{name}.stages.toml").open("rb") as file:
        told = tomllib.load(file)
    with (EXAMPLES / f"{name}.toml").open("rb") as file:
        usual = tomllib.load(file)
    for number, stage in enumerate(told["stage"], start=1):
        settings, last = stage["settings"], _validations(name, number)[-1]
        second = stage["second_data"].get("n_structures")
        yield _row(
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
    if numbers := told["average_of"]:
        yield f"\nThe shipped file is the mean of the weights at the ends of stages {', '.join(map(str, numbers))}."
    yield ""


def draw_curves(path: Path) -> None:
    """Draw the force MAE of the three over the minutes they learned, all stages in a row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for color, name in zip(("C0", "C1", "C2"), NAMES, strict=True):
        begun, number = 0.0, 1
        while rows := _validations(name, number):
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


def _short(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    yield "## Short of a goal\n"
    yield "What misses its goal, in bold; [physics](physics.md) has what is met too.\n"
    yield _row("", "goal", *NAMES)
    yield _row(*["---"] * 5)
    for key, goals in GOALS.items():
        label, form = FIGURES[key]
        best = max if key == "force_r2" else min
        missed = [best(one[key], goal) != one[key] for one, (goal, _) in zip(found, goals, strict=True)]
        if any(missed):
            asked = " / ".join(f"{goal:g}" for goal, _ in goals)
            values = [form.format(one[key]) for one in found]
            yield _row(label, asked, *(f"**{v}**" if m else v for v, m in zip(values, missed, strict=True)))
    for check in filter(_is_measured, CHECKS):
        for of_three in zip(*_of_check(check), strict=True):
            if any(one["passed"] is False for one in of_three):
                values = [f"{one['value']:g}" if one["passed"] else f"**{one['value']:g}**" for one in of_three]
                name, unit = of_three[0]["name"], of_three[0]["unit"]
                yield _row(f"{name}, {unit}" if unit else name, f"{of_three[0]['goal']:g}", *values)
    yield ""
    yield from _why(found)


def _why(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    share = json.loads((RESULTS / "long_range_share.json").read_text())
    compared = json.loads((RESULTS / "learned_and_unseen.json").read_text())
    learned = " / ".join(f"{compared['students'][name]['force_mae']:.4f}" for name in NAMES)
    unseen = " / ".join(f"{one['force_mae']:.4f}" for one in found)
    hours, epochs = zip(*(_learned_for(name) for name in NAMES), strict=True)
    s66 = share["s66_kcal_mol"]
    lacks, counts = (_lacking(share, key) for key in ("share_of_far_part_lacking", "share_of_squared_error"))
    lacks_s66, counts_s66 = (_lacking(s66, key) for key in ("share_of_far_part_lacking", "share_of_squared_error"))
    near = [sum(row["rmsd"] <= 0.05 for row in rows) for rows in _of_check("relaxation", "rows")]
    yield f"""**Forces.** It is neither the number of molecules nor the cutoff. On {compared["molecules"]} molecules
that the students learned from, the force MAE is {learned} eV/Å, on unseen scaffolds
{unseen} (`python -m benchmarks.learned_and_unseen`): nothing is remembered, so more
molecules would not help. Pairs beyond the cutoff make {share["force_mae_ev_per_angstrom"]:.3f} eV/Å of the teacher's
forces, but of that far part the students lack only {lacks} (zero where the fit is below it), which is
{counts} of their squared error (`python -m benchmarks.long_range_share`): environments
give it away. What is left is the size of the networks and how long they learned:
{" / ".join(f"{h:.1f}" for h in hours)} hours on one core, {" / ".join(f"{e:.0f}" for e in epochs)} times through
their data in all. Next: go on with the same files for hours on a GPU ([training](training.md)).

**Relaxed geometries.** {" / ".join(map(str, near))} of twenty molecules are within 0.05 Å. The others have bonds that
turn with little force: there a small error of the force moves the minimum far, some into the next valley. Next: minima
as a student finds them (`mlff relax`), labelled around with `near_minima.toml` and learned as the bound pairs are.

**Barriers.** Amides and disulfides are too easy to turn in the small two; the phosphate and neighbours that are both
polar (ethylene glycol, the dihaloethanes) in all three. Next: such fragments with more weight among the turned bonds.

**Imaginary modes.** Flat arrangements of glycine and N-methylacetamide, whose symmetry the way to the minimum keeps,
are saddle points of `organic-original`, by modes of 33i/cm at most.

**Bare pairs of atoms.** What attracts is {_attracting()}:
phosphorus is the rarest element of the data. No hole is deeper than the 0.1 eV that were allowed. Next: more such
pairs.

**Interaction energies.** Pairs beyond the cutoff make {s66["far_part_mean_size"]:.1f} kcal/mol of the mean pair of S66.
Of that the students lack {lacks_s66}, which is {counts_s66} of their squared error: so much
stays with this cutoff, the rest is learning. Next: longer learning, then charges with a sum over all pairs.
"""


def _lacking(of: dict[str, Any], key: str) -> str:
    """Return a share of the three students as percentages; what noise makes negative is zero."""
    return " / ".join(f"{max(0.0, one[key]):.1%}" for one in of["students"].values())


def _attracting() -> str:
    """Return which pairs of elements attract where they should not, student by student."""
    return ", ".join(
        (" and ".join(row["pair"] for row in rows if not row["is_repulsive"]) or "none") + f" in {name}"
        for name, rows in zip(NAMES, _of_check("dimers", "rows"), strict=True)
    )


def _learned_for(name: str) -> tuple[float, float]:
    """Return the hours and the epochs of all stages of a student."""
    hours, epochs, number = 0.0, 0.0, 1
    while rows := _validations(name, number):
        hours += float(rows[-1]["minutes"]) / 60
        epochs += float(rows[-1]["epoch"])
        number += 1
    return hours, epochs


def _making() -> Iterator[str]:
    yield """## How they were made

```
examples/train/data/make_data.sh data 2     # molecules, liquids, labels, test sets: four core-hours
examples/train/train_all.sh data 90 runs    # the three runs, each resumable
python examples/train/ship.py runs data && python docs/make_students_page.py
```

The shipped files were trained on a CPU in stages of these settings, each within `stop.budget_minutes` and from the
weights of the one before (`model.init_from`): first on the molecules, then with collisions, which taught them the
wall of the potential, then with a core (`model.core`) on the data without the teacher's own wells and with contacts
of small molecules, `loss.energy_weight` doubled halfway, and shortly with clashes within molecules too; then with
fragments whose bonds turn and with pairs as they bind, which weigh more than the rest (`make_data.sh`); then with a
box of a liquid in every batch, and with the stress of those too; then with pairs that bind strongly beside the boxes,
in two rounds, the second sampled by the `tiny` of the first; last with clashes and bare pairs of atoms beside those,
since all three had forgotten how some atoms repel that come too close: two stages and, for `tiny`, three, since in
the first bare pairs weighed too much, at the cost of the forces in molecules; `ultra-tiny` had a stage with clashes
before, and a last one with frames of its own breaking water (`liquids.py --breaking`): in the stages tried since the
stresses of liquids, a proton of its water at 300 K went over within 1.3 ps, and the box fell into itself. The last
stage of `original` began with the mean of the weights at the ends of the five before (`examples/train/average.py`)
and had half their learning rate; what is shipped of it is a mean too. Half of the boxes were sampled with the `tiny`
of the stage before, the other half with one that had learned from the first half for eight minutes. The stages divide
their molecules for validation anew, so that a later one's may have been trained on in an earlier one; the test set
above never was. The `molecules` part was labelled by the same recipe before the generator had it: made anew, it has
other random numbers. The cards hold the settings of the last stage in full (`mlff models show organic-original`); any
other is run again by the student's TOML file with the table above given as `--set`, and the model of the stage before
as `model.init_from`.
"""


def _limits() -> Iterator[str]:
    share = json.loads((RESULTS / "long_range_share.json").read_text())
    yield f"""## Limits

- Neutral, closed-shell systems only; total charge and spin are not seen.
- A cutoff of 5 Å. Pairs beyond it contribute {share["force_mae_ev_per_angstrom"]:.3f} eV/Å (mean by component,
  {share["share_of_force_variance"]:.1%} of the variance) to the teacher's forces on the test set, and
  {share["energy_mae_mev_per_atom"]:.1f} meV/atom to its energies (`python -m benchmarks.long_range_share`). Within a
  molecule the environments give it away; between molecules a part is lost, as said above.
- Two atoms alone still attract somewhere below 0.7 covalent lengths in {_physics("dimers", 0, "{:.0f}")}
  of the 36 pairs of elements, by at most {_physics("dimers", 1, "{:.2g}")} eV
  (`python -m benchmarks.physics dimers` lists them).
- Barriers of turning bonds are off by {_physics("torsions", 0, "{:.1f}")} kcal/mol in the mean of twenty molecules,
  in the small two most where a barrier is high: amides and disulfides are too easy to turn.
- Relaxed geometries are {_physics("relaxation", 0, "{:.2f}")} Å from the teacher's in the mean of twenty molecules:
  flexible ones slide along soft torsions, some into the next valley.
- Attraction between molecules is too weak: S66 energies are {_physics("s66", 0, "{:.1f}")} kcal/mol from the teacher's.
  [Physics](physics.md) has this and the other checks.
- Liquids were learned at constant volume, at 270 to 450 K and within 8 % of their density, from boxes of about 100
  atoms. Their pressure is off by what the table above says; densities under constant pressure were not measured.
  Crystals, surfaces, ions in solution and liquids of other kinds are unseen: let a student learn
  boxes of yours first ([training](training.md)).
- What the teacher has wrong, the students have too: its water has more structure than the measured one
  ([physics](physics.md)).
- Energies between different molecules are the teacher's weak side, and so the students'.
"""


def _of_check(check: str, part: str = "figures") -> list[Any]:
    """Return the figures, or another part, of a physics check of the three students."""
    return [json.loads((RESULTS / "physics" / name / f"{check}.json").read_text())[part] for name in NAMES]


def _is_measured(check: str) -> bool:
    """Say whether a physics check was made of all three."""
    return all((RESULTS / "physics" / name / f"{check}.json").exists() for name in NAMES)


def _physics(check: str, number: int, form: str) -> str:
    """Return a figure of a physics check of the three students."""
    return " / ".join(form.format(figures[number]["value"]) for figures in _of_check(check))


def _validations(name: str, stage: int) -> list[dict[str, str]]:
    """Return the validations of a stage out of its log, none if there is no such stage."""
    path = FOLDER / f"{name}.stage{stage}.csv"
    if not path.exists():
        return []
    with path.open() as file:
        return [row for row in csv.DictReader(file) if row["val_force_mae"]]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    draw_curves(FOLDER / "learning_curves.png")
    PAGE.write_text(page())
