"""All physics checks, each with its limit and its definition."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from mlff_core.errors import MlffError
from mlff_core.judging.definitions import OLDER
from mlff_core.judging.physics.dimer import dimer_curves
from mlff_core.judging.physics.frequencies import compare_frequencies, harmonic_frequencies
from mlff_core.judging.physics.nve import EnergyDrift, boxed, equilibrated, nve
from mlff_core.judging.physics.relaxation import relaxed
from mlff_core.judging.physics.result import Check, NVERun, PhysicsReport
from mlff_core.judging.physics.symmetry import cutoff_jump, force_consistency, invariances
from mlff_core.judging.physics.torsion import rotatable_bonds, torsion_scan
from mlff_core.judging.physics.trajectory import Trajectory
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch, concatenate

Progress = Callable[[str, int, int], None]

EXACT = {"float64": (1e-9, 1e-8), "float32": (1e-5, 1e-3)}
"""Limits of exact properties: eV/atom and eV/Å, a hundred times the rounding error."""

DRIFT_LIMIT = 0.1
"""meV/atom/ps: over a nanosecond of NVE this heats an atom by 100 meV, so any thermostat removes a smaller drift."""

N_EQUILIBRATION = 500
"""Steps of 0.5 fs in a bath of friction 20/ps, whose correlation time is 0.05 ps."""

MAX_SCANS = 4
MAX_HESSIAN_ATOMS = 30


def run_physics(
    potentials: Mapping[str, Potential],
    molecules: Mapping[str, AtomicBatch],
    *,
    reference: Potential | None = None,
    length_ps: float = 2.0,
    progress: Progress | None = None,
) -> PhysicsReport:
    """Return every check of one model.

    Parameters
    ----------
    potentials
        The same model by precision, ``"float64"`` and ``"float32"``, or one of them.
    molecules
        Molecules by name; with their hydrogens, without cell.
    reference
        Potential to compare frequencies and torsions with, such as the teacher.
    length_ps
        Length of each energy-conservation run, ps.
    progress
        Called with (stage, steps done, number of steps).
    """
    report = PhysicsReport()
    best = potentials.get("float64") or next(iter(potentials.values()))
    precision = "float64" if best.dtype == torch.float64 else "float32"
    with _guarded(report, "invariances"):
        _exact(report, best, molecules, precision)
    with _guarded(report, "dimer curves"):
        _dimers(report, best)
    minima = {}
    for k, (name, molecule) in enumerate(molecules.items()):
        _report(progress, "relaxing", k, len(molecules))
        with _guarded(report, f"minimum of {name}"):
            minima[name] = relaxed(best, molecule)
    _nve(report, potentials, best, minima, length_ps, progress)
    _vibrations(report, best, reference, minima, progress)
    if reference is not None:
        _torsions(report, best, reference, molecules, progress)
    return report


@contextmanager
def _guarded(report: PhysicsReport, name: str) -> Iterator[None]:
    """Turn an error of ours into a failed check, so that the other checks still run."""
    try:
        yield
    except MlffError as error:
        report.checks.append(Check(name, None, "", 0.0, f"error: {error}"))


def _report(progress: Progress | None, stage: str, done: int, total: int) -> None:
    if progress is not None:
        progress(stage, done, total)


def _exact(report: PhysicsReport, potential: Potential, molecules: Mapping[str, AtomicBatch], precision: str) -> None:
    both = [*molecules.values(), *(boxed(molecule) for molecule in molecules.values())]
    energy_limit, force_limit = EXACT[precision]
    for name, deviation in invariances(potential, concatenate(both)).items():
        if name in ("momentum", "torque"):
            unit = "eV/Å" if name == "momentum" else "eV"
            definition = f"largest net {'force' if name == 'momentum' else 'torque'} on a structure, {precision}"
            report.checks.append(Check(f"net {name}", deviation.forces, unit, 10 * force_limit, definition))
            continue
        definition = f"largest change under a random {name}, molecules and triclinic cells, {precision}"
        report.checks.append(Check(f"{name}: energy", deviation.energy, "eV/atom", energy_limit, definition))
        report.checks.append(Check(f"{name}: forces", deviation.forces, "eV/Å", force_limit, definition))
    consistency = force_consistency(potential, concatenate(both), step=1e-3 if precision == "float64" else 1e-2)
    limit = 1e-6 if precision == "float64" else 1e-2
    definition = f"largest difference between forces and −dE/dx, five-point formula, {precision}"
    report.checks.append(Check("forces are minus the gradient of the energy", consistency, "eV/Å", limit, definition))
    if potential.card.cutoff > 0:
        jumps = [cutoff_jump(potential, molecule) for molecule in molecules.values()]
        definition = "largest change as a pair of atoms of two molecules comes within the cutoff, 2e-6 Å apart"
        energy, forces = max(j.energy for j in jumps), max(j.forces for j in jumps)
        exact = precision == "float64"
        report.checks.append(Check("jump at the cutoff: energy", energy, "eV", 1e-8 if exact else 1e-3, definition))
        report.checks.append(Check("jump at the cutoff: forces", forces, "eV/Å", 1e-8 if exact else 1e-2, definition))


def _dimers(report: PhysicsReport, potential: Potential) -> None:
    report.dimers = dimer_curves(potential)
    attractive = [curve.symbols for curve in report.dimers if not curve.is_repulsive]
    definition = "pairs of elements that attract each other below 0.7 sums of covalent radii, down to 0.5 Å"
    if attractive:
        definition += f": {', '.join(attractive)}"
    report.checks.append(Check("dimers without a wall", float(len(attractive)), "pairs", 0.0, definition))
    deepest = max(report.dimers, key=lambda curve: curve.hole_depth)
    definition = f"largest drop of the energy from 0.7 sums of covalent radii inwards to 0.5 Å; in {deepest.symbols}"
    report.checks.append(Check("deepest hole in a dimer", deepest.hole_depth, "eV", 0.1, definition))


def _nve(
    report: PhysicsReport,
    potentials: Mapping[str, Potential],
    best: Potential,
    minima: Mapping[str, AtomicBatch],
    length_ps: float,
    progress: Progress | None,
) -> None:
    systems: dict[tuple[str, bool], AtomicBatch] = {(name, False): minimum for name, minimum in minima.items()}
    for k, (name, minimum) in enumerate(minima.items()):
        _report(progress, "relaxing in a cell", k, len(minima))
        with _guarded(report, f"minimum of {name} in a cell"):
            systems[name, True] = relaxed(best, boxed(minimum))
    # Any precision can equilibrate; only the runs that follow are checked.
    bath = potentials.get("float32", best)
    started: dict[tuple[str, bool], Trajectory] = {}
    for key, start in _equilibrated_together(bath, systems, progress).items():
        if isinstance(start, str):
            report.runs.extend(NVERun(key[0], precision, key[1], start) for precision in potentials)
        else:
            started[key] = start
    n_steps = round(length_ps * 2000)
    for precision, potential in potentials.items():
        stage = f"energy conservation, {precision}"
        if started:
            found = nve(
                potential,
                list(started.values()),
                length_ps=length_ps,
                progress=lambda step, stage=stage: _report(progress, stage, step, n_steps),  # type: ignore[misc]
            )
            report.runs.extend(
                NVERun(name, precision, periodic, one) for (name, periodic), one in zip(started, found, strict=True)
            )
        for periodic in (False, True):
            runs = [run for run in report.runs if run.precision == precision and run.periodic == periodic]
            _drift_checks(report, runs, f"{'periodic' if periodic else 'vacuum'}, {precision}")


def _equilibrated_together(
    potential: Potential, systems: Mapping[tuple[str, bool], AtomicBatch], progress: Progress | None
) -> dict[tuple[str, bool], Trajectory | str]:
    """Return each system's state after equilibration, or its error; all in one batch unless one fails."""

    def on_step(step: int) -> None:
        _report(progress, "equilibrating", step, N_EQUILIBRATION)

    length_ps = N_EQUILIBRATION * 0.5e-3
    if not systems:
        return {}
    try:
        together = equilibrated(
            potential, concatenate(list(systems.values())), length_ps=length_ps, timestep_fs=0.5, progress=on_step
        )
        return dict(zip(systems, together.split(), strict=True))
    except MlffError as error:
        if len(systems) == 1:
            return dict.fromkeys(systems, f"equilibration error: {error}")
        found: dict[tuple[str, bool], Trajectory | str] = {}
        for key, batch in systems.items():
            found.update(_equilibrated_together(potential, {key: batch}, progress))
        return found


def _drift_checks(report: PhysicsReport, runs: Sequence[NVERun], where: str) -> None:
    if not runs:
        return
    drifts = [run.found for run in runs if isinstance(run.found, EnergyDrift)]
    broken = [f"{run.system}: {run.found}" for run in runs if isinstance(run.found, str)]
    if broken:
        definition = f"error: {'; '.join(broken)}"
        report.checks.append(Check(f"NVE drift ({where})", None, "meV/atom/ps", DRIFT_LIMIT, definition))
        return
    worst = max(drifts, key=lambda drift: abs(drift.drift_mev_per_atom_per_ps))
    about = f"worst of {len(drifts)} relaxed and equilibrated molecules, {worst.length_ps:g} ps at 0.5 fs"
    for name, value, unit, limit, definition in (
        ("NVE drift", worst.drift_mev_per_atom_per_ps, "meV/atom/ps", DRIFT_LIMIT, "gradient of a line fitted to E(t)"),
        (
            "NVE largest deviation",
            max(drift.max_deviation_mev_per_atom for drift in drifts),
            "meV/atom",
            None,
            "largest |E(t) − E(0)|",
        ),
        (
            "NVE score",
            max(drift.score for drift in drifts),
            "",
            1.0,
            "|gradient| × length / σ(kinetic energy), mlipaudit's ratio",
        ),
        (
            f"NVE drift, {OLDER}",
            max(drift.drift_percent_of_total for drift in drifts),
            "% of |E|",
            None,
            "100 |E(end) − E(0)| / |E(0)|, depends on the zero of energy",
        ),
    ):
        report.checks.append(Check(f"{name} ({where})", value, unit, limit, f"{definition}; {about}"))


def _vibrations(
    report: PhysicsReport,
    potential: Potential,
    reference: Potential | None,
    minima: Mapping[str, AtomicBatch],
    progress: Progress | None,
) -> None:
    small = {name: minimum for name, minimum in minima.items() if minimum.n_atoms <= MAX_HESSIAN_ATOMS}
    for k, (name, minimum) in enumerate(small.items()):
        _report(progress, "frequencies", k, len(small))
        with _guarded(report, f"frequencies of {name}"):
            if reference is None:
                at_rest = relaxed(potential, minimum, fmax=1e-3)
                report.frequencies[name] = harmonic_frequencies(potential, at_rest), np.zeros(0)
            else:
                report.frequencies[name] = compare_frequencies(potential, reference, minimum)
    if not report.frequencies:
        return
    imaginary = sum(int((found < -30).sum()) for found, _ in report.frequencies.values())
    definition = "modes below −30 1/cm at relaxed minima"
    report.checks.append(Check("imaginary frequencies", float(imaginary), "modes", None, definition))
    if reference is not None:
        errors = np.concatenate([np.abs(found - other) for found, other in report.frequencies.values()])
        against = f"against {reference.card.name}, each at its own minimum, modes in ascending order"
        report.checks.append(Check("frequencies, mean error", float(errors.mean()), "1/cm", None, against))
        report.checks.append(Check("frequencies, largest error", float(errors.max()), "1/cm", None, against))


def _torsions(
    report: PhysicsReport,
    potential: Potential,
    reference: Potential,
    molecules: Mapping[str, AtomicBatch],
    progress: Progress | None,
) -> None:
    scans = [(name, molecule, bond) for name, molecule in molecules.items() for bond in rotatable_bonds(molecule)]
    # One bond of every molecule before a second bond of any molecule.
    order = sorted(range(len(scans)), key=lambda k: sum(scans[i][0] == scans[k][0] for i in range(k)))
    for done, k in enumerate(order[:MAX_SCANS]):
        _report(progress, "torsions", done, min(len(scans), MAX_SCANS))
        name, molecule, bond = scans[k]
        with _guarded(report, f"torsion scan of {name}"):
            scan = torsion_scan(potential, reference, molecule, bond)
            if scan is not None:
                report.torsions[f"{name}, bond {bond[0]}-{bond[1]}"] = scan
    if report.torsions:
        error = float(np.mean([scan.mae_mev for scan in report.torsions.values()]))
        definition = f"mean error of relative energies along {len(report.torsions)} rigid scans, {reference.card.name}"
        report.checks.append(Check("torsion scans", error, "meV", None, definition))
