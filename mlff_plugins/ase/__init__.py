"""ASE: :class:`MLFFCalculator`, and the engine ``ase``.

Importing this module imports neither torch nor ASE's calculators; ``MLFFCalculator`` is imported at its first use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from mlff_core.plugins.engine import Engine
from mlff_core.plugins.hookspecs import hookimpl
from mlff_core.plugins.on_demand import attributes_on_demand

if TYPE_CHECKING:
    from mlff_core.potentials.interface import Potential
    from mlff_core.structures.batch import AtomicBatch
    from mlff_core.structures.prediction import Prediction
    from mlff_plugins.ase.calculator import MLFFCalculator as MLFFCalculator

__all__ = ["ASEEngine", "MLFFCalculator", "mlff_register_engines"]


class ASEEngine(Engine):
    """The Atomic Simulation Environment.

    Options of :meth:`bind`: ``"skin"``, Å, of the neighbour list; ``"batch"``, a structure to check.
    """

    name = "ase"
    summary = "Atomic Simulation Environment: MLFFCalculator for MD, relaxation, vibrations, phonons."
    requires = ("ase>=3.23",)
    install_hint = 'pip install "ase>=3.23"'
    capabilities: ClassVar[frozenset[str]] = frozenset(
        {"stress", "atom_energies", "charges", "hessian", "periodic", "slab", "batch", "charge", "float64"}
    )

    def bind(self, potential: Potential, options: Mapping[str, Any] | None = None) -> MLFFCalculator:
        """Return an ASE calculator driven by ``potential``; see :meth:`mlff_core.plugins.engine.Engine.bind`."""
        self.ensure_installed()
        from mlff_plugins.ase.calculator import DEFAULT_SKIN, MLFFCalculator

        return MLFFCalculator(potential, skin=self.read_options(potential, options, skin=DEFAULT_SKIN)["skin"])

    def evaluate(self, bound: MLFFCalculator, batch: AtomicBatch) -> Prediction:
        """Return energy, forces, stress, atom energies and charges as ``Atoms`` with this calculator give them."""
        from mlff_plugins.ase.convert import atoms_from_batch, prediction_from_results

        frames = atoms_from_batch(batch)
        offered = {"energy", "forces", "energies", "charges"} & set(bound.implemented_properties)
        if "stress" in bound.implemented_properties and all(
            frame.pbc.any() and frame.cell.rank == 3 for frame in frames
        ):
            offered.add("stress")
        if len(frames) == 1:
            frames[0].calc = bound
            results = [{name: bound.get_property(name, frames[0]) for name in sorted(offered)}]
        else:
            results = bound.calculate_many(frames, properties=sorted(offered))
        return prediction_from_results(results)


@hookimpl
def mlff_register_engines() -> Iterable[Engine]:
    """Return ASE's engine."""
    return [ASEEngine()]


__getattr__ = attributes_on_demand(__name__, {"MLFFCalculator": "calculator"})
