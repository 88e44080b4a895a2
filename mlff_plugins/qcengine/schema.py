"""Conversion for QCSchema: bohr and hartree there, Å and eV in the core."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from mlff_core.errors import UnsupportedError
from mlff_core.structures.batch import AtomicBatch, single
from mlff_core.structures.prediction import Prediction
from mlff_core.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE

if TYPE_CHECKING:
    from qcelemental.models.v2 import AtomicInput, Molecule

    from mlff_core.potentials.interface import Potential

FORCE = EV_PER_HARTREE / ANGSTROM_PER_BOHR
"""1 hartree/bohr in eV/Å."""


def to_batch(molecule: Molecule, potential: Potential) -> AtomicBatch:
    """Return a QCSchema molecule as a batch in Å.

    Raises
    ------
    UnsupportedError
        The molecule has ghost atoms.
    """
    if not all(molecule.real):
        raise UnsupportedError(f"{potential.card.name} does not support ghost atoms; remove them from the molecule")
    return single(
        np.asarray(molecule.geometry).reshape(-1, 3) * ANGSTROM_PER_BOHR,
        np.asarray(molecule.atomic_numbers),
        charge=float(molecule.molecular_charge),
        spin_multiplicity=molecule.molecular_multiplicity,
        device=potential.device,
        dtype=potential.dtype,
    )


def from_prediction(prediction: Prediction) -> tuple[float, npt.NDArray[np.float64]]:
    """Return (energy in hartree, gradient of shape (n_atoms, 3) in hartree/bohr) of a batch of one structure."""
    forces = prediction.need("forces", "the model", "so it has no gradient").detach().cpu().double().numpy()
    return float(prediction.energy[0]) / EV_PER_HARTREE, -forces / FORCE


def hessian_to_atomic_units(hessian: torch.Tensor) -> npt.NDArray[np.float64]:
    """Return a Hessian, shape (3·n_atoms, 3·n_atoms), eV/Å², in hartree/bohr²."""
    matrix: npt.NDArray[np.float64] = hessian.detach().cpu().double().numpy()
    return matrix * ANGSTROM_PER_BOHR**2 / EV_PER_HARTREE


def to_input(batch: AtomicBatch, method: str, driver: str) -> AtomicInput:
    """Return a batch of one structure as a QCSchema version 2 input.

    Raises
    ------
    UnsupportedError
        The structure is periodic: QCSchema has no cell.
    """
    from qcelemental.models.v2 import AtomicInput, Molecule

    if bool(batch.pbc.any()):
        raise UnsupportedError("QCEngine supports molecules only, but this structure is periodic")
    numbers = batch.atomic_numbers.cpu().numpy()
    charge = 0.0 if batch.charge is None else float(batch.charge[0])
    multiplicity = 1 if batch.spin_multiplicity is None else int(batch.spin_multiplicity[0])
    from ase.data import chemical_symbols

    molecule = Molecule(
        symbols=[chemical_symbols[z] for z in numbers],
        geometry=batch.positions.detach().cpu().double().numpy() / ANGSTROM_PER_BOHR,
        molecular_charge=charge,
        molecular_multiplicity=multiplicity,
        fix_com=True,
        fix_orientation=True,
        # An odd number of electrons is an error for QCElemental; here the model checks charge and multiplicity.
        validated=True,
        fragment_charges=[charge],
        fragment_multiplicities=[multiplicity],
        fragments=[np.arange(len(numbers))],
    )
    specification: dict[str, Any] = {"driver": driver, "model": {"method": method}, "keywords": {}}
    return AtomicInput(molecule=molecule, specification=specification)


def from_prediction_of(results: Sequence[Any], batch: AtomicBatch) -> Prediction:
    """Return gradient results, one per structure, as a prediction in eV and eV/Å."""
    energies = [result.properties.return_energy * EV_PER_HARTREE for result in results]
    gradients = [np.asarray(result.return_result).reshape(-1, 3) for result in results]
    forces = -np.concatenate(gradients) * FORCE
    return Prediction(
        energy=torch.tensor(energies, dtype=torch.float64), forces=torch.as_tensor(forces, dtype=batch.dtype)
    )
