"""i-PI's force fields, used for single points in this process.

Sending, waiting, receiving and queueing is i-PI's code (``FFSocket`` with its ``InterfaceSocket``, and ``FFDirect``);
this package answers.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import threading
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.geometry import complete_cell

from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch, split
from mlff_core.structures.prediction import Prediction
from mlff_core.units import ANGSTROM_PER_BOHR, EV_PER_HARTREE
from mlff_plugins.ipi.client import Address, Client, connect
from mlff_plugins.ipi.convert import FORCE
from mlff_plugins.ipi.driver import Driver
from mlff_plugins.ipi.protocol import IPIError

ACCEPT_S = 0.01
"""i-PI waits this long for another driver after each connection; here there is only one driver."""


class Session(ABC):
    """One of i-PI's force fields with a model; it is made again when the atoms change.

    Parameters
    ----------
    potential
        The potential.
    """

    def __init__(self, potential: Potential) -> None:
        self.potential = potential
        self._template: AtomicBatch | None = None
        self._forcefield: Any = None

    def evaluate(self, batch: AtomicBatch) -> Prediction:
        """Return the results that i-PI receives for each structure, in eV and Å.

        Raises
        ------
        MlffError
            The model refuses a structure.
        """
        with quiet():
            results = [self._one(structure) for structure in split(batch)]
        periodic = bool(batch.pbc.any(dim=1).all())
        energies = [float(result[0]) * EV_PER_HARTREE for result in results]
        forces = np.concatenate([np.asarray(result[1]).reshape(-1, 3) for result in results]) * FORCE
        stress = None
        if periodic and "stress" in self.potential.supports:
            virials = np.stack([np.asarray(result[2]).reshape(3, 3) for result in results]) * EV_PER_HARTREE
            volumes = torch.linalg.det(batch.cell.double()).abs().cpu().numpy()
            stress = torch.as_tensor(-virials.transpose(0, 2, 1) / volumes[:, None, None])
        return Prediction(
            energy=torch.tensor(energies, dtype=torch.float64), forces=torch.as_tensor(forces), stress=stress
        )

    def close(self) -> None:
        """End the force field and the driver."""
        self._template = None
        if self._forcefield is not None:
            forcefield, self._forcefield = self._forcefield, None
            with quiet():
                self._stop(forcefield)

    def _one(self, structure: AtomicBatch) -> list[Any]:
        from ipi.engine.atoms import Atoms
        from ipi.engine.cell import GenericCell

        if self._template is None or not _same_atoms(self._template, structure):
            self.close()
            self._forcefield = self._start(structure)
            self._template = structure
        atoms = Atoms(structure.n_atoms)
        atoms.q = structure.positions.detach().cpu().double().numpy().reshape(-1) / ANGSTROM_PER_BOHR
        # In i-PI every structure has a cell; the model uses it along periodic directions only.
        rows = complete_cell(structure.cell[0].detach().cpu().double().numpy())
        cell = GenericCell(np.ascontiguousarray(rows.T) / ANGSTROM_PER_BOHR)
        try:
            request = self._forcefield.queue(atoms, cell)
            self._wait(self._forcefield, request)
            self._forcefield.release(request)
        except BaseException:
            # The request is still in i-PI's queue, so the next structure gets a new force field.
            self.close()
            raise
        result: list[Any] = request["result"]
        return result

    @abstractmethod
    def _start(self, structure: AtomicBatch) -> Any:
        """Return i-PI's force field for structures with these atoms."""

    @abstractmethod
    def _wait(self, forcefield: Any, request: Any) -> None:
        """Poll i-PI until the request is done."""

    @abstractmethod
    def _stop(self, forcefield: Any) -> None:
        """End the force field."""


class SocketSession(Session):
    """i-PI's ``FFSocket`` on a UNIX socket, and this package's client in a thread."""

    def _start(self, structure: AtomicBatch) -> Any:
        from ipi.engine.forcefields import FFSocket
        from ipi.interfaces import sockets

        driver = Driver(self.potential, structure)
        self._error: BaseException | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="mlff-ipi-")
        prefix = str(Path(self._folder.name) / "ipi_")
        interface = sockets.InterfaceSocket(address="mlff", mode="unix", sockets_prefix=prefix, timeout=0.0)
        # Not threaded: each request polls in the caller's thread, and nothing is left running.
        forcefield = FFSocket(dopbc=False, threaded=False, interface=interface)
        forcefield.socket.open()
        client = Client(connect(Address.unix("mlff", prefix)), driver, driver.n_atoms)
        self._thread = threading.Thread(target=self._serve, args=(client,), name="mlff-ipi", daemon=True)
        self._thread.start()
        before, sockets.SERVERTIMEOUT = sockets.SERVERTIMEOUT, ACCEPT_S
        try:
            # i-PI uses a copy of the accepted socket and leaves the first one to the garbage collector.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                interface.pool_update()
        finally:
            sockets.SERVERTIMEOUT = before
        return forcefield

    def _serve(self, client: Client) -> None:
        try:
            client.serve()
        except BaseException as error:
            self._error = error

    def _wait(self, forcefield: Any, request: Any) -> None:
        while request["status"] != "Done":
            if not self._thread.is_alive():
                raise self._error or IPIError("i-PI ended the connection before it had asked for forces")
            forcefield.poll()

    def _stop(self, forcefield: Any) -> None:
        forcefield.socket.close()
        # i-PI skips this if shutting down the socket fails.
        forcefield.socket.server.close()
        self._thread.join()
        self._folder.cleanup()


class DirectSession(Session):
    """i-PI's ``FFDirect`` with the file that ``mlff ipi-pes-path`` names."""

    def _start(self, structure: AtomicBatch) -> Any:
        from ipi.engine.forcefields import FFDirect

        from mlff_plugins.ipi.pes_file import PES_FILE

        parameters = {"template": structure, "model": self.potential}
        forcefield = FFDirect(pes="custom", pes_path=str(PES_FILE), pars=parameters)
        # i-PI writes the parameters out as text for every request.
        forcefield.pars = {}
        return forcefield

    def _wait(self, forcefield: Any, request: Any) -> None:
        while request["status"] != "Done":
            forcefield.poll()

    def _stop(self, forcefield: Any) -> None:
        forcefield.stop()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the printing of i-PI inside this context."""
    from ipi.utils.messages import verbosity

    before = verbosity.level
    verbosity.level = "quiet"
    try:
        # i-PI prints some of its warnings at every level.
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        verbosity.level = ("quiet", "low", "medium", "high", "debug", "trace")[before]


def _same_atoms(one: AtomicBatch, other: AtomicBatch) -> bool:
    """Return whether a force field made for one structure can be used for the other."""
    for name in ("atomic_numbers", "pbc", "charge", "spin_multiplicity"):
        before, after = getattr(one, name), getattr(other, name)
        if (before is None) != (after is None) or (before is not None and not torch.equal(before, after)):
            return False
    return True
