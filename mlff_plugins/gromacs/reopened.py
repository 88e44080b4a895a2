"""The exported file, called like mdrun calls it: float32 positions and box in nm, int32 numbers, forces by backward."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch

from mlff_core.card import ModelCard
from mlff_core.export.writing import for_card
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch, split
from mlff_core.structures.examples import all_structures
from mlff_core.structures.neighbors import EdgeList
from mlff_core.structures.prediction import Prediction
from mlff_core.structures.reading import batch_from_atoms
from mlff_core.units import ANGSTROM_PER_NM, KJ_MOL_PER_EV

INPUTS = ("atom-positions", "atom-numbers", "box", "pbc")
"""Inputs in the order of the module; without periodic boundaries only the first two."""

EMBEDDED_INPUTS = (
    "atom-positions",
    "atom-numbers",
    "atom-positions-mm",
    "atom-charges-mm",
    "nnp-charge",
    "box",
    "pbc",
)
"""Inputs of the module with electrostatic embedding; without periodic boundaries all but the last two."""

GRID_NM = 2.0**-20
"""Grid spacing of coordinates that are exact in float32 both in nm and in Å, up to 3 nm from the origin."""


class ThroughNNPot(Potential):
    """A file for NNPot as a potential.

    Parameters
    ----------
    module
        The opened file.
    card
        Card of the exported model.
    embedded
        Whether it has electrostatic embedding; it is then called without charges around the atoms.
    """

    supports = frozenset({"energy", "forces"})
    dtype = torch.float32
    device = torch.device("cpu")

    def __init__(self, module: Callable[..., Any], card: ModelCard, embedded: bool = False) -> None:
        self.module = module
        self.card = card
        self.embedded = embedded

    def predict_checked(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None = None) -> Prediction:
        """Return what is wanted; see :meth:`~mlff_core.potentials.interface.Potential.predict_checked`."""
        energies, forces = [], []
        for structure in split(batch):
            positions_nm = (structure.positions.double() / ANGSTROM_PER_NM).float().requires_grad_()
            inputs = [positions_nm, structure.atomic_numbers.to(torch.int32)]
            if self.embedded:
                charge = 0.0 if structure.charge is None else float(structure.charge[0])
                inputs += [torch.zeros(0, 3), torch.zeros(0), torch.tensor([charge])]
            if bool(structure.pbc.any()):
                inputs += [(structure.cell[0].double() / ANGSTROM_PER_NM).float(), structure.pbc[0]]
            with torch.enable_grad():
                if self.embedded:
                    energy, found, _ = self.module(*inputs)
                else:
                    energy = self.module(*inputs)
                    energy.backward()
                    assert positions_nm.grad is not None
                    found = -positions_nm.grad
            energies.append(energy.detach().double() / KJ_MOL_PER_EV)
            forces.append(found / (KJ_MOL_PER_EV * ANGSTROM_PER_NM))
        return Prediction(energy=torch.stack(energies), forces=torch.cat(forces))


def check_batches_on_grid(card: ModelCard) -> list[AtomicBatch]:
    """Return the check structures with coordinates that are exact in float32 in both units.

    Otherwise mdrun's float32 nm would differ from the float32 Å of ``predict`` by 1e-6 Å, and forces by this times the
    stiffness of a bond. On the grid the comparison shows errors of the file only.
    """
    frames = []
    for atoms in all_structures().values():
        frame = for_card(atoms, card)
        step = GRID_NM * ANGSTROM_PER_NM
        frame.set_cell(np.round(np.asarray(frame.cell) / step) * step)
        frame.positions = np.round(frame.positions / step) * step
        frames.append(frame)
    return [batch_from_atoms(frame, dtype=torch.float32) for frame in frames]
