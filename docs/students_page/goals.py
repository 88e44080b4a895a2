"""Which goals are missed, why, and what to try next."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from students_page.errors import GOALS, METRICS
from students_page.measured import NAMES, RESULTS, is_measured, learned_for, of_check, row

CHECKS = ("nve", "langevin", "water", "relaxation", "frequencies", "torsions", "dimers", "s66")


def short(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Return the goals for the errors, the goals missed in the physics checks, and why."""
    yield "## Goals\n"
    yield """Each student had a goal for each error, and a worst value that was still accepted. Values are
in the order original / tiny / ultra-tiny. **Bold: the goal is missed.** The table has all errors, and from the
physics checks those in which a goal is missed; [physics](physics.md) has all checks.
"""
    yield row("", "goal", "worst accepted", *NAMES)
    yield row(*["---"] * 6)
    for key, goals in GOALS.items():
        label, form = METRICS[key]
        best = max if key == "force_r2" else min
        missed = [best(one[key], goal) != one[key] for one, (goal, _) in zip(found, goals, strict=True)]
        asked, worst = (" / ".join(f"{values:g}" for values in column) for column in zip(*goals, strict=True))
        values = [form.format(one[key]) for one in found]
        yield row(label, asked, worst, *(f"**{v}**" if m else v for v, m in zip(values, missed, strict=True)))
    for check in filter(is_measured, CHECKS):
        for of_three in zip(*of_check(check), strict=True):
            if any(one["passed"] is False for one in of_three):
                values = [f"{one['value']:g}" if one["passed"] else f"**{one['value']:g}**" for one in of_three]
                name, unit = of_three[0]["name"], of_three[0]["unit"]
                yield row(f"{name}, {unit}" if unit else name, f"{of_three[0]['goal']:g}", "", *values)
    yield ""
    yield from _why(found)


def _why(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    share = json.loads((RESULTS / "long_range_share.json").read_text())
    compared = json.loads((RESULTS / "learned_and_unseen.json").read_text())
    learned = " / ".join(f"{compared['students'][name]['force_mae']:.4f}" for name in NAMES)
    unseen = " / ".join(f"{one['force_mae']:.4f}" for one in found)
    hours, epochs = zip(*(learned_for(name) for name in NAMES), strict=True)
    s66 = share["s66_kcal_mol"]
    lacks, counts = (_lacking(share, key) for key in ("share_of_far_part_lacking", "share_of_squared_error"))
    lacks_s66, counts_s66 = (_lacking(s66, key) for key in ("share_of_far_part_lacking", "share_of_squared_error"))
    near = [sum(row["rmsd"] <= 0.05 for row in rows) for rows in of_check("relaxation", "rows")]
    yield f"""### Why these goals are missed, and what to try next

**Forces.** More molecules and a larger cutoff would not help. On {compared["molecules"]} molecules of the training
data the force MAE is {learned} eV/Å; on unseen scaffolds it is
{unseen} (`python -m benchmarks learned_and_unseen`). So the students do not overfit.
Pairs beyond the cutoff contribute {share["force_mae_ev_per_angstrom"]:.3f} eV/Å to the teacher's forces. The students
miss only {lacks} of this contribution (zero where the fit is below zero), which is
{counts} of their squared error (`python -m benchmarks long_range_share`): the local
environment predicts the rest. The remaining causes are the size of the networks and the training time:
{" / ".join(f"{h:.1f}" for h in hours)} hours on one core, {" / ".join(f"{e:.0f}" for e in epochs)} epochs in
total. Next: continue the training from the same files for hours on a GPU ([training](training.md)).

**Relaxed geometries.** {" / ".join(map(str, near))} of twenty molecules are within 0.05 Å. The other molecules have
bonds that rotate with little force. There a small force error moves the minimum far, sometimes into the next valley.
Next: take the minima that a student finds (`mlff relax`), label structures around them with `near_minima.toml`, and
train on them as on the bound pairs.

**Barriers.** The barriers of amides and disulfides are too low in `organic-tiny` and `organic-ultra-tiny`. Those of
the phosphate and of molecules with two polar neighbours (ethylene glycol, the dihaloethanes) are too low in all
three. Next: give such fragments more weight among the torsion data.

**Imaginary modes.** Flat geometries of glycine and N-methylacetamide are saddle points of `organic-original`, with
modes of at most 33i/cm. The relaxation keeps the symmetry of the flat geometry and so ends there.

**Pairs of atoms alone.** These pairs attract each other where they should repel: {_attracting()}.
Phosphorus is the rarest element of the data. No well is deeper than the accepted 0.1 eV. Next: more such pairs.

**Interaction energies.** Pairs beyond the cutoff contribute {s66["far_part_mean_size"]:.1f} kcal/mol to the mean pair
of S66. The students miss {lacks_s66} of this contribution, which is {counts_s66} of their squared error.
This part remains with a cutoff of 5 Å; more training can reduce the rest. Next: longer training, then charges with a
sum over all pairs.
"""


def _lacking(of: dict[str, Any], key: str) -> str:
    """Return a share of the three students as percentages; what noise makes negative is zero."""
    return " / ".join(f"{max(0.0, one[key]):.1%}" for one in of["students"].values())


def _attracting() -> str:
    """Return which pairs of elements attract where they should not, student by student."""
    return ", ".join(
        (" and ".join(row["pair"] for row in rows if not row["is_repulsive"]) or "none") + f" in {name}"
        for name, rows in zip(NAMES, of_check("dimers", "rows"), strict=True)
    )
