"""The model in i-PI's own process: the file that ``<ffdirect>`` and ``i-pi-driver-py -m custom`` load.

i-PI looks for ``__DRIVER_CLASS__`` and loads the file by its path (``mlff ipi-pes-path`` prints it).
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlff_core.errors import InputError
from mlff_core.models.opening import opened
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.watched import Action, WatchedPotential
from mlff_core.structures.batch import AtomicBatch
from mlff_core.structures.reading import batch_from_atoms
from mlff_plugins.ipi.driver import Driver
from mlff_plugins.ipi.input_file import read_template
from mlff_plugins.ipi.protocol import Structures

__DRIVER_NAME__ = "mlff"
__DRIVER_CLASS__ = "MLFFDriver"

Result = tuple[float, npt.NDArray[np.float64], npt.NDArray[np.float64], str]


class MLFFDriver:
    """Computes energies, forces and virials for i-PI.

    Parameters
    ----------
    template
        A structure file with the atoms in i-PI's order, or a batch of one structure.
    model
        A name, a path, or a potential.
    device, dtype
        As in :func:`mlff_core.load`; a potential keeps its own.
    max_uncertainty
        Largest standard deviation of a force component, eV/Å, of a model that is a committee; None for no limit.
    on_uncertain
        ``"warn"`` or ``"stop"``: action above the limit.
    i_pi
        Other arguments of i-PI, such as its ``verbosity``; they have no effect.

    Raises
    ------
    InputError, UnsupportedError
        The model does not support the template, has no uncertainty to watch, or template or model are missing.
    """

    def __init__(
        self,
        template: str | Path | AtomicBatch | None = None,
        model: str | Path | Potential | None = None,
        device: str = "auto",
        dtype: str = "float32",
        max_uncertainty: float | None = None,
        on_uncertain: Action = "warn",
        **i_pi: Any,
    ) -> None:
        if template is None or model is None:
            raise InputError("<parameters> must hold template and model: {template:start.xyz, model:model.pt}")
        potential = opened(model, device=device, dtype=dtype)
        if max_uncertainty is not None:
            potential = WatchedPotential(potential, max_forces_std=_number(max_uncertainty), on_uncertain=on_uncertain)
        batch = template if isinstance(template, AtomicBatch) else batch_from_atoms(read_template(template))
        self._driver = Driver(potential, batch)

    def __call__(self, cell: Any, pos: Any) -> Result | list[Result]:
        """Return the result of :meth:`compute`; i-PI calls the driver object itself."""
        return self.compute(cell, pos)

    def compute(self, cell: Any, pos: Any) -> Result | list[Result]:
        """Return energy, forces, virial and extras of a structure, or a list of them for lists.

        Parameters
        ----------
        cell
            i-PI's cell matrix, columns are lattice vectors, shape (3, 3), bohr; or a list of them.
        pos
            Positions, shape (n_atoms, 3), bohr; or a list of them.

        Raises
        ------
        InputError
            Energy, forces or virial are not finite, or the structure is bad.
        UncertaintyError
            The model is not sure enough, and is to stop.
        """
        try:
            return self._computed(cell, pos)
        except Exception as error:
            _end_ipi(error)
            raise

    def _computed(self, cell: Any, pos: Any) -> Result | list[Result]:
        many = isinstance(cell, list)
        cells, positions = (cell, pos) if many else ([cell], [pos])
        found = self._driver(Structures(np.asarray(cells, dtype=np.float64), np.asarray(positions, dtype=np.float64)))
        for k in range(len(cells)):
            if not all(np.isfinite(part[k]).all() for part in (found.energies, found.forces, found.virials)):
                raise InputError(
                    f"energy, forces or virial of structure {k + 1} of {len(cells)} are not finite; shorten the time "
                    "step, or check the structure and the model"
                )
        results = [
            (float(found.energies[k]), found.forces[k], found.virials[k], found.extras[k]) for k in range(len(cells))
        ]
        return results if many else results[0]


def _number(value: Any) -> float:
    # i-PI converts arguments that look like numbers, and passes the rest as text.
    try:
        return float(value)
    except ValueError:
        raise InputError(f"max_uncertainty must be a number, eV/Å, got {value!r}") from None


def _end_ipi(error: Exception) -> None:
    """End the simulation if the caller is a thread of i-PI, which would wait forever for the thread's result."""
    # Not imported here: if the caller is i-PI, it is loaded already.
    module = sys.modules.get("ipi.utils.softexit")
    if module is None or all(thread is not threading.current_thread() for thread, _ in module.softexit.tlist):
        return
    # In a thread of its own, like i-PI after a disconnect, since the end waits for all other threads.
    message = f"{type(error).__name__}: {error}."
    threading.Thread(target=module.softexit.trigger, kwargs={"message": message}, daemon=True).start()
