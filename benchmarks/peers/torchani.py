"""ANI-2x, one of its eight members; random weights, since the package would download its own."""

import os
from importlib import metadata

import torch
from torchani import models
from torchani.grad import energies_and_forces

EV_PER_HARTREE = 27.211386245988


def make_model(neighborlist):
    torch.manual_seed(0)
    # The same as ANI2x() without loading the weights.
    fetch, models._fetch_state_dict = models._fetch_state_dict, lambda *_, **__: None
    load, models.ANI.load_state_dict = models.ANI.load_state_dict, lambda *_, **__: None
    try:
        return models.ANI2x(model_index=0, neighborlist=neighborlist).float().eval()
    finally:
        models._fetch_state_dict, models.ANI.load_state_dict = fetch, load


def prepare(system, arguments):
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.set_flush_denormal(True)
    n_systems = len(system.cells)
    periodic = bool(system.pbc.all())
    # The list with a skin supports one structure. TorchScript was not faster than the module itself.
    model = make_model(("verlet_cell_list" if n_systems == 1 else "cell_list") if periodic else "all_pairs")
    species = torch.from_numpy(system.numbers).reshape(n_systems, -1)
    cell = torch.from_numpy(system.cells[0]).float() if periodic else None
    pbc = torch.from_numpy(system.pbc[0]) if periodic else None

    def step(positions):
        coordinates = torch.from_numpy(positions).float().reshape(n_systems, -1, 3)
        energies, forces = energies_and_forces(model, species, coordinates, cell, pbc)
        return EV_PER_HARTREE * energies.detach().numpy(), EV_PER_HARTREE * forces.numpy().reshape(-1, 3)

    return step


def describe(arguments):
    model = make_model("all_pairs")
    return {
        "model": f"ANI-2x, one member, {sum(p.numel() for p in model.parameters())} parameters, random weights",
        "neighbours": "own: all pairs for molecules, cell list under a skin of 1 Å for water",
        "versions": {name: metadata.version(name) for name in ("torchani", "torch", "numpy")},
    }
