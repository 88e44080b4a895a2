"""MACE with 64 invariant channels (64x0e, two layers, 5 Å), the smallest of its published sizes; random weights."""

import os
import sys
from importlib import metadata
from pathlib import Path

# e3nn 0.4.4 reads its constants by pickle, which torch refuses without this setting.
os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"

import numpy as np
import torch
from e3nn import o3
from mace import data, modules
from mace.tools import AtomicNumberTable, torch_geometric

# Last in the path, so that scripts here do not hide packages of the same names.
sys.path.append(str(Path(__file__).parent))
from system_structures import settle_torch, structures_of

CUTOFF = 5.0
TABLE = AtomicNumberTable([1, 6, 7, 8, 9, 15, 16, 17])


def make_model():
    torch.manual_seed(0)
    return (
        modules.ScaleShiftMACE(
            r_max=CUTOFF,
            num_bessel=8,
            num_polynomial_cutoff=5,
            max_ell=3,
            interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
            interaction_cls_first=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
            num_interactions=2,
            num_elements=len(TABLE),
            hidden_irreps=o3.Irreps("64x0e"),
            MLP_irreps=o3.Irreps("16x0e"),
            gate=torch.nn.functional.silu,
            atomic_energies=np.zeros(len(TABLE)),
            avg_num_neighbors=30.0,
            atomic_numbers=TABLE.zs,
            correlation=3,
            radial_type="bessel",
            radial_MLP=[64, 64, 64],
            atomic_inter_scale=1.0,
            atomic_inter_shift=0.0,
        )
        .eval()
        .requires_grad_(False)
    )


def prepare(system, arguments):
    settle_torch()
    model = make_model()
    keys = data.KeySpecification()
    structures, parts = structures_of(system)

    def step(positions):
        graphs = []
        for atoms, part in zip(structures, parts, strict=True):
            atoms.set_positions(positions[part])
            configuration = data.config_from_atoms(atoms, key_specification=keys)
            graphs.append(data.AtomicData.from_config(configuration, z_table=TABLE, cutoff=CUTOFF))
        batch = torch_geometric.batch.Batch.from_data_list(graphs)
        results = model(batch.to_dict(), compute_stress=False)
        return results["energy"].detach().numpy(), results["forces"].detach().numpy()

    return step


def describe(arguments):
    return {
        "model": f"ScaleShiftMACE 64x0e, {sum(p.numel() for p in make_model().parameters())} parameters, "
        "random weights",
        "neighbours": "matscipy, every step, as in its ASE calculator",
        "versions": {name: metadata.version(name) for name in ("mace-torch", "e3nn", "torch", "numpy", "matscipy")},
    }
