"""One potential inside the molecules of each structure, another between them."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from mlff_core.card import ModelCard
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch, concatenate, split
from mlff_core.structures.dipole import check_not_periodic, dipoles
from mlff_core.structures.fragments import Fragments, find_fragments
from mlff_core.structures.neighbors import EdgeList
from mlff_core.structures.prediction import Prediction
from mlff_core.structures.stress import volume
from mlff_plugins.teachers.fragment_charges import fragment_charges


class FragmentsPotential(Potential):
    """E = Σ_f E_inside(f) + E_between(all) − Σ_f E_between(f), with f the molecules of each structure, alone.

    Parameters
    ----------
    inside
        Energies and forces within molecules.
    between
        Interactions between molecules, and the stress in cells.
    card
        Card of the composite.
    """

    device = torch.device("cpu")
    dtype = torch.float64

    def __init__(self, inside: Potential, between: Potential, card: ModelCard) -> None:
        self.inside = inside
        self.between = between
        self.card = card
        self.supports = inside.supports & between.supports & {"energy", "forces", "stress"}
        if "charges" in inside.supports:
            self.supports |= {"charges", "dipole"}

    def predict_checked(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None = None) -> Prediction:
        """Return what is wanted; see :meth:`~mlff_core.potentials.interface.Potential.predict_checked`.

        Raises
        ------
        InputError
            The charge of a molecule is ambiguous from its bonds, or the charges do not add up to that of the structure.
        UnsupportedError
            A structure is not made of molecules, or one of the two potentials cannot compute it.
        """
        systems = split(batch)
        divided = [find_fragments(system) for system in systems]
        molecules = [_molecules(system, fragments) for system, fragments in zip(systems, divided, strict=True)]
        counts = [len(alone) for alone in molecules]
        # A single molecule without a cell has no interactions.
        joined = [k for k, system in enumerate(systems) if counts[k] > 1 or bool(system.pbc.any())]
        wanted = ("energy", "forces")
        has_charges = not {"charges", "dipole"}.isdisjoint(want)
        if "dipole" in want:
            check_not_periodic(batch)
        inner = self.inside.predict(
            concatenate([one for alone in molecules for one in alone]),
            want=(*wanted, "charges") if has_charges else wanted,
        )
        energies, forces = _sums(inner, systems, divided)
        charges = _placed(inner.need("charges", self.card.name), divided) if has_charges else None
        stresses = [torch.zeros(3, 3, dtype=torch.float64) for _ in systems]
        if joined:
            outer = self.between.predict(concatenate([one for k in joined for one in molecules[k]]), want=wanted)
            chosen = [systems[k] for k in joined]
            lone_energies, lone_forces = _sums(outer, chosen, [divided[k] for k in joined])
            for position, k in enumerate(joined):
                whole = self.between.predict(systems[k], want=tuple({*want, *wanted} - {"charges", "dipole"}))
                energies[k] += whole.energy[0].double().cpu() - lone_energies[position]
                molecular = forces[k] - lone_forces[position]
                if whole.forces is not None:
                    forces[k] = molecular + whole.forces.double().cpu()
                if whole.stress is not None:
                    stresses[k] = whole.stress[0].double().cpu() + _stress_of(molecular, systems[k], divided[k])
        return Prediction(
            energy=torch.stack(energies),
            forces=torch.cat(forces) if "forces" in want else None,
            stress=torch.stack(stresses) if "stress" in want else None,
            charges=charges if "charges" in want else None,
            dipole=dipoles(batch, charges) if charges is not None and "dipole" in want else None,
        )


def _molecules(system: AtomicBatch, fragments: Fragments) -> list[AtomicBatch]:
    """Return each molecule of a structure alone, in one piece, without a cell and with its own charge."""
    total = 0.0 if system.charge is None else float(system.charge[0])
    if len(fragments.atoms) == 1 and total.is_integer():
        charges = [int(total)]
    else:
        charges = fragment_charges(fragments, system.atomic_numbers.tolist(), total)
    positions = torch.from_numpy(fragments.positions)
    return [
        AtomicBatch(
            positions=positions[torch.from_numpy(atoms)],
            atomic_numbers=system.atomic_numbers[torch.from_numpy(atoms)],
            cell=torch.zeros(1, 3, 3, dtype=torch.float64),
            pbc=torch.zeros(1, 3, dtype=torch.bool),
            system_idx=torch.zeros(len(atoms), dtype=torch.int64),
            charge=torch.tensor([charge], dtype=torch.float64),
        )
        for atoms, charge in zip(fragments.atoms, charges, strict=True)
    ]


def _sums(
    prediction: Prediction, systems: list[AtomicBatch], divided: list[Fragments]
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the energy of each structure's molecules, eV, and their forces, (n_atoms, 3), eV/Å, in its order.

    Parameters
    ----------
    prediction
        Prediction of all molecules, one after the other.
    systems, divided
        The structures and their molecules.
    """
    energies, forces = [], []
    assert prediction.forces is not None  # asked for above
    of_molecule, of_atom = prediction.energy.double().cpu(), prediction.forces.double().cpu()
    for system, fragments in zip(systems, divided, strict=True):
        n_molecules = len(fragments.atoms)
        energies.append(of_molecule[:n_molecules].sum())
        order = torch.cat([torch.from_numpy(atoms) for atoms in fragments.atoms])
        placed = torch.zeros(system.n_atoms, 3, dtype=torch.float64)
        placed[order] = of_atom[: system.n_atoms]
        forces.append(placed)
        of_molecule, of_atom = of_molecule[n_molecules:], of_atom[system.n_atoms :]
    return energies, forces


def _placed(charges: Tensor, divided: list[Fragments]) -> Tensor:
    """Return the charges of all molecules' atoms, shape (n_atoms,), e, in the order of the structures."""
    found, first = torch.empty(len(charges), dtype=torch.float64), 0
    values = charges.double().cpu()
    for fragments in divided:
        order = torch.cat([torch.from_numpy(atoms) for atoms in fragments.atoms])
        found[first + order] = values[first : first + len(order)]
        first += len(order)
    return found


def _stress_of(forces: Tensor, system: AtomicBatch, fragments: Fragments) -> Tensor:
    """Return −Σ r ⊗ F / V, shape (3, 3), eV/Å³: the stress of molecules that are strained with the cell.

    Parameters
    ----------
    forces
        Within molecules, shape (n_atoms, 3), eV/Å; they add up to zero in each.
    system, fragments
        The structure and its molecules.
    """
    virial = torch.from_numpy(fragments.positions).T @ forces
    return -0.5 * (virial + virial.T) / volume(system.cell[0].tolist())
