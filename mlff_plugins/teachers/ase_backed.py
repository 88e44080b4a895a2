"""The base of teachers with an ASE calculator: one structure at a time, in float64, on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mlff_core.card import ModelCard
from mlff_core.errors import MlffError, UnsupportedError, first_line
from mlff_core.potentials.checks import check_distances
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch, split
from mlff_core.structures.dipole import check_not_periodic
from mlff_core.structures.neighbors import OVERLAP, EdgeList, edge_vectors, find_neighbors
from mlff_core.structures.prediction import Prediction

if TYPE_CHECKING:
    from ase import Atoms


class AseBackedPotential(Potential):
    """A potential that is computed by an ASE calculator.

    Parameters
    ----------
    card
        Elements, charges and lineage.
    supports
        Properties the calculator gives.
    calculator
        Returns the calculator for a structure; it must not keep results of earlier ones. ``atoms.info`` holds
        ``"charge"`` (e; an int if it is whole) and ``"spin_multiplicity"``. The structure is a copy with an ``info``
        that may be changed. May raise errors of this package for an unsupported structure.
    around
        Returns a context manager around the calculation.
    """

    device = torch.device("cpu")
    dtype = torch.float64

    def __init__(
        self,
        card: ModelCard,
        supports: Collection[str],
        calculator: Callable[[Atoms], Any],
        around: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.card = card
        self.supports = frozenset(supports)
        self.calculator = calculator
        self.around = around

    def predict_checked(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None = None) -> Prediction:
        """Return what is wanted; see :meth:`~mlff_core.potentials.interface.Potential.predict_checked`."""
        close = find_neighbors(batch, OVERLAP)
        check_distances(batch, close, edge_vectors(batch, close))
        if "dipole" in want:
            check_not_periodic(batch)
        energies, forces, stresses = [], [], []
        charges, dipoles = [], []
        with self.around():
            for k, system in enumerate(split(batch)):
                atoms = to_atoms(system)
                try:
                    atoms.calc = self.calculator(atoms)
                    # The most demanding property first: most calculators compute the others with it.
                    if "stress" in want:
                        stresses.append(atoms.get_stress(voigt=False))
                    if "forces" in want:
                        forces.append(atoms.get_forces(apply_constraint=False))
                    energies.append(_energy_of_the_forces(atoms))
                    if "charges" in want:
                        charges.append(atoms.get_charges())
                    if "dipole" in want:
                        # About the centre of mass, where an engine gives that of an ion about the origin.
                        dipoles.append(atoms.get_dipole_moment() - atoms.info["charge"] * atoms.get_center_of_mass())
                except MlffError:
                    raise
                except Exception as error:
                    # Each engine raises its own: no convergence, no parameters for an element, a singular matrix.
                    raise UnsupportedError(
                        f"{self.card.name} could not compute structure {k} ({atoms.get_chemical_formula()}): "
                        f"{type(error).__name__}: {first_line(error)}"
                    ) from error
        return Prediction(
            energy=torch.tensor(np.array(energies, dtype=np.float64)),
            forces=torch.tensor(np.concatenate(forces).astype(np.float64)) if forces else None,
            stress=torch.tensor(np.stack(stresses).astype(np.float64)) if stresses else None,
            charges=torch.tensor(np.concatenate(charges).astype(np.float64)) if charges else None,
            dipole=torch.tensor(np.stack(dipoles).astype(np.float64)) if dipoles else None,
        )


def _energy_of_the_forces(atoms: Atoms) -> float:
    """Return the energy that belongs to the forces, eV: the free energy if the electrons have a temperature."""
    has_free = "free_energy" in getattr(atoms.calc, "implemented_properties", ())
    return float(atoms.get_potential_energy(force_consistent=has_free, apply_constraint=False))


def to_atoms(system: AtomicBatch) -> Atoms:
    """Return one structure as ``ase.Atoms``.

    ``info`` holds ``charge`` (e; an int if it is whole) and ``spin_multiplicity``.
    """
    from ase import Atoms

    charge = 0.0 if system.charge is None else float(system.charge[0])
    return Atoms(
        numbers=system.atomic_numbers.numpy(),
        positions=system.positions.detach().double().numpy(),
        # Some calculators use a cell even if pbc is off: it would change Orb's forces.
        cell=system.cell[0].detach().double().numpy() if bool(system.pbc.any()) else None,
        pbc=system.pbc[0].numpy(),
        info={
            "charge": int(charge) if charge.is_integer() else charge,
            "spin_multiplicity": 1 if system.spin_multiplicity is None else int(system.spin_multiplicity[0]),
        },
    )
