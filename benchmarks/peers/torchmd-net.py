"""TorchMD-Net's TensorNet with one layer and 128 features, 32 radial functions, 5 Å; random weights."""

import os
from importlib import metadata

import torch
from torchmdnet.models.model import create_model

SETTINGS = {
    "precision": 32,
    "model": "tensornet",
    "embedding_dimension": 128,
    "num_layers": 1,
    "num_rbf": 32,
    "rbf_type": "expnorm",
    "trainable_rbf": False,
    "activation": "silu",
    "cutoff_lower": 0.0,
    "cutoff_upper": 5.0,
    "max_z": 20,
    "max_num_neighbors": 96,
    "equivariance_invariance_group": "O(3)",
    "prior_model": None,
    "atom_filter": -1,
    "derivative": True,
    "output_model": "Scalar",
    "reduce_op": "sum",
    "check_errors": False,
}


def make_model(**changes):
    torch.manual_seed(0)
    return create_model({**SETTINGS, **changes}).eval().requires_grad_(False)


def prepare(system, arguments):
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.set_flush_denormal(True)
    model = make_model()
    n_systems = len(system.cells)
    numbers, structure = torch.from_numpy(system.numbers), torch.from_numpy(system.system_idx)
    box = torch.from_numpy(system.cells[0]).float() if system.pbc.all() else None

    def step(positions):
        given = torch.from_numpy(positions).float()
        energy, forces = model(numbers, given, structure, box=box, num_systems=n_systems)
        return energy.detach().numpy().reshape(-1), forces.detach().numpy()

    return step


def describe(arguments):
    return {
        "model": f"TensorNet, 1 layer, 128 features, {sum(p.numel() for p in make_model().parameters())} parameters, "
        "random weights, eager",
        "neighbours": "own, every step",
        "versions": {name: metadata.version(name) for name in ("torchmd-net", "torch", "numpy", "warp-lang")},
    }
