"""A structure in a LAMMPS instance of its own, evaluated by ``run 0``."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from ase.data import atomic_masses

from mlff_core.errors import InputError
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.prediction import Prediction
from mlff_plugins.lammps.charges import PROPERTY
from mlff_plugins.lammps.convert import VIRIAL_ORDER, energy_unit, restricted_cell
from mlff_plugins.lammps.driver import attach, open_lammps

MARGIN = 1.0
"""Distance between atoms and the faces of the box along non-periodic directions, Å."""

_PRESSURES = " ".join(f"c_pressure[{k}]" for k in range(1, 7))


class LAMMPSBox:
    """A LAMMPS instance that computes one structure after the other.

    Parameters
    ----------
    potential
        The potential that drives it.
    units
        LAMMPS' style of units, ``"metal"`` or ``"real"``.
    skin
        Å, of the neighbour list.
    """

    def __init__(self, potential: Potential, units: str, skin: float) -> None:
        self._unit = energy_unit(units)
        self._units, self._skin, self._potential = units, skin, potential
        self._lmp = open_lammps()

    def close(self) -> None:
        """End the LAMMPS instance."""
        self._lmp.close()

    def evaluate(self, batch: AtomicBatch) -> Prediction:
        """Return energy, forces, stress, atom energies and charges of one structure from LAMMPS after ``run 0``.

        Raises
        ------
        InputError, UnsupportedError
            As :meth:`~mlff_core.potentials.interface.Potential.predict`.
        """
        batch.validate_values()
        pbc = batch.pbc[0].cpu().numpy()
        given = batch.cell[0].detach().cpu().double().numpy()
        cell, rotation = restricted_cell(given, pbc)
        self._build(batch, cell, rotation, int(pbc.sum()))
        self._lmp.command("run 0 post no")
        return self._read(rotation, abs(float(np.linalg.det(given))) if pbc.any() else 0.0)

    def _build(self, batch: AtomicBatch, cell: npt.NDArray[np.float64], rotation: Any, n_periodic: int) -> None:
        """Set a new box and new atoms in LAMMPS; cell and rotation are (3, 3), the cell in Å."""
        lmp = self._lmp
        positions = batch.positions.detach().cpu().double().numpy() @ rotation.T
        numbers = batch.atomic_numbers.cpu().numpy()
        elements, types = np.unique(numbers, return_inverse=True)
        low, high = positions.min(axis=0) - MARGIN, positions.max(axis=0) + MARGIN
        low[:n_periodic], high[:n_periodic] = 0.0, np.diag(cell)[:n_periodic]
        bounds = " ".join(f"{a!r} {b!r}" for a, b in zip(low.tolist(), high.tolist(), strict=True))
        tilts = " ".join(repr(float(cell[i, j])) for i, j in ((1, 0), (2, 0), (2, 1)))
        lmp.command("clear")
        for line in (
            f"units {self._units}",
            "atom_modify map array sort 0 0.0",
            "boundary " + " ".join("p" if k < n_periodic else "f" for k in range(3)),
            "box tilt large",
            f"region box prism {bounds} {tilts} units box",
            f"create_box {len(elements)} box",
            "comm_modify cutoff 1.0",
        ):
            lmp.command(line)
        for kind, number in enumerate(elements, start=1):
            lmp.command(f"mass {kind} {float(atomic_masses[number])!r}")
        n_atoms = len(numbers)
        lmp.create_atoms(
            n_atoms, list(range(1, n_atoms + 1)), (types.reshape(-1) + 1).tolist(), positions.ravel().tolist()
        )
        if lmp.get_natoms() != n_atoms:
            raise InputError(f"LAMMPS took {lmp.get_natoms():.0f} of {n_atoms} atoms; wrap them into the cell")
        attach(
            lmp,
            self._potential,
            [_symbol(number) for number in elements],
            skin=self._skin,
            rotation=rotation,
            charge=None if batch.charge is None else float(batch.charge[0]),
            spin_multiplicity=None if batch.spin_multiplicity is None else int(batch.spin_multiplicity[0]),
        )
        if "charges" in self._potential.supports:
            lmp.command(f"fix charges all property/atom {PROPERTY}")
        for line in (
            "compute energies all pe/atom",
            "compute total all reduce sum c_energies",
            "compute pressure all pressure NULL virial",
            f"thermo_style custom step pe c_total {_PRESSURES}",
        ):
            lmp.command(line)

    def _read(self, rotation: npt.NDArray[np.float64], volume: float) -> Prediction:
        """Return the results of LAMMPS; rotation (3, 3), volume in Å³, zero if there is no stress."""
        lmp, supports = self._lmp, self._potential.supports
        # LAMMPS' arrays also contain its ghost atoms.
        order = np.argsort(lmp.numpy.extract_atom("id")[: lmp.extract_setting("nlocal")])
        forces = lmp.numpy.extract_atom("f")[order] @ rotation / self._unit
        energies = stress = charges = None
        if "charges" in supports:
            charges = torch.from_numpy(lmp.numpy.extract_atom(PROPERTY)[order])
        if "atom_energies" in supports:
            energies = torch.from_numpy(lmp.numpy.extract_compute("energies", 1, 1)[order] / self._unit)
        if "stress" in supports and volume > 1e-6:
            pressures = lmp.numpy.extract_compute("pressure", 0, 1)
            # The factor to bars is LAMMPS' own; its box has another volume if a direction is not periodic.
            factor = lmp.get_thermo("vol") / (lmp.extract_global("nktv2p") * self._unit * volume)
            tensor = np.empty((3, 3))
            for (i, j), pressure in zip(VIRIAL_ORDER, pressures, strict=True):
                tensor[i, j] = tensor[j, i] = -pressure * factor
            stress = torch.from_numpy(rotation.T @ tensor @ rotation)[None]
        return Prediction(
            energy=torch.tensor([lmp.get_thermo("pe") / self._unit], dtype=torch.float64),
            forces=torch.from_numpy(forces),
            stress=stress,
            atom_energies=energies,
            charges=charges,
        )


def _symbol(number: int) -> str:
    from ase.data import chemical_symbols

    return str(chemical_symbols[number])
