"""Errors on the test sets: all together, by kind of geometry and element, in liquids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from students_page.measured import NAMES, row

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


def head(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Return what the students are and how they were judged."""
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


def table(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Return the errors beside what each student was to reach."""
    yield row("", *NAMES)
    yield row(*["---"] * 4)
    yield row("parameters", *(f"{one['model']['n_parameters']:,}" for one in found))
    for key, (label, form) in FIGURES.items():
        cells = []
        for k, one in enumerate(found):
            text = _with_interval(one, key, form)
            if key in GOALS:
                goal, floor = GOALS[key][k]
                text += f" [{goal:g}; {floor:g}]"
            cells.append(text)
        yield row(label, *cells)
    yield row("R² of force lengths, as older tables give it", *(f"{one['force_r2_magnitude']:.4f}" for one in found))
    yield ""


def groups(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Return the force errors by kind of geometry and by element."""
    for title, key, count, labels in (
        ("By kind of geometry", "by_kind", "n_structures", KINDS),
        ("By element", "by_element", "n_atoms", {}),
    ):
        yield f"## {title}\n"
        yield "Force MAE, eV/Å.\n"
        yield row("", count.replace("n_", ""), *NAMES)
        yield row(*["---"] * 5)
        for name, group in found[0][key].items():
            cells = (f"{one[key][name]['force_mae']:.3f}" for one in found)
            yield row(labels.get(name, name), f"{group[count]:,}", *cells)
        yield ""


def liquids(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Return the errors in liquids that were not learned from."""
    yield "## Liquids\n"
    yield f"""{found[0]["n_structures"]:,} frames of periodic boxes of about 100 atoms, 270 to 450 K (`test_liquids.h5`
of the same script): another box of water than those learned from, ten liquids that are not among the training's, and
water with ethanol.
"""
    yield row("", *NAMES)
    yield row(*["---"] * 4)
    for key, (label, form) in {**FIGURES, **OF_LIQUIDS}.items():
        yield row(label, *(_with_interval(one, key, form) for one in found))
    yield ""


def _with_interval(one: dict[str, Any], key: str, form: str) -> str:
    low, high = one["intervals"][key]
    return f"**{form.format(one[key])}** ({form.format(low)} to {form.format(high)})"
