"""Conversion between ASE's ``Atoms`` and the core's types. Units are the same; the stress has another order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress

from mlff_core.structures.batch import AtomicBatch, split
from mlff_core.structures.far import moved_near_origin
from mlff_core.structures.prediction import Prediction
from mlff_core.structures.reading import batch_from_atoms


def to_batch(
    atoms: Atoms | Sequence[Atoms], *, device: torch.device, dtype: torch.dtype, before: AtomicBatch | None = None
) -> AtomicBatch:
    """Return structures as a batch, with the total charge of ``atoms.info["charge"]``.

    Parameters
    ----------
    atoms
        One structure, or several.
    device, dtype
        Of the potential.
    before
        An earlier batch of this structure that differs in the positions only; all else is taken from it.
    """
    if before is not None and isinstance(atoms, Atoms):
        positions = atoms.positions if dtype == torch.float64 else moved_near_origin(atoms.positions)
        return before.with_positions(torch.tensor(positions, dtype=dtype, device=device))
    return batch_from_atoms(atoms, device=device, dtype=dtype)


def from_prediction(prediction: Prediction, counts: Sequence[int]) -> list[dict[str, Any]]:
    """Return ASE's results of each structure.

    Parameters
    ----------
    prediction
        Prediction of all structures.
    counts
        Number of atoms of each structure.

    Returns
    -------
    list of dict
        ``energy`` and ``free_energy``, eV; ``forces`` (n_atoms, 3), eV/Å; ``stress`` (6,), eV/Å³, in Voigt order
        xx yy zz yz xz xy; ``energies`` (n_atoms,), eV; ``charges`` (n_atoms,), e; ``dipole`` (3,), e·Å;
        ``energy_std``, eV, and ``forces_std`` (n_atoms, 3), eV/Å; limited to the quantities of the prediction.
    """
    energy = prediction.energy.detach().cpu().double().numpy()
    results: list[dict[str, Any]] = [{"energy": float(e), "free_energy": float(e)} for e in energy]
    if prediction.energy_std is not None:
        for result, deviation in zip(results, prediction.energy_std.tolist(), strict=True):
            result["energy_std"] = deviation
    per_atom = {
        "forces": prediction.forces,
        "energies": prediction.atom_energies,
        "forces_std": prediction.forces_std,
        "charges": prediction.charges,
    }
    for name, tensor in per_atom.items():
        if tensor is not None:
            array = tensor.detach().cpu().double().numpy()
            parts = [array] if len(counts) == 1 else np.split(array, np.cumsum(counts)[:-1])
            for result, part in zip(results, parts, strict=True):
                result[name] = part.copy()
    if prediction.dipole is not None:
        for result, dipole in zip(results, prediction.dipole.detach().cpu().double().numpy(), strict=True):
            result["dipole"] = dipole.copy()
    if prediction.stress is not None:
        full = prediction.stress.detach().cpu().double().numpy()
        for result, tensor3 in zip(results, full, strict=True):
            result["stress"] = full_3x3_to_voigt_6_stress(tensor3)
    return results


def atoms_from_batch(batch: AtomicBatch) -> list[Atoms]:
    """Return each structure of a batch as ``Atoms``."""
    frames = []
    for one in split(batch):
        atoms = Atoms(
            numbers=one.atomic_numbers.cpu().numpy().copy(),
            positions=one.positions.detach().cpu().double().numpy().copy(),
            cell=one.cell[0].detach().cpu().double().numpy().copy(),
            pbc=one.pbc[0].cpu().numpy().copy(),
        )
        if one.charge is not None:
            atoms.info["charge"] = float(one.charge[0])
        if one.spin_multiplicity is not None:
            atoms.info["spin_multiplicity"] = int(one.spin_multiplicity[0])
        frames.append(atoms)
    return frames


def prediction_from_results(results: Sequence[Mapping[str, Any]]) -> Prediction:
    """Return ASE's results of several structures as one prediction, the inverse of :func:`from_prediction`."""

    def joined(name: str) -> torch.Tensor | None:
        if name not in results[0]:
            return None
        return torch.from_numpy(np.concatenate([np.asarray(result[name], dtype=np.float64) for result in results]))

    stress = None
    if "stress" in results[0]:
        stress = torch.from_numpy(np.stack([voigt_6_to_full_3x3_stress(result["stress"]) for result in results]))
    return Prediction(
        energy=torch.tensor([float(result["energy"]) for result in results], dtype=torch.float64),
        forces=joined("forces"),
        stress=stress,
        atom_energies=joined("energies"),
        charges=joined("charges"),
    )
