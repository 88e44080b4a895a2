"""The loss of energies, forces, stresses, atomic energies, rows of Hessians, charges and dipoles.

With ω_s the weight of structure s, n_s its atoms, and ρ the penalty of :func:`penalty`, each term is a weighted mean:

- energy: Σ_s ω_s ρ((E_s − Ê_s)/n_s) / Σ_s ω_s, the error in eV/atom;
- forces: Σ_i ω_s(i) Σ_c ρ(F_ic − F̂_ic) / (3 Σ_i ω_s(i)), over single Cartesian components, in eV/Å;
- stress: Σ_s ω_s Σ_ab ρ(σ_ab − σ̂_ab) / (9 Σ_s ω_s), over structures with a volume, in eV/Å³;
- atom_energies: Σ_i ω_s(i) ρ(e_i − ê_i) / Σ_i ω_s(i), in eV (S. Matin et al., J. Chem. Theory Comput. 21, 2025,
  arXiv:2503.10538: a teacher's atomic energies give the distribution of the energy in a molecule);
- hessian: Σ_r ω_s(r) Σ_ic ρ((H v)_ic − (Ĥ v)_ic) over the labelled rows r of Hessians, divided by their
  weighted number of components, in eV/Å² (I. Amin et al., ICLR 2025, arXiv:2501.09009: a few rows of the teacher's
  Hessian give the change of its forces nearby);
- charges: Σ_i ω_s(i) ρ(q_i − q̂_i) / Σ_i ω_s(i), in e;
- total_charge: Σ_s ω_s ρ(Σ_i q_i − Σ_i q̂_i) / Σ_s ω_s with i the atoms of s, in e: small errors of one sign, which
  the term of charges hardly sees, add up to the charge of a molecule;
- dipole: Σ_s ω_s Σ_c ρ(μ_sc − μ̂_sc) / (3 Σ_s ω_s) over structures that are not periodic, μ = Σ_i q_i (r_i − R_s) with
  R_s the centre of mass, in e·Å.

The loss is the sum of the terms, each multiplied by its weight in the settings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mlff_core.data.hessian import rows_of_atoms
from mlff_core.data.structure import LabelledBatch
from mlff_core.errors import InputError
from mlff_core.structures.dipole import dipoles

Kind = Literal["huber", "mse", "mae"]


@dataclass(frozen=True)
class LossConfig:
    """Settings of the loss."""

    kind: Kind = "huber"
    """``"huber"``, ``"mse"`` or ``"mae"``; see :func:`penalty`."""
    energy_weight: float = 10.0
    forces_weight: float = 1.0
    stress_weight: float = 0.0
    atom_energies_weight: float = 0.0
    hessian_weight: float = 0.0
    charges_weight: float = 0.0
    total_charge_weight: float = 0.0
    dipole_weight: float = 0.0
    """Weight of each term, non-negative; 0 leaves it out."""
    energy_delta: float = 0.02
    forces_delta: float = 0.2
    stress_delta: float = 0.01
    atom_energies_delta: float = 0.1
    hessian_delta: float = 1.0
    charges_delta: float = 0.05
    total_charge_delta: float = 0.2
    dipole_delta: float = 0.2
    """Error at which Huber's penalty changes from square to linear: eV/atom, eV/Å, eV/Å³, eV, eV/Å², e, e, e·Å."""

    @property
    def learns_charges(self) -> bool:
        """Whether a term depends on the charges of atoms."""
        return max(self.charges_weight, self.total_charge_weight, self.dipole_weight) > 0

    def __post_init__(self) -> None:
        weights = [getattr(self, f"{name}_weight") for name in TERMS]
        for name, weight in zip(TERMS, weights, strict=True):
            if not 0 <= weight <= MOST:
                raise InputError(f"{name}_weight must be 0 to {MOST:g}, got {weight}")
            delta = getattr(self, f"{name}_delta")
            if not 0 < delta <= MOST:
                raise InputError(f"{name}_delta must be positive and at most {MOST:g}, got {delta}")
        if sum(weights) == 0:
            raise InputError(f"at least one of {', '.join(f'{name}_weight' for name in TERMS)} must be positive, got 0")


MOST = 1e9
"""Largest weight and delta: squares of larger numbers overflow in float32."""

TERMS = ("energy", "forces", "stress", "atom_energies", "hessian", "charges", "total_charge", "dipole")
"""Terms of the loss, in the order of the settings."""


@dataclass(frozen=True, eq=False)
class Outputs:
    """Predictions of a student for a batch that a loss uses."""

    energy: Tensor
    """Shape (n_systems,), eV."""
    forces: Tensor
    """Shape (n_atoms, 3), eV/Å."""
    stress: Tensor | None
    """Shape (n_systems, 3, 3), eV/Å³; None if not needed."""
    atom_energies: Tensor
    """Shape (n_atoms,), eV."""
    hessian: Tensor | None = None
    """H·v of the labelled rows, shape (n_row_atoms, 3), eV/Å²; None if not needed."""
    charges: Tensor | None = None
    """Shape (n_atoms,), e; None if the student gives none."""


def penalty(error: Tensor, kind: Kind, delta: float) -> Tensor:
    """Return ρ of each error, same shape as ``error`` (shape (n, …), any unit), in its unit (``mae``) or its square.

    ``mse``: x². ``mae``: |x|. ``huber``: x² up to ``delta`` and 2δ|x| − δ² beyond (P. J. Huber, Ann. Math. Statist.
    35, 73 (1964), doi:10.1214/aoms/1177703732, multiplied by two, so that small errors count as in ``mse``).
    """
    if kind == "mse":
        return error.square()
    size = error.abs()
    if kind == "mae":
        return size
    inside = size.clamp(max=delta)
    return inside * (2.0 * size - inside)


def errors(outputs: Outputs, labels: LabelledBatch) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the errors and the weights of their rows for each term with labels.

    Errors have shape (n_systems,), eV/atom, for the energy; (n_atoms, 3), eV/Å, for forces; (n_systems, 3, 3),
    eV/Å³, for the stress; (n_atoms,), eV, for atomic energies; (n_row_atoms, 3), eV/Å², for rows of Hessians;
    (n_atoms,), e, for charges; (n_systems,), e, for total charges; (n_systems, 3), e·Å, for dipoles. Weights are
    dimensionless and have the errors' first dimension.
    """
    batch = labels.batch
    weight = labels.weight
    if weight is None:
        weight = torch.ones(batch.n_systems, dtype=batch.dtype, device=batch.device)
    by_atom = weight[batch.system_idx]
    n_atoms = torch.bincount(batch.system_idx, minlength=batch.n_systems)
    found = {
        "energy": ((outputs.energy - labels.energy) / n_atoms, weight),
        "forces": (outputs.forces - labels.forces, by_atom),
    }
    if labels.stress is not None and outputs.stress is not None:
        periodic = batch.pbc.any(dim=1)
        difference = torch.where(periodic[:, None, None], outputs.stress - labels.stress, 0.0)
        found["stress"] = (difference, weight * periodic)
    if labels.atom_energies is not None:
        found["atom_energies"] = (outputs.atom_energies - labels.atom_energies, by_atom)
    if labels.hessian is not None and outputs.hessian is not None:
        row = rows_of_atoms(batch, labels.hessian)
        found["hessian"] = (outputs.hessian - labels.hessian.product, weight[labels.hessian.system][row])
    if labels.charges is not None and outputs.charges is not None:
        difference = outputs.charges - labels.charges
        found["charges"] = (difference, by_atom)
        of_systems = difference.new_zeros(batch.n_systems).index_add(0, batch.system_idx, difference)
        found["total_charge"] = (of_systems, weight)
    if labels.dipole is not None and outputs.charges is not None:
        difference = dipoles(batch, outputs.charges).to(labels.dipole.dtype) - labels.dipole
        isolated = ~batch.pbc.any(dim=1)
        found["dipole"] = (torch.where(isolated[:, None], difference, 0.0), weight * isolated)
    return found


def loss_sums(outputs: Outputs, labels: LabelledBatch, config: LossConfig) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the weighted sum of penalties and the sum of weights of each term in use, both of shape ().

    The term is the quotient of the two; they are separate so that each can be summed over processes first.
    """
    sums = {}
    for name, (error, weight) in errors(outputs, labels).items():
        if getattr(config, f"{name}_weight") == 0:
            continue
        values = penalty(error, config.kind, getattr(config, f"{name}_delta"))
        flat = values.reshape(len(weight), -1).mean(dim=1)
        sums[name] = ((flat * weight).sum(), weight.sum())
    return sums
