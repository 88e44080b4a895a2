"""Eight molecules relaxed, then moved at 300 K, all in one batch: python torchsim_batched_nvt.py model.pt."""

import sys

import torch_sim as ts
from ase.build import molecule

from mlff_plugins.torchsim import TorchSimModel

model = TorchSimModel(sys.argv[1])
frames = []
for k in range(8):
    frames.append(molecule("CH3CH2OH"))
    frames[-1].rattle(0.05, seed=k)

if hasattr(ts, "Optimizer"):  # torch-sim 0.6, Python 3.12 or newer
    relax, thermostat = ts.Optimizer.gradient_descent, ts.Integrator.nvt_langevin
else:  # torch-sim 0.3, Python 3.11
    relax, thermostat = ts.gradient_descent, ts.nvt_langevin

converged = ts.generate_force_convergence_fn(0.5, include_cell_forces=False)
state = ts.optimize(frames, model, optimizer=relax, max_steps=50, convergence_fn=converged)
print("relaxed", [f"{energy:.3f}" for energy in state.energy.tolist()], "eV")

state = ts.integrate(state, model, integrator=thermostat, n_steps=100, temperature=300, timestep=0.0005)
print("at 300 K", [f"{energy:.3f}" for energy in state.energy.tolist()], "eV")
