"""What a Coulomb term of a student's own charges would gain between molecules, and what it would cost.

``python -m benchmarks coulomb_term MODEL… --set IHB100x10.extxyz.gz --set S66.py [--whole MODEL --charges MODEL]
[--cost MODEL]``. SO3LR adds ½ k Σ q q erf(r/4 Å)/r over all pairs of a molecule. Interaction energies are compared with
CCSD(T) at each distance, in units of that at equilibrium:

- ``without``: the student as it is;
- ``beyond 5 Å``: plus the Coulomb energy between atoms of different molecules, times a switch that rises smoothly from
  0 at 4 Å to 1 at 7 Å, so that what the network has learned within its cutoff of 5 Å is hardly counted twice;
- ``all pairs``: without the switch, between the molecules;
- ``all pairs, exact``: with charges of the separate molecules, shifted so that they sum to the molecules' charges;
- ``all pairs, exact, undamped``: the same with 1/r instead of erf(r/4 Å)/r;
- ``trained with it``, for a model given with ``--whole``, whose labels were made without the term (``python -m
  benchmarks coulomb_labels``): plus the Coulomb energy of all pairs of atoms, by the charges of ``--charges``.

``--cost`` times a step of 504 atoms of water with and without the term, see ``coulomb_cost.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

from benchmarks.command import parser, use_threads, write
from benchmarks.training.coulomb_cost import step_times
from mlff_core import load
from mlff_core.judging.references.sets import Complex, read_set
from mlff_core.potentials.frames import predict_frames
from mlff_core.potentials.interface import Potential
from mlff_core.units import COULOMB_EV_ANGSTROM, KCAL_MOL_PER_EV

DAMPING = 4.0
SWITCH = (4.0, 7.0)


def distances(positions: np.ndarray) -> np.ndarray:
    """Return distances, shape (n_atoms, n_atoms), Å, infinite on the diagonal, of positions (n_atoms, 3), Å."""
    r = np.linalg.norm(positions[:, None] - positions[None, :], axis=2)
    np.fill_diagonal(r, np.inf)
    return r


def damped(r: np.ndarray) -> np.ndarray:
    """Return k erf(r/4 Å)/r, eV/e², of distances of any shape, Å."""
    return COULOMB_EV_ANGSTROM * torch.erf(torch.from_numpy(r / DAMPING)).numpy() / r


def switch(r: np.ndarray) -> np.ndarray:
    """Return 6x⁵ − 15x⁴ + 10x³, which rises from 0 to 1 between 4 and 7 Å, of distances of any shape, Å."""
    x = np.clip((r - SWITCH[0]) / (SWITCH[1] - SWITCH[0]), 0.0, 1.0)
    return x**3 * (10.0 - 15.0 * x + 6.0 * x**2)


def whole_energy(atoms: Atoms, charges: np.ndarray) -> float:
    """Return the Coulomb energy of all pairs of atoms, eV; charges of shape (n_atoms,), e."""
    return 0.5 * float(charges @ damped(distances(atoms.positions)) @ charges)


def exact_sums(one: Complex, parts: list[np.ndarray]) -> np.ndarray:
    """Return charges of the separate molecules, shape (n_atoms,), e, shifted to sum to those of the molecules."""
    charges = np.empty(len(one.whole))
    for k, (part, own) in enumerate(zip(one.parts, parts, strict=True)):
        charges[one.whole.arrays["fragment"] == k] = own + (part.info["charge"] - own.sum()) / len(own)
    return charges


def between(one: Complex, charges: np.ndarray, parts: list[np.ndarray]) -> dict[str, float]:
    """Return the Coulomb energy between the molecules by variant, eV.

    Parameters
    ----------
    one
        The complex.
    charges
        Charges in the complex, shape (n_atoms,), e.
    parts
        Charges of each molecule alone, e.
    """
    fragment = one.whole.arrays["fragment"]
    r = np.where(fragment[:, None] != fragment[None, :], distances(one.whole.positions), np.inf)
    exact = exact_sums(one, parts)
    return {
        "without": 0.0,
        "beyond 5 Å": 0.5 * float(charges @ (damped(r) * switch(r)) @ charges),
        "all pairs": 0.5 * float(charges @ damped(r) @ charges),
        "all pairs, exact": 0.5 * float(exact @ damped(r) @ exact),
        "all pairs, exact, undamped": 0.5 * float(exact @ (COULOMB_EV_ANGSTROM / r) @ exact),
    }


def interactions(
    potential: Potential, complexes: tuple[Complex, ...], charges_of: Potential | None
) -> tuple[dict[str, np.ndarray], float]:
    """Return interaction energies by variant, each of shape (n_complexes,), kcal/mol, and the error of charges, e.

    The error is that of the sum of charges of a molecule alone, on average. ``charges_of`` gives the charges of a model
    that was trained with the term.
    """
    frames = [frame for one in complexes for frame in (one.whole, *one.parts)]
    rows = predict_frames(potential, frames, want=("energy", "charges"))
    given = rows if charges_of is None else predict_frames(charges_of, frames, want=("charges",))
    found: dict[str, list[float]] = {}
    off = []
    for k, one in enumerate(complexes):
        own = slice(3 * k, 3 * k + 3)
        energy, first, second = (row["energy"] for row in rows[own])
        whole, *parts = (row["charges"] for row in given[own])
        off += [abs(q.sum() - part.info["charge"]) for q, part in zip(parts, one.parts, strict=True)]
        added = between(one, whole, parts)
        if charges_of is not None:
            terms = [whole_energy(*pair) for pair in zip(frames[own], (whole, *parts), strict=True)]
            added = {"trained with it": terms[0] - terms[1] - terms[2]}
        for name, value in added.items():
            found.setdefault(name, []).append((energy - first - second + value) * KCAL_MOL_PER_EV)
    return {name: np.array(values) for name, values in found.items()}, float(np.mean(off))


def errors(potential: Potential, path: Path, charges_of: Potential | None) -> dict[str, Any]:
    """Return MAE, kcal/mol, by variant and distance, and the mean size of the reference's energies."""
    complexes = read_set(path).complexes
    energies, off = interactions(potential, complexes, charges_of)
    wanted = np.array([one.reference_kcal_mol for one in complexes])
    scalings = np.array([one.scaling for one in complexes])
    groups = {f"{s:g}": np.isclose(scalings, s) for s in np.unique(scalings.round(6))}
    return {
        "error_of_charge_of_a_molecule": off,
        "n": {name: int(members.sum()) for name, members in groups.items()},
        "mean_size": {name: float(np.abs(wanted[members]).mean()) for name, members in groups.items()},
        "mae": {
            variant: {name: float(np.abs(found - wanted)[members].mean()) for name, members in groups.items()}
            for variant, found in energies.items()
        },
    }


def main() -> None:
    options = parser(__doc__, "coulomb_term.json")
    options.add_argument("models", nargs="*", help="students with charges, trained without the term")
    options.add_argument("--whole", action="append", default=[], help="a student of labels without the Coulomb energy")
    options.add_argument("--set", dest="sets", action="append", type=Path, default=[])
    options.add_argument("--cost", help="a student whose step is timed")
    options.add_argument("--charges", help="the student whose charges are used for those of --whole")
    arguments = options.parse_args()
    use_threads(1)
    report: dict[str, Any] = {"switch_angstrom": SWITCH, "damping_angstrom": DAMPING, "interactions_kcal_mol": {}}
    for name in [*arguments.models, *arguments.whole]:
        potential = load(name, device="cpu", dtype="float64")
        is_whole = name in arguments.whole
        charges_of = load(arguments.charges or name, device="cpu", dtype="float64") if is_whole else None
        rows = {path.name.split(".")[0]: errors(potential, path, charges_of) for path in arguments.sets}
        report["interactions_kcal_mol"][potential.card.name] = rows
        for title, row in rows.items():
            print(potential.card.name, title)
            for variant, of in row["mae"].items():
                print(f"  {variant:28s}", *(f"{group} {value:.2f} " for group, value in of.items()))
    if arguments.cost:
        report["cost_water_504"] = step_times(arguments.cost)
        print(json.dumps(report["cost_water_504"], indent=1))
    write(arguments.out, report)


if __name__ == "__main__":
    main()
