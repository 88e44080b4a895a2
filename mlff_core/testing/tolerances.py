"""Comparisons that say which quantity is off, by how much, and where."""

from __future__ import annotations

import torch
from torch import Tensor

from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.prediction import Prediction
from mlff_core.tolerance import Tolerance, force_scale

_AXES = "xyz"


def scaled(tolerance: Tolerance, factor: float) -> Tolerance:
    """Return a tolerance with every number multiplied by ``factor``."""
    return Tolerance(tolerance.energy * factor, tolerance.forces * factor, tolerance.stress * factor)


def looser(one: Tolerance, other: Tolerance) -> Tolerance:
    """Return, for each quantity, the larger of two tolerances."""
    return Tolerance(max(one.energy, other.energy), max(one.forces, other.forces), max(one.stress, other.stress))


def energy_deviation(found: Tensor, wanted: Tensor, n_atoms: Tensor) -> Tensor:
    """Return |ΔE| per atom, shape (n_systems,), eV.

    Parameters
    ----------
    found, wanted
        Energies, shape (n_systems,), eV.
    n_atoms
        Atoms of each system, shape (n_systems,), no unit.
    """
    return (found.cpu().double() - wanted.cpu().double()).abs() / n_atoms.cpu().double()


def assert_energy_close(found: Tensor, wanted: Tensor, n_atoms: Tensor, tolerance: float, what: str) -> None:
    """Check energies (n_systems,), eV; ``n_atoms`` (n_systems,), no unit; ``tolerance`` in eV/atom.

    Raises
    ------
    AssertionError
        Names the worst structure; NaN counts as wrong.
    """
    _assert_shape(found, wanted, "energy", what)
    deviation = energy_deviation(found, wanted, n_atoms)
    if not bool((deviation <= tolerance).all()):
        k = _worst(deviation)
        raise AssertionError(
            f"{what}: energy of structure {k} is {float(found[k]):.8f} eV, wanted {float(wanted[k]):.8f} eV; "
            f"off by {float(deviation[k]):.2e} eV/atom, at most {tolerance:.1e} is allowed"
        )


def assert_forces_close(found: Tensor, wanted: Tensor, tolerance: float, what: str) -> None:
    """Check forces (n_atoms, 3), eV/Å; ``tolerance`` is relative to max(1 eV/Å, largest wanted component).

    Raises
    ------
    AssertionError
        Names the worst atom and axis; NaN counts as wrong.
    """
    _assert_shape(found, wanted, "forces", what)
    found, wanted = found.cpu().double(), wanted.cpu().double()
    deviation, allowed = (found - wanted).abs(), tolerance * force_scale(wanted)
    if not bool((deviation <= allowed).all()):
        k = _worst(deviation.reshape(-1))
        atom, axis = divmod(k, 3)
        raise AssertionError(
            f"{what}: force {_AXES[axis]} on atom {atom} is {float(found[atom, axis]):.8f} eV/Å, "
            f"wanted {float(wanted[atom, axis]):.8f}; off by {float(deviation[atom, axis]):.2e} eV/Å, "
            f"at most {allowed:.1e} is allowed"
        )


def assert_stress_close(found: Tensor, wanted: Tensor, tolerance: float, what: str) -> None:
    """Check stresses (n_systems, 3, 3), eV/Å³; ``tolerance`` in eV/Å³.

    Raises
    ------
    AssertionError
        Names the worst structure and component; NaN counts as wrong.
    """
    _assert_shape(found, wanted, "stress", what)
    found, wanted = found.cpu().double(), wanted.cpu().double()
    deviation = (found - wanted).abs()
    if not bool((deviation <= tolerance).all()):
        system, component = divmod(_worst(deviation.reshape(-1)), 9)
        a, b = divmod(component, 3)
        raise AssertionError(
            f"{what}: stress {_AXES[a]}{_AXES[b]} of structure {system} is {float(found[system, a, b]):.4e} eV/Å³, "
            f"wanted {float(wanted[system, a, b]):.4e}; off by {float(deviation[system, a, b]):.2e}, "
            f"at most {tolerance:.1e} is allowed"
        )


def assert_prediction_close(
    found: Prediction, wanted: Prediction, batch: AtomicBatch, tolerance: Tolerance, what: str
) -> None:
    """Check everything that both predictions of ``batch`` hold.

    Raises
    ------
    AssertionError
        The first quantity that is off: energy, forces, stress, then atom energies.
    """
    n_atoms = torch.tensor(batch.atoms_per_system())
    assert_energy_close(found.energy, wanted.energy, n_atoms, tolerance.energy, what)
    if wanted.forces is not None and found.forces is not None:
        assert_forces_close(found.forces, wanted.forces, tolerance.forces, what)
    if wanted.stress is not None and found.stress is not None:
        assert_stress_close(found.stress, wanted.stress, tolerance.stress, what)
    if wanted.atom_energies is not None and found.atom_energies is not None:
        ones = torch.ones(batch.n_atoms, dtype=torch.int64)
        # An energy per atom may be off by `tolerance.energy`; a single atom's by a little more than the mean.
        assert_energy_close(
            found.atom_energies, wanted.atom_energies, ones, 10 * tolerance.energy, f"{what}, atom energies"
        )


def _worst(deviation: Tensor) -> int:
    """Return the index of the largest entry of ``deviation`` (n,), any unit, NaN being larger than everything."""
    return int(torch.nan_to_num(deviation, nan=torch.inf).argmax())


def _assert_shape(found: Tensor, wanted: Tensor, quantity: str, what: str) -> None:
    if found.shape != wanted.shape:
        raise AssertionError(f"{what}: {quantity} has shape {tuple(found.shape)}, wanted {tuple(wanted.shape)}")
