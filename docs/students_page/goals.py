"""What is short of a goal, why, and what to try next."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from students_page.errors import FIGURES, GOALS
from students_page.measured import NAMES, RESULTS, is_measured, learned_for, of_check, row

CHECKS = ("nve", "langevin", "water", "relaxation", "frequencies", "torsions", "dimers", "s66")


def short(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Return what misses its goal, and why."""
    yield "## Short of a goal\n"
    yield "What misses its goal, in bold; [physics](physics.md) has what is met too.\n"
    yield row("", "goal", *NAMES)
    yield row(*["---"] * 5)
    for key, goals in GOALS.items():
        label, form = FIGURES[key]
        best = max if key == "force_r2" else min
        missed = [best(one[key], goal) != one[key] for one, (goal, _) in zip(found, goals, strict=True)]
        if any(missed):
            asked = " / ".join(f"{goal:g}" for goal, _ in goals)
            values = [form.format(one[key]) for one in found]
            yield row(label, asked, *(f"**{v}**" if m else v for v, m in zip(values, missed, strict=True)))
    for check in filter(is_measured, CHECKS):
        for of_three in zip(*of_check(check), strict=True):
            if any(one["passed"] is False for one in of_three):
                values = [f"{one['value']:g}" if one["passed"] else f"**{one['value']:g}**" for one in of_three]
                name, unit = of_three[0]["name"], of_three[0]["unit"]
                yield row(f"{name}, {unit}" if unit else name, f"{of_three[0]['goal']:g}", *values)
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
    yield f"""**Forces.** It is neither the number of molecules nor the cutoff. On {compared["molecules"]} molecules
that the students learned from, the force MAE is {learned} eV/Å, on unseen scaffolds
{unseen} (`python -m benchmarks learned_and_unseen`): nothing is remembered, so more
molecules would not help. Pairs beyond the cutoff make {share["force_mae_ev_per_angstrom"]:.3f} eV/Å of the teacher's
forces, but of that far part the students lack only {lacks} (zero where the fit is below it), which is
{counts} of their squared error (`python -m benchmarks long_range_share`): environments
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
        for name, rows in zip(NAMES, of_check("dimers", "rows"), strict=True)
    )
