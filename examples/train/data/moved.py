"""Structures moved by a student: ``python moved.py MODEL SET.h5 OUT.extxyz [--frames N] [--temperature LOW HIGH]``.

Every structure of the set is moved by Langevin dynamics with the student, many at once, each at a temperature of its
own between LOW and HIGH, and N frames of each are written with its charge, its molecules and their charges, to be
labelled. Random placement gives complexes at all distances and orientations; this gives the contacts they prefer, with
molecules that are deformed by each other. A structure that the student tears apart is left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import ase.io
import numpy as np

import mlff_core
from mlff_core.data.convert import atoms_from_structure
from mlff_core.data.reader import Dataset
from mlff_core.data.sampling import langevin_md
from mlff_core.data.structure import LabelledStructure
from mlff_core.errors import MlffError
from mlff_core.potentials.interface import Potential

TOGETHER = 48
"""Number of structures moved as one batch."""
STEPS = 80
"""Steps of 0.5 fs before each frame."""


def moved(
    potential: Potential,
    starts: list[LabelledStructure],
    rng: np.random.Generator,
    n_frames: int,
    temperature_k: tuple[float, float],
) -> list[LabelledStructure]:
    """Return frames of the starts; if one of them fails, each is tried alone."""
    try:
        runs = langevin_md(potential, starts, rng, n_frames=n_frames, steps_between=STEPS, temperature_k=temperature_k)
        return [frame for run in runs for frame in run]
    except MlffError as error:
        if len(starts) == 1:
            print(f"left out: {error}", flush=True)
            return []
        return [frame for one in starts for frame in moved(potential, [one], rng, n_frames, temperature_k)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, default=2)
    parser.add_argument("--temperature", type=float, nargs=2, default=(200.0, 500.0), metavar=("LOW", "HIGH"))
    asked = parser.parse_args()
    potential, rng, n_written = mlff_core.load(asked.model), np.random.default_rng(0), 0
    part = asked.out.with_suffix(".part.extxyz")
    part.unlink(missing_ok=True)
    with Dataset(asked.source) as dataset:
        for first in range(0, len(dataset), TOGETHER):
            starts = list(dataset.structures(range(first, min(first + TOGETHER, len(dataset)))))
            frames = moved(potential, starts, rng, asked.frames, tuple(asked.temperature))
            n_written += len(frames)
            ase.io.write(part, [atoms_from_structure(frame) for frame in frames], append=True, format="extxyz")
            print(f"{min(first + TOGETHER, len(dataset))} of {len(dataset)} structures", flush=True)
    if n_written == 0:
        raise SystemExit(
            f"moved.py: {asked.model} could move no structure of {asked.source}; give a student that takes ions"
        )
    part.rename(asked.out)


if __name__ == "__main__":
    main()
