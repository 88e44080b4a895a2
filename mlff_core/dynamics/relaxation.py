"""Relaxation of structures to a minimum of the energy with ASE's optimisers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from mlff_core.errors import InputError, MlffError, UnsupportedError
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.verlet import VerletPotential
from mlff_core.structures.reading import batch_from_atoms

if TYPE_CHECKING:
    from ase import Atoms

OPTIMIZERS = {"bfgs": "BFGS", "lbfgs": "LBFGS", "fire": "FIRE"}
"""ASE's optimisers by our names."""


@dataclass(frozen=True, eq=False)
class Relaxation:
    """Result of a relaxation."""

    atoms: Atoms
    """The structure with its results attached."""
    converged: bool
    """Whether the largest force fell below the threshold."""
    n_steps: int
    """Number of steps."""
    energy_before: float
    energy: float
    """eV."""
    max_force: float
    """Norm of the largest force on an atom that may move, eV/Å."""
    max_stress: float | None = None
    """Largest component of the stress, eV/Å³; None unless the cell was relaxed."""


class _Bridge(Calculator):
    """A minimal ASE calculator for ASE's optimisers and cell filters."""

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]

    def __init__(self, potential: Potential, *, want_stress: bool) -> None:
        super().__init__()
        self.verlet = VerletPotential(potential)
        self.want = ("energy", "forces", "stress") if want_stress else ("energy", "forces")

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        batch = batch_from_atoms(self.atoms, device=self.verlet.device, dtype=self.verlet.dtype)
        prediction = self.verlet.predict(batch, want=self.want, dynamics=False)
        energy = float(prediction.energy[0])
        self.results: dict[str, Any] = {"energy": energy, "free_energy": energy}
        if prediction.forces is not None:
            self.results["forces"] = prediction.forces.double().cpu().numpy()
        if prediction.stress is not None:
            self.results["stress"] = full_3x3_to_voigt_6_stress(prediction.stress[0].double().cpu().numpy())


def relax(
    potential: Potential,
    atoms: Atoms,
    *,
    fmax: float = 0.01,
    max_steps: int = 500,
    optimizer: str = "bfgs",
    cell: bool = False,
    on_step: Callable[[int], None] | None = None,
) -> Relaxation:
    """Return the structure at a nearby minimum of the energy; the given structure is not changed.

    Parameters
    ----------
    potential
        Gives energy, forces, and stress if the cell is to relax.
    atoms
        Starting structure; ASE's constraints are respected.
    fmax
        Largest force allowed at the end, eV/Å (with the cell: also the largest force on it, as ASE's
        ``FrechetCellFilter`` counts it).
    max_steps
        Largest number of steps.
    optimizer
        One of :data:`OPTIMIZERS`.
    cell
        Whether to relax shape and volume of the cell too.
    on_step
        Called with the number of steps done.

    Raises
    ------
    InputError
        An option or the structure is invalid, or atoms overlap during the relaxation.
    UnsupportedError
        The potential does not support an element or the charge, or gives no stress to relax a cell with.
    """
    import ase.optimize
    from ase.filters import FrechetCellFilter

    if optimizer not in OPTIMIZERS:
        raise InputError(f"there is no optimiser {optimizer!r}; choose from {', '.join(OPTIMIZERS)}")
    if not (np.isfinite(fmax) and fmax > 0):
        raise InputError(f"fmax must be positive, in eV/Å, got {fmax}")
    if max_steps < 1:
        raise InputError(f"max_steps must be at least 1, got {max_steps}")
    if cell and not atoms.pbc.all():
        raise InputError(f"to relax the cell it must be periodic in all directions, got pbc {atoms.pbc.tolist()}")
    if "forces" not in potential.supports or (cell and "stress" not in potential.supports):
        raise UnsupportedError(f"{potential.card.name} gives no {'stress' if cell else 'forces'}, which relaxing needs")
    batch_from_atoms(atoms).validate_values()
    moving = atoms.copy()
    moving.calc = _Bridge(potential, want_stress=cell)
    energy_before = moving.get_potential_energy()
    target = FrechetCellFilter(moving) if cell else moving
    dynamics = getattr(ase.optimize, OPTIMIZERS[optimizer])(target, logfile=None)
    if on_step is not None:
        dynamics.attach(lambda: on_step(dynamics.nsteps))
    try:
        converged = bool(dynamics.run(fmax=fmax, steps=max_steps))
    except MlffError as error:
        raise InputError(f"the relaxation failed after {dynamics.nsteps} steps: {error}") from error
    forces = moving.get_forces()
    return Relaxation(
        atoms=moving,
        converged=converged,
        n_steps=dynamics.nsteps,
        energy_before=energy_before,
        energy=moving.get_potential_energy(),
        max_force=float(np.linalg.norm(forces, axis=1).max()),
        max_stress=float(np.abs(moving.get_stress()).max()) if cell else None,
    )
