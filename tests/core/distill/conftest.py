"""A potential whose every property is known in closed form, and data sets labelled by it."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mlff_core.batch import AtomicBatch
from mlff_core.card import ModelCard
from mlff_core.data.hdf5 import Dataset, LabelledStructure, write_dataset
from mlff_core.neighbors import EdgeList
from mlff_core.potential import Potential
from mlff_core.prediction import Prediction


class Springs(Potential):
    """½ k (r − r0)² between all atoms of a structure, with optional flaws planted in the forces and the energy."""

    supports = frozenset({"energy", "forces"})

    def __init__(self, k=20.0, r0=1.2, *, elements=(1, 6, 8), dtype=torch.float64, force_error=0.0, energy_error=0.0):
        self.k, self.r0 = k, r0
        self.card = ModelCard(name="springs", elements=elements, cutoff=0.0, architecture="springs")
        self.device, self.dtype = torch.device("cpu"), dtype
        self.force_error, self.energy_error = force_error, energy_error

    def _predict(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None) -> Prediction:
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
                label = teacher._predict(batch, (), None)
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


MOLECULES = {
    "O": ([8, 1, 1], [[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]),
    "C": (
        [6, 1, 1, 1, 1],
        [[0.0, 0, 0], [0.63, 0.63, 0.63], [-0.63, -0.63, 0.63], [-0.63, 0.63, -0.63], [0.63, -0.63, -0.63]],
    ),
    "CO": (
        [6, 8, 1, 1, 1, 1],
        [[0.0, 0, 0], [1.42, 0, 0], [-0.36, 1.02, 0], [-0.36, -0.51, 0.89], [-0.36, -0.51, -0.89], [1.74, 0.9, 0]],
    ),
}


def pair_energies(numbers: np.ndarray, positions: torch.Tensor) -> torch.Tensor:
    """Energy of each atom, eV: −10 eV per proton and half of every Morse pair."""
    z = torch.as_tensor(numbers, dtype=positions.dtype)
    vectors = positions[None] - positions[:, None] + 10.0 * torch.eye(len(z), dtype=positions.dtype)[..., None]
    distances = vectors.norm(dim=-1)
    radii = 0.35 + 0.05 * z.sqrt()
    depth = torch.exp(-1.5 * (distances - radii[:, None] - radii[None]))
    pairs = 2.0 * (depth * depth - 2.0 * depth)
    return -10.0 * z + 0.5 * (pairs - torch.diag(torch.diag(pairs))).sum(dim=1)


def structures(n_each: int, seed: int = 0, *, atom_energies: bool = False) -> list[LabelledStructure]:
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(n_each):
        for molecule, (numbers, positions) in enumerate(MOLECULES.values()):
            moved = torch.tensor(
                np.asarray(positions) + generator.normal(0, 0.08, (len(numbers), 3)), requires_grad=True
            )
            energies = pair_energies(np.asarray(numbers), moved)
            (gradient,) = torch.autograd.grad(energies.sum(), moved)
            made.append(
                LabelledStructure(
                    atomic_numbers=np.asarray(numbers),
                    positions=moved.detach().numpy().astype(np.float32),
                    energy=float(energies.detach().sum()),
                    forces=-gradient.numpy().astype(np.float32),
                    molecule_id=molecule,
                    kind="rattle",
                    split=("train", "train", "train", "validation")[len(made) // 3 % 4],
                    atom_energies=energies.detach().numpy().astype(np.float32) if atom_energies else None,
                )
            )
    return made


TEACHER = {"name": "morse", "method": "pair potential", "licence": "MIT"}


@pytest.fixture(scope="session")
def morse_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 structures of three molecules with energies and forces; every fourth of each is for validation."""
    path = tmp_path_factory.mktemp("data") / "morse.h5"
    write_dataset(path, structures(32), teacher=TEACHER, smiles=list(MOLECULES), license="CC0-1.0")
    return path


@pytest.fixture(scope="session")
def morse_set_with_atom_energies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the share of each atom in the energy."""
    path = tmp_path_factory.mktemp("data") / "morse-atoms.h5"
    write_dataset(path, structures(32, atom_energies=True), teacher=TEACHER, smiles=list(MOLECULES))
    return path
