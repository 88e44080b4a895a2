"""Checks of the physics that every potential must obey; each raises AssertionError if it fails.

The measurements are in :mod:`mlff_core.potentials.measurements`; structures, steps and tolerances are here.
Each takes any object with ``predict``: the same checks run on a model, a teacher, an exported file and a model that is
evaluated through an MD engine.
"""

from __future__ import annotations

from unittest import SkipTest

import numpy as np
import torch
from ase import Atoms

from mlff_core.potentials import measurements
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch, concatenate
from mlff_core.structures.difference import force_scale
from mlff_core.structures.prediction import Prediction
from mlff_core.testing import structures
from mlff_core.testing.tolerances import assert_prediction_close
from mlff_core.tolerance import Tolerance

INVARIANCE_FLOAT32 = Tolerance(energy=1e-5, forces=1e-4, stress=1e-5)
INVARIANCE_FLOAT64 = Tolerance(energy=1e-10, forces=1e-9, stress=1e-10)
GRADIENT = {torch.float32: 2e-3, torch.float64: 1e-6}
"""Largest deviation of a force from its finite difference, relative to max(1 eV/Å, largest force)."""

STEP = {torch.float32: 1e-2, torch.float64: 2e-3}
"""Å; rounding errors of float32 energies need a wide stencil."""


def invariance_tolerance(potential: Potential) -> Tolerance:
    """Return the tolerance between two equivalent forms of one structure in the potential's precision."""
    return INVARIANCE_FLOAT64 if potential.dtype == torch.float64 else INVARIANCE_FLOAT32


def predict(potential: Potential, atoms: Atoms | list[Atoms]) -> Prediction:
    """Return energy, forces and, if the potential supports it and each structure has a cell, the stress."""
    frames = [atoms] if isinstance(atoms, Atoms) else atoms
    want = {"energy", "forces"}
    if "stress" in potential.supports and all(frame.pbc.any() for frame in frames):
        want.add("stress")
    found = potential.predict(structures.to_batch(frames), want=want)
    if found.forces is None:
        raise AssertionError("forces were requested, None was returned")
    return found


def check_forces_are_the_gradient_of_the_energy(
    potential: Potential, atoms: Atoms, *, tolerance: float | None = None
) -> None:
    """Check forces against four-point differences of the energy along three dense random directions.

    Parameters
    ----------
    potential
        The potential to check.
    atoms
        The structure.
    tolerance
        Relative to max(1 eV/Å, largest force); None takes the default of the precision.
    """
    tolerance = GRADIENT[potential.dtype] if tolerance is None else tolerance
    forces, batch = measurements.forces_of(predict(potential, atoms)), structures.to_batch(atoms)
    allowed = tolerance * force_scale(forces)
    random = np.random.RandomState(5)
    for k in range(3):
        direction = torch.from_numpy(random.normal(size=(len(atoms), 3)))
        by_energy, by_forces = measurements.forces_along(potential, batch, forces, direction, STEP[potential.dtype])
        wanted, found = float(by_energy[0]), float(by_forces[0])
        if not abs(found - wanted) <= allowed:
            raise AssertionError(
                f"forces: along random direction {k} they are {found:.8f} eV/Å, the energy falls by {wanted:.8f} eV/Å; "
                f"off by {abs(found - wanted):.1e}, at most {allowed:.1e} is allowed"
            )


def check_stress_is_the_strain_derivative(
    potential: Potential, atoms: Atoms, *, tolerance: float | None = None
) -> None:
    """Check all six components of the stress against four-point differences of the energy under strain.

    ``tolerance`` is in eV/Å³; None takes the default of the precision.
    """
    if "stress" not in potential.supports:
        raise SkipTest("the potential gives no stress")
    tolerance = {torch.float32: 2e-5, torch.float64: 1e-7}[potential.dtype] if tolerance is None else tolerance
    stress = predict(potential, atoms).stress
    if stress is None:
        raise AssertionError("stress was requested for a periodic structure, None was returned")
    stress = stress[0].cpu().double()
    if not bool(((stress - stress.T).abs() <= tolerance).all()):
        raise AssertionError(f"stress is not symmetric: {stress.tolist()} eV/Å³")
    batch = structures.to_batch(atoms)
    for a, b in ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)):
        wanted = float(measurements.stress_by_strain(potential, batch, a, b, STEP[potential.dtype] / 2)[0])
        if not abs(wanted - float(stress[a, b])) <= tolerance:
            raise AssertionError(
                f"stress: component {'xyz'[a]}{'xyz'[b]} is {float(stress[a, b]):.4e} eV/Å³, the energy's strain "
                f"derivative is {wanted:.4e}; off by {abs(wanted - float(stress[a, b])):.1e}, "
                f"at most {tolerance:.1e} is allowed"
            )


def check_translation_changes_nothing(potential: Potential, atoms: Atoms, tolerance: Tolerance | None = None) -> None:
    """Check that a rigid shift does not change energy, forces and stress."""
    shift = torch.tensor([1.3, -0.7, 2.9], dtype=torch.float64)
    moved = measurements.translated(structures.to_batch(atoms), predict(potential, atoms), shift)
    _compare(potential, moved, tolerance, "translated")


def check_lattice_vectors_change_nothing(
    potential: Potential, atoms: Atoms, tolerance: Tolerance | None = None
) -> None:
    """Check that moving each atom by different lattice vectors changes nothing, wrapped or not."""
    wanted = predict(potential, atoms)
    for seed in (11, 12):
        moved = structures.to_batch(structures.moved_by_lattice_vectors(atoms, seed))
        _compare(potential, (moved, wanted), tolerance, "atoms moved by lattice vectors")


def check_rotation_turns_forces_and_stress(
    potential: Potential, atoms: Atoms, tolerance: Tolerance | None = None
) -> None:
    """Check that rotating structure and cell rotates forces and stress and does not change the energy."""
    rotation = measurements.random_rotation(torch.Generator().manual_seed(2))
    turned = measurements.rotated(structures.to_batch(atoms), predict(potential, atoms), rotation)
    _compare(potential, turned, tolerance, "rotated")


def check_inversion_reverses_forces(potential: Potential, atoms: Atoms, tolerance: Tolerance | None = None) -> None:
    """Check that the mirror image through the origin has reversed forces and the same energy and stress."""
    inverted = measurements.inverted(structures.to_batch(atoms), predict(potential, atoms))
    _compare(potential, inverted, tolerance, "inverted")


def check_permutation_permutes_forces(potential: Potential, atoms: Atoms, tolerance: Tolerance | None = None) -> None:
    """Check that permuting the atoms permutes their forces."""
    order = torch.from_numpy(np.random.RandomState(4).permutation(len(atoms)))
    permuted = measurements.permuted(structures.to_batch(atoms), predict(potential, atoms), order)
    _compare(potential, permuted, tolerance, "permuted")


def check_batch_equals_singles(potential: Potential, frames: list[Atoms], tolerance: Tolerance | None = None) -> None:
    """Check that structures evaluated together have the same results as alone."""
    singles = [potential.predict(structures.to_batch(frame)) for frame in frames]
    together = Prediction(
        energy=torch.cat([single.energy for single in singles]),
        forces=torch.cat([measurements.forces_of(single) for single in singles]),
    )
    batch = concatenate([structures.to_batch(frame) for frame in frames])
    tolerance = invariance_tolerance(potential) if tolerance is None else tolerance
    assert_prediction_close(potential.predict(batch), together, batch, tolerance, "batch against singles")


def check_atom_energies_sum_to_the_energy(potential: Potential, atoms: Atoms) -> None:
    """Check that the atom energies sum to the energy."""
    if "atom_energies" not in potential.supports:
        raise SkipTest("the potential gives no atom energies")
    prediction = potential.predict(structures.to_batch(atoms), want=("energy", "atom_energies"))
    if prediction.atom_energies is None:
        raise AssertionError("atom energies were requested, None was returned")
    total, energy = float(prediction.atom_energies.double().sum()), float(prediction.energy[0])
    allowed = max(1e-9 * abs(energy), invariance_tolerance(potential).energy * len(atoms))
    if not abs(total - energy) <= allowed:
        raise AssertionError(f"atom energies sum to {total:.8f} eV, the energy is {energy:.8f} eV")


def check_energy_is_extensive(potential: Potential, atoms: Atoms, tolerance: Tolerance | None = None) -> None:
    """Check that two distant copies of a molecule, or a doubled cell, have twice the energy and the same forces."""
    distance = 2 * potential.card.cutoff + 20.0
    doubled = measurements.doubled(structures.to_batch(atoms), predict(potential, atoms), distance)
    _compare(potential, doubled, tolerance, "doubled")


def check_nothing_jumps_at_the_cutoff(potential: Potential, numbers: tuple[int, int, int] = (6, 8, 1)) -> None:
    """Check that energy and forces of three atoms are continuous when one of them crosses the cutoff.

    Crossing by ±δ may change the energy by its derivative times 2δ only; δ = 10⁻⁴ Å.
    """
    cutoff, delta = potential.card.cutoff, 1e-4
    if not cutoff > 0:
        raise SkipTest("the potential has no cutoff")

    def at(distance: float) -> AtomicBatch:
        return structures.to_batch(Atoms(numbers=numbers, positions=[[0, 0, 0], [distance, 0, 0], [0, 1.2, 0.1]]))

    energy, forces = measurements.jump(potential, at(cutoff - delta), at(cutoff + delta))
    energy_step, force_step = abs(energy.found - energy.wanted), forces.largest
    allowed = (1e-6 if potential.dtype == torch.float64 else 1e-4) * forces.scale
    if not (energy_step <= allowed and force_step <= allowed):
        raise AssertionError(
            f"at the cutoff of {cutoff} Å the energy jumps by {energy_step:.1e} eV and a force by "
            f"{force_step:.1e} eV/Å within {2 * delta} Å; at most {allowed:.1e} is allowed"
        )


def check_neighbors_given_or_searched_agree(potential: Potential, atoms: Atoms) -> None:
    """Check that passing a neighbour list that includes pairs beyond the cutoff changes nothing."""
    if not potential.uses_edges:
        raise SkipTest("the potential accepts no neighbour list")
    from mlff_core.structures.neighbors import find_neighbors

    batch = structures.to_batch(atoms)
    edges = find_neighbors(batch, potential.card.cutoff + 0.7)
    assert_prediction_close(
        potential.predict(batch, edges=edges),
        potential.predict(batch),
        batch,
        invariance_tolerance(potential),
        "a given neighbour list",
    )


def check_everything(potential: Potential) -> None:
    """Run every check of this module on suitable structures.

    Raises
    ------
    AssertionError
        A check fails; the first failure is raised.
    """
    molecule, crystal = structures.ethanol(), structures.triclinic_crystal()
    for atoms in (molecule, crystal):
        check_forces_are_the_gradient_of_the_energy(potential, atoms)
        check_translation_changes_nothing(potential, atoms)
        check_rotation_turns_forces_and_stress(potential, atoms)
        check_inversion_reverses_forces(potential, atoms)
        check_permutation_permutes_forces(potential, atoms)
        check_energy_is_extensive(potential, atoms)
    check_lattice_vectors_change_nothing(potential, crystal)
    check_batch_equals_singles(potential, [molecule, crystal, structures.one_atom(), structures.slab()])
    if "stress" in potential.supports:
        check_stress_is_the_strain_derivative(potential, crystal)
    if "atom_energies" in potential.supports:
        check_atom_energies_sum_to_the_energy(potential, crystal)
    check_nothing_jumps_at_the_cutoff(potential)


def _compare(potential: Potential, moved: measurements.Moved, tolerance: Tolerance | None, what: str) -> None:
    batch, wanted = moved
    want = {"energy", "forces"} if wanted.stress is None else {"energy", "forces", "stress"}
    tolerance = invariance_tolerance(potential) if tolerance is None else tolerance
    assert_prediction_close(potential.predict(batch, want=want), wanted, batch, tolerance, what)
