"""A model in a LAMMPS instance, through ``fix external pf/callback``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mlff_core.errors import InputError, MlffError, UnsupportedError
from mlff_core.models.opening import opened
from mlff_core.potentials.checks import check_elements
from mlff_core.potentials.interface import Potential
from mlff_core.potentials.verlet import VerletPotential
from mlff_plugins.lammps.charges import ChargeOutput
from mlff_plugins.lammps.convert import energy_unit, from_prediction
from mlff_plugins.lammps.frame import Frame, FrameKey, OutputBuffer, Reader
from mlff_plugins.lammps.loader import load_lammps, open_library
from mlff_plugins.lammps.species import atomic_numbers_of_types

DEFAULT_SKIN = 1.0
"""Å."""

_WARNING = 0
"""LAMMPS' level of messages that go to screen and log only."""

_MINIMISING = 2
"""What ``lammps_is_running`` returns within ``minimize``; 1 within ``run``."""

_STOP = "0.0/v_{name}_good"


@cache
def instance_class() -> Any:
    """Return LAMMPS' class, changed so that it raises the model's error if that stopped the run."""
    base: Any = load_lammps().lammps

    class LAMMPS(base):  # type: ignore[misc]
        """LAMMPS with failed commands that raise the model's error."""

        mlff_driver: Driver | None = None

        @property
        def _lammps_exception(self) -> BaseException:
            # LAMMPS' own message names only the variable that stopped the run.
            error: Exception = super()._lammps_exception
            mine = None if self.mlff_driver is None else self.mlff_driver.take_error()
            return error if mine is None else mine

    return LAMMPS


def open_lammps(arguments: Sequence[str] = ("-screen", "none", "-log", "none")) -> Any:
    """Return a new LAMMPS instance; the MPI library that it needs is found automatically.

    Parameters
    ----------
    arguments
        LAMMPS' command line; silent by default.

    Raises
    ------
    MissingDependencyError
        LAMMPS, or the MPI library it is linked to, is not installed.
    """
    return open_library(load_lammps(), instance_class(), list(arguments))


def attach(
    lmp: Any,
    model: str | Path | Potential,
    species: Sequence[str] | None = None,
    *,
    device: str = "auto",
    dtype: str = "float32",
    kernel: str = "auto",
    skin: float = DEFAULT_SKIN,
    rotation: npt.NDArray[np.float64] | None = None,
    charge: float | None = None,
    spin_multiplicity: int | None = None,
    write_q: bool = False,
    fix_id: str = "mlff",
) -> Driver:
    """Add the energy, forces and virial of a model to a LAMMPS instance, for all its atoms.

    If the instance has ``fix property/atom d_mlff_charge``, the charges of a model that gives them are in it.

    On bad input the run stops at once, and the command that started it raises an error of this package.

    Parameters
    ----------
    lmp
        An instance of ``lammps.lammps`` with a box and atoms, in ``units metal`` or ``units real``, on one process.
    model
        A name (``mlff models list``), the path of a model file, or a potential.
    species
        Element of each atom type, in order; None finds them from the masses.
    device, dtype, kernel
        As :func:`mlff_core.load` takes them; a potential keeps its own.
    skin
        Å, of the neighbour list; numbers do not depend on it.
    rotation
        Shape (3, 3), if the caller rotated a structure to fit LAMMPS' box: a row vector ``v`` of the caller is
        ``v @ rotation.T`` in LAMMPS. The model computes in the caller's frame, so that float32 rounds as in the
        caller's own evaluation.
    charge
        Total charge, e.
    spin_multiplicity
        2S + 1.
    write_q
        Whether to set the atoms' charges ``q`` to those of the model at every step.
    fix_id
        Name of the fix in LAMMPS.

    Raises
    ------
    InputError
        There is no box or no atoms, the species do not fit the types or masses, or the atoms have no ``q`` to write.
    UnsupportedError
        Other units, several MPI processes, an element that the model does not know, or no charges to write.
    """
    potential = opened(model, device=device, dtype=dtype, kernel=kernel)
    if lmp.extract_setting("world_size") > 1:
        raise UnsupportedError(
            f"a model in LAMMPS runs on one MPI process, got {lmp.extract_setting('world_size')}; start it without "
            "mpirun and give torch threads or a GPU, or build pair_style mlff with `mlff lammps build-plugin`"
        )
    if not lmp.extract_setting("box_exist") or lmp.get_natoms() < 1:
        raise InputError("LAMMPS has no box or no atoms yet; attach the model after read_data or create_atoms")
    numbers = atomic_numbers_of_types(lmp, species)
    check_elements(potential.card, numbers[1:].tolist())
    output = ChargeOutput(lmp, potential, write_q)
    driver = Driver(lmp, potential, numbers, skin, rotation, charge, spin_multiplicity, output, fix_id)
    driver.install()
    return driver


class Driver:
    """The callback that LAMMPS calls at each step; made by :func:`attach`.

    Parameters
    ----------
    lmp
        The LAMMPS instance.
    potential
        The potential.
    numbers
        Atomic number of each atom type, shape (n_types + 1,); types count from 1.
    skin
        Å.
    rotation
        From the model's frame to LAMMPS', shape (3, 3); None where they are one.
    charge, spin_multiplicity
        Charge, e, and multiplicity, 2S + 1, of the whole system.
    charges
        Where the charges of atoms go.
    fix_id
        Name of the fix in LAMMPS.

    Attributes
    ----------
    error
        The error that stopped the run, until the command that started the run has raised it.
    n_calls
        Number of evaluations so far.
    """

    def __init__(
        self,
        lmp: Any,
        potential: Potential,
        numbers: npt.NDArray[np.int64],
        skin: float,
        rotation: npt.NDArray[np.float64] | None,
        charge: float | None,
        spin_multiplicity: int | None,
        charges: ChargeOutput,
        fix_id: str,
    ) -> None:
        self.error: BaseException | None = None
        self.n_calls = 0
        self.potential = potential
        self._lmp = lmp
        self._running = VerletPotential(potential, skin)
        self._numbers = numbers
        self._rotation = rotation
        self._charge, self._spin_multiplicity = charge, spin_multiplicity
        self._charges = charges
        self._fix_id = fix_id
        self._name = fix_id.encode()
        self._is_stopped = False
        self._reader = Reader(lmp)
        self._frame: Frame | None = None
        self._virial = OutputBuffer(6)
        self._want = {"energy", "forces", "atom_energies"} & (potential.supports | {"energy", "forces"})
        self._has_stress = "stress" in potential.supports
        self._unit = energy_unit(lmp.extract_global("units"))

    def install(self) -> None:
        """Add the fixes to the LAMMPS instance."""
        lmp, name = self._lmp, self._fix_id
        kind = instance_class()
        if not hasattr(type(lmp), "mlff_driver"):
            # An instance that the caller opened: the class has the same layout, so only the report of errors changes.
            lmp.__class__ = kind
        lmp.mlff_driver = self
        lmp.command(f"fix {name} all external pf/callback 1 1")
        lmp.command(f"fix_modify {name} energy yes virial yes")
        # LAMMPS ignores an exception in its callback. A later fix therefore reads a variable that divides by zero. This
        # stops LAMMPS before atoms are moved or files written: in the set-up, in runs and in minimisations. It also
        # stops the input file, which would continue after a forced time-out.
        lmp.command(f"variable {name}_good internal 1.0")
        lmp.command(f"variable {name}_stop equal {_STOP.format(name=name)}")
        lmp.command(f"variable {name}_zero atom 0.0")
        lmp.command(f"fix {name}_stop all addforce v_{name}_stop 0.0 0.0 energy v_{name}_zero")
        lmp.set_fix_external_callback(name, self._called)

    def take_error(self) -> BaseException | None:
        """Return the error that stopped the run, or None, and make LAMMPS ready for the next run."""
        error, self.error = self.error, None
        if error is not None:
            # In LAMMPS a variable with a failed evaluation stays marked as being evaluated.
            self._lmp.command(f"variable {self._fix_id}_stop delete")
            self._lmp.command(f"variable {self._fix_id}_stop equal {_STOP.format(name=self._fix_id)}")
        return error

    def _called(self, _: Any, step: int, n_local: int, tags: Any, positions: Any, forces: Any) -> None:
        """Fill ``forces`` (n_local, 3); this is LAMMPS' callback, which must not raise an exception."""
        try:
            if self._is_stopped:
                self._tell_stop(False)
            self._evaluate(np.asarray(tags).reshape(-1), positions, forces)
        except BaseException as error:
            # Ctrl-C too: Python drops an exception that leaves a callback, and LAMMPS would continue.
            forces[:] = 0.0
            self.error = _at_step(error, step)
            self._lmp.error(_WARNING, f"The model stops LAMMPS: {self.error}")
            self._tell_stop(True)

    def _tell_stop(self, stop: bool) -> None:
        self._lmp.set_internal_variable(f"{self._fix_id}_good", 0.0 if stop else 1.0)
        self._is_stopped = stop

    def _evaluate(self, tags: Any, positions: Any, forces: Any) -> None:
        lmp = self._lmp
        key = self._reader.read(tags)
        if self._frame is not None and self._frame.key == key:
            frame, batch = self._frame, self._frame.at(positions)
        else:
            frame = self._frame = self._new_frame(key, tags, positions)
            batch = frame.batch
        want = self._want | {"stress"} if self._has_stress and frame.is_periodic else self._want
        if wants_charges := self._charges.wanted():
            want = want | {"charges"}
        is_minimising = lmp.lib.lammps_is_running(lmp.lmp) == _MINIMISING
        prediction = self._running.predict(batch, want=want, dynamics=not is_minimising)
        results = from_prediction(prediction, frame.volume, self._unit, self._rotation)
        forces[frame.order] = results.forces
        # The library function itself; the wrappers would make new lists and pointers.
        lmp.lib.lammps_fix_external_set_energy_global(lmp.lmp, self._name, results.energy)
        self._virial.values[:] = 0.0 if results.virial is None else results.virial
        lmp.lib.lammps_fix_external_set_virial_global(lmp.lmp, self._name, self._virial.pointer)
        if wants_charges:
            given = prediction.need("charges", self.potential.card.name)
            self._charges.write(given.detach().cpu().double().numpy(), frame.order)
        # Read by LAMMPS only if a compute asks for virials of atoms.
        lmp.lib.lammps_fix_external_set_virial_peratom(lmp.lmp, self._name, frame.no_virials)
        if results.atom_energies is not None:
            frame.energies.values[frame.order] = results.atom_energies
            lmp.lib.lammps_fix_external_set_energy_peratom(lmp.lmp, self._name, frame.energies.pointer)
        self.n_calls += 1

    def _new_frame(self, key: FrameKey, tags: Any, positions: Any) -> Frame:
        state = self._rotation, self._charge, self._spin_multiplicity
        device, dtype = self._running.device, self._running.dtype
        return Frame(key, tags, positions, self._numbers, *state, dtype=dtype, device=device)


def _at_step(error: BaseException, step: int) -> BaseException:
    """Return errors of this package with the LAMMPS step added, and others unchanged."""
    if isinstance(error, MlffError):
        located = type(error)(f"{error} (LAMMPS step {step})")
        located.__cause__ = error
        return located
    return error
