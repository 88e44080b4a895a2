"""Infrared intensities beside the teacher's: ``python -m benchmarks spectra MODEL…``.

Harmonic vibrations of water, ethanol, acetic acid and N-methylacetamide, each at the minimum of the student and, from
there, of the teacher; modes are paired by motion and wavenumber (`mlff spectrum`). The goal is an R² of 0.95 for the
intensities of the four molecules together.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.command import parser, write
from mlff_core import load
from mlff_core.judging.metrics import r_squared
from mlff_core.plugins import host as plugins
from mlff_core.structures.reading import read_structures
from mlff_plugins.molecules.spectra import matched
from mlff_plugins.molecules.vibrations import vibrations

MOLECULES = {"water": "O", "ethanol": "CCO", "acetic acid": "CC(=O)O", "N-methylacetamide": "CC(=O)NC"}
GOAL = 0.95


def main() -> None:
    """Compare the students given on the command line with SO3LR."""
    line = parser(__doc__, "spectra.json")
    line.add_argument("models", nargs="+", metavar="MODEL")
    asked = line.parse_args()
    teacher = plugins.teacher("so3lr").load({})
    results = []
    for model in asked.models:
        potential = load(model, device="cpu", dtype="float64")
        rows, mine, theirs = [], [], []
        for name, smiles in MOLECULES.items():
            own = vibrations(potential, read_structures(smiles)[0])
            other = vibrations(teacher, own.atoms)
            assert own.intensities is not None
            assert other.intensities is not None
            order = matched(own, other)
            mine.append(own.intensities)
            theirs.append(other.intensities[order])
            rows.append(
                {
                    "molecule": name,
                    "wavenumbers_per_cm": own.wavenumbers.tolist(),
                    "intensities_km_per_mol": own.intensities.tolist(),
                    "teacher_wavenumbers_per_cm": other.wavenumbers[order].tolist(),
                    "teacher_intensities_km_per_mol": other.intensities[order].tolist(),
                    "wavenumber_mae_per_cm": float(np.abs(own.wavenumbers - other.wavenumbers[order]).mean()),
                    "intensity_mae_km_per_mol": float(np.abs(mine[-1] - theirs[-1]).mean()),
                    "intensity_r2": r_squared(theirs[-1], mine[-1]),
                }
            )
            print(
                f"{potential.card.name}, {name}: wavenumbers {rows[-1]['wavenumber_mae_per_cm']:.1f} 1/cm, "
                f"intensities {rows[-1]['intensity_mae_km_per_mol']:.1f} km/mol, R² {rows[-1]['intensity_r2']:.3f}",
                flush=True,
            )
        together = r_squared(np.concatenate(theirs), np.concatenate(mine))
        print(f"{potential.card.name}, all: R² {together:.3f} (goal {GOAL})", flush=True)
        results.append({"model": Path(model).name, "intensity_r2": together, "goal": GOAL, "molecules": rows})
    write(asked.out, {"teacher": "so3lr", "students": results})


if __name__ == "__main__":
    main()
