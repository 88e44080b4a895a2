"""Copies of a cluster of 22 atoms in one batch of MD, compared with one copy alone: processor time of a step.

Run as ``python -m benchmarks replicas ultra-tiny original``.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time

import torch

from benchmarks.command import use_threads
from mlff_core.card import ModelCard
from mlff_core.dynamics import MDSettings, run_md, run_replicas
from mlff_core.model.painn import PaiNN
from mlff_core.model.presets import preset
from mlff_core.potentials.student import StudentPotential
from mlff_core.structures.examples import cluster

COPIES = 64
ROUNDS = 3


def seconds(potential, atoms, copies, n_steps):
    never = 10**6
    settings = MDSettings(
        "nvt", n_steps=n_steps, temperature_kelvin=300.0, log_every=never, frame_every=never, checkpoint_every=never
    )
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        if copies == 1:
            run_md(potential, atoms, settings, folder)
        else:
            run_replicas(potential, [atoms] * copies, settings, folder)
        return time.process_time() - begun


def per_step(potential, atoms, copies, n_steps):
    """Return seconds per step, from the difference of two run lengths, which excludes the start and the files."""
    longer = seconds(potential, atoms, copies, n_steps + 5)
    return (longer - seconds(potential, atoms, copies, 5)) / n_steps


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("presets", nargs="*", default=["original"], metavar="PRESET")
    arguments = options.parse_args()
    use_threads(1)
    atoms = cluster(22)
    for name in arguments.presets:
        config = preset(name)
        torch.manual_seed(0)
        model = PaiNN(config)
        model.scale.fill_(0.0005)  # small forces, so that random weights keep the cluster together
        card = ModelCard(name=name, elements=config.elements, cutoff=config.cutoff)
        potential = StudentPotential(model, card)
        together, alone = [], []
        for _ in range(ROUNDS):
            together.append(per_step(potential, atoms, COPIES, 10))
            alone.append(per_step(potential, atoms, 1, 150))
        batch = COPIES * len(atoms) / statistics.median(together)
        single = len(atoms) / statistics.median(alone)
        print(f"{name}: {batch:.0f} atoms/s together, {single:.0f} one by one, ratio {batch / single:.2f}", flush=True)


if __name__ == "__main__":
    main()
