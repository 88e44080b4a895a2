"""Data sets of small molecules labelled by Morse pairs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mlff_core.config import from_dict
from mlff_core.data.hdf5 import LabelledStructure, write_dataset
from mlff_core.structures.batch import single
from mlff_core.testing.reference_potential import PairPotential
from mlff_core.training.settings import TrainConfig

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
    """The same set with atomic energies."""
    path = tmp_path_factory.mktemp("data") / "morse-atoms.h5"
    write_dataset(path, structures(32, atom_energies=True), teacher=TEACHER, smiles=list(MOLECULES))
    return path


CELL = np.array([[4.4, 0.3, -0.2], [-0.5, 4.6, 0.4], [0.2, 0.6, 4.8]])
SITES = np.stack(np.meshgrid(*[[0.1, 0.6]] * 3), axis=-1).reshape(-1, 3)
NUMBERS = np.array([6, 1, 6, 1, 1, 6, 1, 6])


@pytest.fixture(name="crystals", scope="session")
def fixture_crystals(tmp_path_factory):
    """A file of strained, rattled crystals with the stress of a pair potential."""
    rng = np.random.default_rng(4)
    teacher = PairPotential(cutoff=4.0, dtype=torch.float64)
    made = []
    for k in range(72):
        cell = CELL @ (np.eye(3) + rng.normal(0, 0.06, (3, 3)))
        positions = (SITES @ cell + rng.normal(0, 0.02, (8, 3))).astype(np.float32)
        label = teacher.predict(
            single(positions, NUMBERS, cell, True, dtype=torch.float64), want=["energy", "forces", "stress"]
        )
        made.append(
            LabelledStructure(
                atomic_numbers=NUMBERS,
                positions=positions,
                energy=float(label.energy[0]),
                forces=label.forces.numpy(),
                stress=label.stress[0].numpy(),
                cell=cell,
                pbc=np.ones(3, bool),
                molecule_id=k,
                split=("train", "train", "train", "validation")[k % 4],
            )
        )
    path = tmp_path_factory.mktemp("crystals") / "crystals.h5"
    write_dataset(path, made, teacher={"name": "pair-potential"}, license="CC0-1.0")
    return path


@pytest.fixture
def settings(morse_set, tmp_path):
    """Make the settings of a run of a second or two, with changes to its tables."""

    def make(**changes):
        plain = {
            "name": "small",
            "out": str(tmp_path / "run"),
            "device": "cpu",
            "model": {"preset": "ultra-tiny", "hidden": 8},
            "data": {"path": str(morse_set)},
            "batch": {"atoms": 60},
            "optimizer": {"lr": 0.01, "ema_decay": 0.9},
            "schedule": {"warmup_steps": 5},
            "stop": {"max_steps": 40},
            "log": {"every_steps": 10, "validate_every_steps": 20},
        }
        for key, value in changes.items():
            plain[key] = {**plain.get(key, {}), **value} if isinstance(value, dict) else value
        return from_dict(TrainConfig, plain)

    return make
