"""One potential inside the molecules of each structure, another between them."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from ase.symbols import Symbols
from torch import Tensor

from mlff_core.card import ModelCard
from mlff_core.errors import InputError, UnsupportedError
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
        divided = [_divided(system) for system in systems]
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


def _is_given(system: AtomicBatch) -> bool:
    return system.fragment is not None and bool((system.fragment >= 0).all())


def _divided(system: AtomicBatch) -> Fragments:
    """Return the molecules of a structure: those that it states, or else those of its bonds.

    Raises
    ------
    UnsupportedError
        It states molecules in a cell other than those of its bonds, or it is not made of molecules.
    """
    if not _is_given(system):
        return find_fragments(system)
    assert system.fragment is not None
    numbers = system.fragment.cpu().numpy()
    given = [np.flatnonzero(numbers == k) for k in np.unique(numbers)]
    if not bool(system.pbc.any()):
        positions = system.positions.detach().double().cpu().numpy()
        return Fragments(given, [np.empty((0, 2), dtype=np.int64)] * len(given), positions)
    # In a cell a molecule is put together along its bonds.
    found = find_fragments(system)
    if {tuple(atoms) for atoms in found.atoms} != {tuple(atoms) for atoms in given}:
        raise UnsupportedError(
            f"the structure states {len(given)} molecules, but its bonds make {len(found.atoms)}, or others; in a cell "
            "they must be the same: correct the column fragment, or leave it out"
        )
    return found


def _check_closed_shells(system: AtomicBatch, fragments: Fragments, charges: list[int], total: float) -> None:
    """Refuse stated charges that leave a molecule with an odd number of electrons, or that do not add up."""
    numbers = system.atomic_numbers.cpu().numpy()
    for atoms, charge in zip(fragments.atoms, charges, strict=True):
        if (numbers[atoms].sum() - charge) % 2:
            raise InputError(
                f"the molecule {Symbols(numbers[atoms]).get_chemical_formula()} is stated to have a charge of "
                f"{charge:+d} e, which leaves an odd number of electrons; correct its fragment_charge"
            )
    if sum(charges) != total:
        raise InputError(
            f"the stated charges of the molecules add up to {sum(charges):+d} e, but the total charge is {total:+g} e; "
            "correct one of them"
        )


def _molecules(system: AtomicBatch, fragments: Fragments) -> list[AtomicBatch]:
    """Return each molecule of a structure alone, in one piece, without a cell and with its own charge."""
    total = 0.0 if system.charge is None else float(system.charge[0])
    if system.fragment_charge is not None and _is_given(system):
        charges = [int(system.fragment_charge[int(atoms[0])]) for atoms in fragments.atoms]
        _check_closed_shells(system, fragments, charges, total)
    elif len(fragments.atoms) == 1 and total.is_integer():
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
