"""Structures and models on which kernels are compared."""

from __future__ import annotations

import copy
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from mlff_core.kernels.reference import ReferenceKernel
from mlff_core.model.painn import PaiNN, PaiNNConfig
from mlff_core.model.presets import PRESETS
from mlff_core.structures.batch import concatenate, single
from mlff_core.structures.neighbors import find_neighbors

# Triton reads it when it is imported: where there is no GPU its kernels are interpreted.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

ALL = ("energy", "forces", "stress", "atom_energies")


def _cluster(n_atoms, seed, spacing=1.0):
    rng = np.random.default_rng(seed)
    points = []
    while len(points) < n_atoms:
        trial = rng.uniform(0, (n_atoms * 9.0) ** (1 / 3), 3)
        if all(np.linalg.norm(trial - point) > spacing for point in points):
            points.append(trial)
    return np.array(points), rng.choice([1, 6, 7, 8, 16], n_atoms)


def _molecule(n_atoms=21, seed=0):
    points, numbers = _cluster(n_atoms, seed)
    return single(points, numbers, dtype=torch.float64)


def _cell(n_atoms, pbc, seed=1, shape=((1.0, 0.2, 0.0), (0.0, 1.0, 0.1), (0.1, 0.0, 1.0))):
    points, numbers = _cluster(n_atoms, seed)
    length = (n_atoms * 9.0) ** (1 / 3) + 1.0
    return single(points, numbers, np.array(shape) * length, pbc, dtype=torch.float64)


STRUCTURES = {
    "molecule": _molecule,
    "crystal": lambda: _cell(40, True),
    "cell smaller than the cutoff": lambda: _cell(5, True),
    "one atom that sees its own images": lambda: single(
        [[0.1, 0.2, 0.3]], [6], np.eye(3) * 3.1, True, dtype=torch.float64
    ),
    "slab": lambda: _cell(18, (True, True, False)),
    "wire": lambda: _cell(9, (False, True, False)),
    "one atom": lambda: single([[1.0, 2.0, 3.0]], [8], dtype=torch.float64),
    "two atoms that do not see each other": lambda: single([[0, 0, 0], [9.0, 0, 0]], [1, 6], dtype=torch.float64),
    "two atoms in the range of the repulsion": lambda: single([[0, 0, 0], [0.6, 0.1, 0]], [1, 8], dtype=torch.float64),
    "atoms at the edge of each other's cores": lambda: single(
        [[0, 0, 0], [0.65, 0.1, 0], [0.1, 0.8, 0.2], [0.9, 0.9, 0.9]], [1, 8, 6, 16], dtype=torch.float64
    ),
    "batch": lambda: concatenate(
        [
            _molecule(13, 3),
            single([[0, 0, 0]], [1], dtype=torch.float64),
            _cell(7, True),
            _molecule(60, 4),
            _molecule(2, 5),
        ]
    ),
}


SMALL = PaiNNConfig(hidden=16, n_radial=6)
NETWORKS = {
    **PRESETS,
    "gaussians": replace(PRESETS["tiny"], radial_basis="gaussian"),
    "own filters": replace(PRESETS["ultra-tiny"], shared_filters=False),
    "one layer": replace(SMALL, n_layers=1),
    "one layer, shared filters": replace(SMALL, n_layers=1, shared_filters=True),
    "two layers": replace(SMALL, n_layers=2),
    "five layers, short cutoff": replace(SMALL, n_layers=5, cutoff=3.3),
    "odd width": replace(SMALL, hidden=13),
    "two channels": replace(SMALL, hidden=2),
    "wide": replace(SMALL, hidden=130, n_layers=2),
    "no core": replace(SMALL, core=0.0),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    """One shape of network after the other."""
    return NETWORKS[request.param]


@pytest.fixture(params=STRUCTURES)
def structure(request):
    """One structure or batch after the other, in float64."""
    return STRUCTURES[request.param]()


@pytest.fixture
def make_structure():
    """A structure by name, or a molecule of so many atoms."""

    def make(what, seed=0):
        return STRUCTURES[what]() if isinstance(what, str) else _molecule(what, seed)

    return make


@pytest.fixture
def make_model():
    """A network with random numbers in every parameter, biases and reference energies included."""

    def make(config, dtype=torch.float64):
        torch.manual_seed(0)
        model = PaiNN(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.normal_(0, 0.1)
            model.scale.fill_(0.7)
            model.reference_energies.uniform_(-1000.0, -10.0)
        return model.to(dtype).eval().requires_grad_(False)

    return make


@pytest.fixture
def truth():
    """The reference's prediction in float64, and the edges it was made with."""

    def evaluate(model, batch, want=ALL):
        edges = find_neighbors(batch, model.cutoff)
        return ReferenceKernel(copy.deepcopy(model).double()).evaluate(batch, edges, want), edges

    return evaluate
