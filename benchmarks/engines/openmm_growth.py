"""Time of an OpenMM step with ``openmm-torchforce`` against the number of atoms: periodic water, 99 to 1998 atoms.

    python -m benchmarks openmm_growth MODEL [--sizes 99,198,…] [--seconds 6] [--json FILE]

Each size has its own Context, on the Reference platform and one thread. A round includes all sizes, so that other load
on the machine affects all equally. Every step has new positions; every fourth is far from the last search, so that
neighbours are searched. Times are medians of processor time. ``handled_per_atom`` is the number of tensor elements that
a search writes per atom, which does not depend on a clock, and ``pairs_per_atom`` that of the pairs it finds. The
exponents come from linear fits of the logarithms.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import openmm
import torch

from benchmarks.command import parser, use_threads, write
from benchmarks.speed.growth import STEPS_A_SEARCH, exponent
from mlff_core import load
from mlff_core.export.writing import edge_graph
from mlff_core.model.scripted_neighbors import ScriptedNeighbors
from mlff_core.potentials.interface import Potential
from mlff_core.testing.counting import count_elements
from mlff_core.units import ANGSTROM_PER_NM
from mlff_plugins.benchmark.systems import water_box
from mlff_plugins.openmm import create_force
from mlff_plugins.openmm.force_module import DEFAULT_SKIN

SIZES = (99, 198, 300, 501, 999, 1998)


class Water:
    """A box of water in a Context, and the processor times of its steps."""

    def __init__(self, potential: Potential, n_atoms: int) -> None:
        self.atoms = water_box(n_atoms // 3)
        box_nm = np.asarray(self.atoms.cell) / ANGSTROM_PER_NM
        system = openmm.System()
        for _ in self.atoms:
            system.addParticle(1.0)
        system.setDefaultPeriodicBoxVectors(*box_nm)
        system.addForce(create_force(potential, self.atoms.numbers.tolist(), backend="torchforce", periodic=True))
        platform = openmm.Platform.getPlatformByName("Reference")
        self.context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
        self.swing = np.random.default_rng(0).uniform(-0.1, 0.1, size=self.atoms.positions.shape)
        self.n_steps = 0
        self.times: dict[bool, list[float]] = {True: [], False: []}

    def step(self) -> None:
        """Compute energy and forces at the next positions."""
        # A shift of all atoms makes the neighbour list outdated and changes nothing else.
        aside = 0.6 * ((self.n_steps // STEPS_A_SEARCH) % 2)
        moved = self.atoms.positions + self.swing * np.sin(self.n_steps) + [aside, 0.0, 0.0]
        began = time.process_time()
        self.context.setPositions(moved / ANGSTROM_PER_NM)
        self.context.getState(energy=True, forces=True)
        # The first two steps, in which TorchScript compiles, are not counted.
        if self.n_steps > 1:
            self.times[self.n_steps % STEPS_A_SEARCH == 0].append(1e3 * (time.process_time() - began))
        self.n_steps += 1


def row_of(water: Water, cutoff: float) -> dict[str, Any]:
    """Return the results of one size."""
    n_atoms = len(water.atoms)
    search = ScriptedNeighbors(cutoff, DEFAULT_SKIN)
    positions, cell = torch.from_numpy(water.atoms.positions), torch.from_numpy(np.asarray(water.atoms.cell))
    with count_elements() as handled:
        centers, _, _ = search.search(positions, cell, True)
    return {
        "n_atoms": n_atoms,
        "step_ms": statistics.median(water.times[False]),
        "search_step_ms": statistics.median(water.times[True]),
        "n_steps": len(water.times[False]),
        "n_searches": len(water.times[True]),
        "pairs_per_atom": len(centers) / n_atoms,
        "handled_per_atom": handled.n / n_atoms,
    }


def main() -> None:
    """Print a table, and write it as JSON if requested."""
    options = parser(__doc__)
    options.add_argument("model")
    options.add_argument("--sizes", default=",".join(map(str, SIZES)))
    options.add_argument("--seconds", type=float, default=6.0, help="processor time for each size, about")
    arguments = options.parse_args()
    use_threads(1)
    potential = load(arguments.model, device="cpu", kernel="reference")
    edge_graph(potential)
    waters = [Water(potential, int(size)) for size in arguments.sizes.split(",")]
    # The same number of steps for each size, with two searches and the compiling steps at least.
    end = time.process_time() + arguments.seconds * len(waters)
    while waters[0].n_steps < 2 * STEPS_A_SEARCH + 2 or time.process_time() < end:
        for water in waters:
            water.step()
    rows = [row_of(water, potential.card.cutoff) for water in waters]
    for row in rows:
        print(
            f"{row['n_atoms']:5d} atoms: {row['step_ms']:8.2f} ms, with a search {row['search_step_ms']:8.2f} ms; "
            f"{row['pairs_per_atom']:.0f} pairs and {row['handled_per_atom']:.0f} numbers an atom in a search"
        )
    exponents = {value: exponent(rows, value, from_atoms=300) for value in ("step_ms", "search_step_ms")}
    print(f"exponents from 300 atoms on: {exponents}")
    versions = {"openmm": openmm.Platform.getOpenMMVersion(), "torch": torch.__version__}
    write(arguments.out, {"versions": versions, "rows": rows, "exponents_from_300_atoms": exponents})


if __name__ == "__main__":
    main()
