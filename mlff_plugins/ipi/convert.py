"""i-PI's door: bohr, hartree, columns and virials on its side; Å, eV, rows and stresses on ours."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import torch

from mlff_core.batch import AtomicBatch
from mlff_core.errors import UnsupportedError
from mlff_core.prediction import Prediction
from mlff_core.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE
from mlff_plugins.ipi.protocol import Results, Structures

FORCE = EV_PER_HARTREE / ANGSTROM_PER_BOHR
"""1 hartree/bohr in eV/Å."""


def to_batch(structures: Structures, template: AtomicBatch) -> AtomicBatch:
    """Return i-PI's structures as a batch.

    Parameters
    ----------
    structures
        Cells and positions, in bohr.
    template
        One structure with the elements, periodicity, charge and multiplicity of all, on the wanted device and in the
        wanted precision.
    """
    n, n_atoms = structures.positions.shape[:2]
    device, dtype = template.device, template.dtype
    rows = np.ascontiguousarray(structures.cells.transpose(0, 2, 1)) * ANGSTROM_PER_BOHR
    return AtomicBatch(
        positions=torch.as_tensor(structures.positions.reshape(-1, 3) * ANGSTROM_PER_BOHR, dtype=dtype, device=device),
        atomic_numbers=template.atomic_numbers.repeat(n),
        cell=torch.as_tensor(rows, dtype=dtype, device=device),
        pbc=template.pbc.repeat(n, 1),
        system_idx=torch.arange(n, device=template.device).repeat_interleave(n_atoms),
        charge=None if template.charge is None else template.charge.repeat(n),
        spin_multiplicity=None if template.spin_multiplicity is None else template.spin_multiplicity.repeat(n),
    )


def from_prediction(prediction: Prediction, batch: AtomicBatch) -> Results:
    """Return a prediction as i-PI takes it.

    The virial of a periodic structure is −stressᵀ × volume. That of a molecule is Σ r ⊗ F over its atoms, the same
    derivative, with no volume in it.

    Raises
    ------
    UnsupportedError
        The model gives no forces.
    """
    if prediction.forces is None:
        raise UnsupportedError("i-PI needs forces, which this model does not give")
    n = batch.n_systems
    forces = _numpy(prediction.forces).reshape(n, -1, 3)
    if prediction.stress is not None:
        volume = np.abs(np.linalg.det(_numpy(batch.cell)))
        virials = -_numpy(prediction.stress).transpose(0, 2, 1) * volume[:, None, None]
    else:
        positions = _numpy(batch.positions).reshape(n, -1, 3)
        # Relative to the centre: the sum of the forces is zero, but only to the last digit.
        virials = np.einsum("nai,naj->nji", positions - positions.mean(axis=1, keepdims=True), forces)
    energies = _numpy(prediction.energy)
    extras = [{"energy": float(energy)} for energy in energies]
    if prediction.energy_std is not None:
        for extra, deviation in zip(extras, _numpy(prediction.energy_std), strict=True):
            extra["energy_std"] = float(deviation)
    return Results(
        energies=energies / EV_PER_HARTREE,
        forces=forces / FORCE,
        virials=virials / EV_PER_HARTREE,
        extras=[json.dumps(extra) for extra in extras],
    )


def _numpy(tensor: torch.Tensor) -> npt.NDArray[np.float64]:
    array: npt.NDArray[np.float64] = tensor.detach().cpu().double().numpy()
    return array
