"""The entry points for openmm-ml: ``MLPotential("mlff", modelPath="model.pt")``, ``MLPotential("organic-tiny")``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from openmmml.mlpotential import MLPotentialImpl, MLPotentialImplFactory

from mlff_core.errors import InputError, UnsupportedError
from mlff_core.plugins.options import check_names
from mlff_plugins.openmm.force import create_force
from mlff_plugins.openmm.mixed import create_mixed_system

if TYPE_CHECKING:
    import openmm
    import openmm.app

ELECTROSTATIC = "mlff-electrostatic"
"""The model's own embedding, as ``createMixedSystem`` of openmm-ml names it."""

EMBEDDING = ("linkAtomDistances", "mlLongRange")
"""Arguments of openmm-ml's mechanical embedding, which are also passed to :meth:`MLFFPotentialImpl.addForces`."""


class MLFFPotentialImplFactory(MLPotentialImplFactory):
    """Factory that openmm-ml creates at the first use of the name ``mlff``."""

    def createImpl(self, name: str, modelPath: Any = None, **args: Any) -> MLFFPotentialImpl:  # noqa: N802
        """Return the implementation for one model: a name, a path or a potential.

        Raises
        ------
        InputError
            ``modelPath`` is missing, or an argument is unknown.
        """
        if modelPath is None:
            raise InputError('MLPotential("mlff") needs a model; give modelPath="model.pt"')
        if args:
            raise InputError(f'MLPotential("mlff") takes modelPath, got {", ".join(sorted(args))}')
        return MLFFPotentialImpl(modelPath)


class ShippedPotentialImplFactory(MLPotentialImplFactory):
    """Factory of the shipped models, each under its own name: ``MLPotential("organic-tiny")``."""

    def createImpl(self, name: str, **args: Any) -> MLFFPotentialImpl:  # noqa: N802
        """Return the implementation for the shipped model ``name``.

        Raises
        ------
        InputError
            An argument is given: the name says which model.
        """
        if args:
            raise InputError(
                f'MLPotential("{name}") takes no argument, got {", ".join(sorted(args))}; '
                'another model is MLPotential("mlff", modelPath=…)'
            )
        return MLFFPotentialImpl(name)


class MLFFPotentialImpl(MLPotentialImpl):
    """One model for openmm-ml.

    ``createSystem`` and ``createMixedSystem`` pass on ``backend``, ``charge`` and ``multiplicity``.

    Parameters
    ----------
    model
        A name, a path or a potential.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def addForces(  # noqa: N802
        self,
        topology: openmm.app.Topology,
        system: openmm.System,
        atoms: Iterable[int] | None,
        forceGroup: int,
        *,
        backend: str = "pythonforce",
        charge: float | None = None,
        multiplicity: int | None = None,
        **args: Any,
    ) -> None:
        """Add the model's force to a System; openmm-ml also passes ``args`` of the embedding, which have no effect.

        Raises
        ------
        InputError
            An argument is known neither to this model nor to the embedding.
        UnsupportedError
            A TorchForce is requested for interpolation.
        """
        check_names('MLPotential("mlff")', args, ("backend", "charge", "multiplicity", *EMBEDDING))
        if backend == "torchforce" and system.getNumParticles() == 0:
            # openmm-ml collects the forces to interpolate in an empty System and copies them; openmmtorch 1.10 then
            # ends the process with a segmentation fault.
            raise UnsupportedError(
                "interpolation copies its forces, which openmmtorch cannot; use backend='pythonforce'"
            )
        periodic = topology.getPeriodicBoxVectors() is not None or system.usesPeriodicBoundaryConditions()
        force = create_force(
            self.model,
            topology,
            atoms=atoms,
            backend=backend,
            periodic=periodic,
            charge=charge,
            spin_multiplicity=multiplicity,
        )
        force.setForceGroup(forceGroup)
        system.addForce(force)

    def getSupportedEmbeddings(self) -> list[str]:  # noqa: N802
        """Return the name of the electrostatic embedding; a model without charges is refused when it is asked for."""
        return [ELECTROSTATIC]

    def createMixedSystem(  # noqa: N802
        self,
        topology: openmm.app.Topology,
        system: openmm.System,
        atoms: list[int],
        forceGroup: int,
        interpolate: bool,
        embedding: str,
        returnInfo: bool = False,
        *,
        backend: str = "pythonforce",
        charge: float | None = None,
        multiplicity: int | None = None,
        **args: Any,
    ) -> openmm.System:
        """Return the System of :func:`~mlff_plugins.openmm.create_mixed_system` with electrostatic embedding.

        openmm-ml removes constraints between ML atoms itself, and adds what ``returnInfo`` asks for.

        Raises
        ------
        InputError
            An argument is unknown, or as :func:`~mlff_plugins.openmm.create_mixed_system`.
        UnsupportedError
            As there; link atoms among them.
        """
        check_names('MLPotential("mlff")', args, ("backend", "charge", "multiplicity"))
        mixed = create_mixed_system(
            topology,
            system,
            atoms,
            self.model,
            embedding="electrostatic",
            backend=backend,
            interpolate=interpolate,
            remove_constraints=False,
            charge=charge,
            spin_multiplicity=multiplicity,
        )
        # The force of the model, or that which interpolates it, is the last.
        mixed.getForce(mixed.getNumForces() - 1).setForceGroup(forceGroup)
        return mixed

    def getMLLongRange(self) -> bool:  # noqa: N802
        """Return False: nothing acts beyond the cutoff."""
        return False
