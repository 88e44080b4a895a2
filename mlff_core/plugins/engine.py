"""The base class of MD engines."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from mlff_core.plugins.options import read_options
from mlff_core.plugins.provider import Provider
from mlff_core.tolerance import Tolerance as Tolerance

if TYPE_CHECKING:
    from mlff_core.potentials.interface import Potential
    from mlff_core.structures.batch import AtomicBatch
    from mlff_core.structures.prediction import Prediction


class Engine(Provider):
    """An MD engine that a potential can drive.

    Attributes
    ----------
    capabilities
        A subset of ``"stress"``, ``"atom_energies"``, ``"charges"`` (of atoms), ``"hessian"``, ``"periodic"``,
        ``"slab"`` (partly periodic), ``"batch"`` (several structures in one evaluation), ``"charge"`` (the engine
        passes a total charge to the model), ``"float64"``.
        Every engine gives energy and forces.
    students_only
        True if the engine needs the network itself (it writes it into a file), so that only students can be bound.
    tolerance
        Largest deviation from ``predict`` in float32.
    tolerance_float64
        Largest deviation in float64.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset()
    students_only: ClassVar[bool] = False
    tolerance: ClassVar[Tolerance] = Tolerance()
    tolerance_float64: ClassVar[Tolerance] = Tolerance(energy=1e-8, forces=1e-8, stress=1e-8)

    @abstractmethod
    def bind(self, potential: Potential, options: Mapping[str, Any] | None = None) -> Any:
        """Return the engine's own object, driven by ``potential``.

        ``options`` are the engine's own. Every engine takes option ``"batch"``, the structure that comes first: it is
        checked here (:meth:`~mlff_core.potentials.interface.Potential.check`), so that bad input is refused with our
        error class before an engine wraps it in its own; and an engine that needs a structure to build its object
        (OpenMM's forces know their species) takes it from there. An object that holds a process, socket or file has a
        ``close()``.

        Raises
        ------
        MissingDependencyError
            The engine is not installed, or in a version outside the range of ``requires``; the message says both.
        InputError, UnsupportedError
            The potential, the structure or an option cannot be served.
        """

    def read_options(self, potential: Potential, options: Mapping[str, Any] | None, **defaults: Any) -> dict[str, Any]:
        """Return the options of :meth:`bind`, ``"batch"`` among them, after ``potential`` has checked that structure.

        Parameters
        ----------
        potential
            What is bound.
        options
            As :meth:`bind` was given.
        defaults
            The engine's own options and their defaults; see :func:`mlff_core.plugins.options.read_options`.

        Raises
        ------
        InputError
            An unknown option, a value of the wrong kind, or a bad structure.
        UnsupportedError
            A structure that the potential cannot serve.
        """
        given = read_options(f"engine {self.name}", options, batch=None, **defaults)
        if given["batch"] is not None:
            potential.check(given["batch"])
        return given

    @abstractmethod
    def evaluate(self, bound: Any, batch: AtomicBatch) -> Prediction:
        """Return energy, forces and the engine's other results for a batch, computed *through the engine*.

        ``bound`` comes from :meth:`bind`. Where an object bound for one structure must be rebuilt for another, this
        method does so.
        """
