"""A potential with properties known in closed form, and data sets labelled by it."""

from collections.abc import Collection

import numpy as np
import pytest
import torch
from torch import Tensor

from mlff_core.card import ModelCard
from mlff_core.data.hdf5 import Dataset, LabelledStructure, write_dataset
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.neighbors import EdgeList
from mlff_core.structures.prediction import Prediction


class Springs(Potential):
    """½ k (r − r0)² between all atoms of a structure, with optional errors in the forces and the energy."""

    supports = frozenset({"energy", "forces"})

    def __init__(self, k=20.0, r0=1.2, *, elements=(1, 6, 8), dtype=torch.float64, force_error=0.0, energy_error=0.0):
        self.k, self.r0 = k, r0
        self.card = ModelCard(name="springs", elements=elements, cutoff=0.0, architecture="springs")
        self.device, self.dtype = torch.device("cpu"), dtype
        self.force_error, self.energy_error = force_error, energy_error

    def predict_checked(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None = None) -> Prediction:
        with torch.enable_grad():
            positions = batch.positions.detach().clone().requires_grad_()
            energy = self._energy(positions, batch.system_idx, batch.n_systems)
            (gradient,) = torch.autograd.grad([energy.sum()], [positions])
        return Prediction(energy=energy.detach().double() + self.energy_error, forces=self.force_error - gradient)

    def _energy(self, positions: Tensor, owner: Tensor, n_systems: int) -> Tensor:
        i, j = torch.triu_indices(len(positions), len(positions), 1)
        same = owner[i] == owner[j]
        i, j = i[same], j[same]
        distances = torch.linalg.vector_norm(positions[i] - positions[j], dim=1)
        pair = 0.5 * self.k * (distances - self.r0) ** 2
        return torch.zeros(n_systems, dtype=pair.dtype).index_add(0, owner[i], pair)


@pytest.fixture(name="springs", scope="session")
def fixture_springs():
    return Springs


@pytest.fixture(scope="session")
def labelled_file(tmp_path_factory):
    """Return a function that writes a data set labelled by springs: 4 molecules with 5 geometries each."""

    def write(name="set.h5", *, n_molecules=4, seed=0, numbers=None) -> Dataset:
        rng = np.random.default_rng(seed)
        teacher = Springs()
        structures = []
        for molecule in range(n_molecules):
            z = numbers[molecule] if numbers else ([6, 1, 8, 1][: 2 + molecule % 3])
            base = 1.2 * np.array([[0.0, 0, 0], [1, 0, 0], [0.5, 0.87, 0], [0.5, 0.29, 0.82]])[: len(z)]
            for frame in range(5):
                positions = base + 0.02 * frame * rng.normal(size=base.shape)
                batch = AtomicBatch(
                    torch.tensor(positions),
                    torch.tensor(z),
                    torch.zeros(1, 3, 3, dtype=torch.float64),
                    torch.zeros(1, 3, dtype=torch.bool),
                    torch.zeros(len(z), dtype=torch.int64),
                )
                label = teacher.predict_checked(batch, (), None)
                structures.append(
                    LabelledStructure(
                        atomic_numbers=np.array(z),
                        positions=positions,
                        energy=float(label.energy[0]),
                        forces=label.forces.numpy(),
                        molecule_id=molecule,
                        kind="rattle" if frame else "minimum",
                        split="test" if molecule % 2 else "train",
                    )
                )
        path = tmp_path_factory.mktemp("set") / name
        write_dataset(path, structures, smiles=["C"] * n_molecules, teacher={"name": "springs"})
        return Dataset(path)

    return write
