"""SchNetPack's PaiNN in the size of our ``original``: 112 features, 3 layers, 20 Gaussians, 5 Å; random weights."""

import sys
import typing
from importlib import metadata
from pathlib import Path

import torch
import torch.utils.data.dataloader

# SchNetPack 2.1.1 imports this type variable, which torch has removed.
torch.utils.data.dataloader.T_co = typing.TypeVar("T_co", covariant=True)

import schnetpack
from schnetpack.interfaces.ase_interface import AtomsConverter
from schnetpack.transform import MatScipyNeighborList, SkinNeighborList

# Last in the path, so that scripts here do not hide packages of the same names.
sys.path.append(str(Path(__file__).parent))
from system_structures import settle_torch, structures_of

CUTOFF = 5.0


def make_model():
    torch.manual_seed(0)
    radial = schnetpack.nn.GaussianRBF(n_rbf=20, cutoff=CUTOFF)
    return schnetpack.model.NeuralNetworkPotential(
        representation=schnetpack.representation.PaiNN(
            n_atom_basis=112, n_interactions=3, radial_basis=radial, cutoff_fn=schnetpack.nn.CosineCutoff(CUTOFF)
        ),
        input_modules=[schnetpack.atomistic.PairwiseDistances()],
        output_modules=[schnetpack.atomistic.Atomwise(n_in=112, output_key="energy"), schnetpack.atomistic.Forces()],
    ).eval()


def prepare(system, arguments):
    settle_torch()
    model = make_model()
    converter = AtomsConverter(
        SkinNeighborList(MatScipyNeighborList(cutoff=CUTOFF), cutoff_skin=1.0), dtype=torch.float32
    )
    structures, parts = structures_of(system)

    def step(positions):
        for atoms, part in zip(structures, parts, strict=True):
            atoms.set_positions(positions[part])
        results = model(converter(structures))
        return results["energy"].detach().numpy(), results["forces"].detach().numpy()

    return step


def describe(arguments):
    return {
        "model": f"PaiNN, {sum(p.numel() for p in make_model().parameters())} parameters, random weights",
        "neighbours": "SkinNeighborList of 1 Å over matscipy's",
        "versions": {name: metadata.version(name) for name in ("schnetpack", "torch", "numpy", "matscipy")},
    }
