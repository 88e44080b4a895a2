"""NequIP with l = 1, 64 features, 3 layers, 5 Å; random weights; not compiled."""

import sys
import warnings
from importlib import metadata
from pathlib import Path

from ase.data import chemical_symbols
from nequip.data import AtomicDataDict, from_ase
from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
from nequip.model import NequIPGNNModel
from nequip.utils.global_state import set_global_state

# Last in the path, so that scripts here do not hide packages of the same names.
sys.path.append(str(Path(__file__).parent))
from system_structures import settle_torch, structures_of

CUTOFF = 5.0
ELEMENTS = [chemical_symbols[z] for z in (1, 6, 7, 8, 9, 15, 16, 17)]


def make_model():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        set_global_state()
        return NequIPGNNModel(
            seed=0, model_dtype="float32", r_max=CUTOFF, type_names=ELEMENTS, num_layers=3, l_max=1, parity=False,
            num_features=64, radial_mlp_width=64, avg_num_neighbors=30.0,
        ).eval()  # fmt: skip


def prepare(system, arguments):
    settle_torch()
    model = make_model()
    transforms = (ChemicalSpeciesToAtomTypeMapper(ELEMENTS), NeighborListTransform(CUTOFF, backend="matscipy"))
    structures, parts = structures_of(system)

    def step(positions):
        frames = []
        for atoms, part in zip(structures, parts, strict=True):
            atoms.set_positions(positions[part])
            data = from_ase(atoms)
            for transform in transforms:
                data = transform(data)
            frames.append(data)
        results = model(AtomicDataDict.batched_from_list(frames))
        energy, forces = results[AtomicDataDict.TOTAL_ENERGY_KEY], results[AtomicDataDict.FORCE_KEY]
        return energy.detach().numpy().reshape(-1), forces.detach().numpy()

    return step


def describe(arguments):
    return {
        "model": f"NequIP l=1, 64 features, 3 layers, {sum(p.numel() for p in make_model().parameters())} parameters, "
        "random weights, eager",
        "neighbours": "matscipy, every step, as in its ASE calculator",
        "versions": {name: metadata.version(name) for name in ("nequip", "e3nn", "torch", "numpy", "matscipy")},
    }
