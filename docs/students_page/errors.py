"""Errors on the test sets: all together, by kind of geometry and element, in liquids."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from students_page.measured import NAMES, RESULTS, row

CHOICE = {
    "organic-original": "the smallest errors",
    "organic-tiny": "most MD: start here",
    "organic-ultra-tiny": "long runs, large systems, first tests",
}
KINDS = {
    "minimum": "MMFF94 minimum", "rattle": "rattled", "strain": "strained", "torsion": "one torsion rotated",
    "stretch": "one bond stretched", "md": "GFN-FF dynamics, 300–1000 K", "descent": "relaxation path",
}  # fmt: skip
METRICS = {
    "force_r2": ("force R²", "{:.4f}"),
    "force_mae": ("force MAE, eV/Å", "{:.4f}"),
    "force_rmse": ("force RMSE, eV/Å", "{:.4f}"),
    "force_angle_mean_deg": ("mean angle, °", "{:.2f}"),
    "energy_mae_mev_per_atom": ("energy MAE, meV/atom", "{:.2f}"),
    "relative_energy_mae_mev_per_atom": ("energy MAE within a molecule, meV/atom", "{:.2f}"),
}
OF_LIQUIDS = {
    "stress_mae": ("stress MAE, eV/Å³", "{:.5f}"),
    "pressure_error_mean_bar": ("pressure, mean error, bar", "{:+.0f}"),
}
GOALS: dict[str, tuple[tuple[float, float], ...]] = {
    "force_r2": ((0.998, 0.993), (0.995, 0.988), (0.985, 0.960)),
    "force_mae": ((0.035, 0.065), (0.055, 0.085), (0.095, 0.16)),
    "force_angle_mean_deg": ((3, 6), (5, 8), (9, 14)),
    "energy_mae_mev_per_atom": ((2, 4), (3, 5), (5, 9)),
}
"""What each student was to reach, and the worst value that was accepted."""


def head(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Return which student to choose."""
    steps = json.loads((RESULTS / "cpu_kernel.json").read_text())["rows"]
    took = {(row["preset"], row["system"]): row["cpu_median_ms"] for row in steps}
    yield "# The shipped students\n"
    yield """Three trained students come with the package; this page helps you to choose one and shows its errors and
limits. Give the name of a student wherever a command asks for a model file:

```console
$ mlff predict organic-tiny ethanol.xyz
$ mlff models show organic-tiny
```

## Which student
"""
    yield row("student", "choose it for", "force MAE, eV/Å", "energy MAE, meV/atom", "step of 49 atoms, ms")
    yield row(*["---"] * 5)
    for name, one in zip(NAMES, found, strict=True):
        yield row(
            f"`{name}`",
            CHOICE[name],
            f"{one['force_mae']:.3f}",
            f"{one['energy_mae_mev_per_atom']:.1f}",
            f"{took[name.removeprefix('organic-'), '49 atoms']:.2g}",
        )
    yield f"""
- All three reproduce the teacher {found[0]["data"]["teacher"]["method"]} for **neutral, closed-shell molecules,
  clusters and liquids of H C N O F P S Cl**. All three have the same training data.
- If your system has ions, radicals, other elements, crystals or surfaces, use none of them: make a student of your
  own ([training](training.md)).
- If your result depends on torsion barriers, interaction energies or relaxed geometries, read the [limits](#limits)
  first.
- Times are for one MD step on one CPU core, neighbour search included ([benchmarks](benchmarks.md)).

This page is written by `python docs/make_students_page.py` from the files in `docs/students`.
"""


def table(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Return the errors with their intervals."""
    yield "## Errors on molecules that are not in the training data\n"
    yield f"""The test set has {found[0]["n_structures"]:,} geometries of {found[0]["n_molecules"]} molecules and
clusters. No molecule of the training data has one of their scaffolds. `examples/train/data/make_data.sh` makes the
set, and `mlff validate organic-original test_scaffolds.h5` measures the errors. Force errors are per Cartesian
component, over all kinds of geometry together. In parentheses: 95 % intervals by bootstrap over molecules.
[Goals](#goals) compares the values with what was planned.
"""
    yield row("", *NAMES)
    yield row(*["---"] * 4)
    yield row("parameters", *(f"{one['model']['n_parameters']:,}" for one in found))
    for key, (label, form) in METRICS.items():
        yield row(label, *(_with_interval(one, key, form) for one in found))
    yield row("R² of force lengths, as in older tables", *(f"{one['force_r2_magnitude']:.4f}" for one in found))
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
    """Return the errors in liquids that are not in the training data."""
    yield "## Liquids\n"
    yield f"""Errors on {found[0]["n_structures"]:,} frames of periodic boxes with about 100 atoms at 270 to 450 K.
The set is `test_liquids.h5` of the same script. It has a box of water that is not in the training data, ten liquids
that are not in the training data, and water with ethanol.
"""
    yield row("", *NAMES)
    yield row(*["---"] * 4)
    for key, (label, form) in {**METRICS, **OF_LIQUIDS}.items():
        yield row(label, *(_with_interval(one, key, form) for one in found))
    yield ""


def _with_interval(one: dict[str, Any], key: str, form: str) -> str:
    low, high = one["intervals"][key]
    return f"**{form.format(one[key])}** ({form.format(low)} to {form.format(high)})"
