"""torch-sim: ``TorchSimModel`` for its integrators, optimisers and batchers, and the engine ``torchsim``.

Importing this module imports neither torch nor torch-sim; ``TorchSimModel`` is imported at its first use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from mlff_core.plugins.engine import Engine
from mlff_core.plugins.hookspecs import hookimpl
from mlff_core.plugins.on_demand import attributes_on_demand

if TYPE_CHECKING:
    import torch

    from mlff_core.potentials.interface import Potential
    from mlff_core.structures.batch import AtomicBatch
    from mlff_core.structures.prediction import Prediction
    from mlff_plugins.torchsim.model import TorchSimModel as TorchSimModel

__all__ = ["TorchSimEngine", "TorchSimModel", "mlff_register_engines"]


class TorchSimEngine(Engine):
    """torch-sim's single-point runner on many systems at once.

    Options of :meth:`bind`: ``"skin"``, Å, of the neighbour list; ``"batch"``, a structure to check.
    """

    name = "torchsim"
    summary = "torch-sim: TorchSimModel for MD and relaxation of many systems at once."
    # 0.3 is the last version for Python 3.11; versions between 0.3 and 0.6 are not tested.
    requires = ("torch-sim-atomistic>=0.3,<0.7,!=0.4.*,!=0.5.*",)
    install_hint = 'pip install "mlff-hub[torchsim]" (Python 3.11 or newer)'
    capabilities: ClassVar[frozenset[str]] = frozenset({"stress", "charges", "periodic", "batch", "float64"})

    def bind(self, potential: Potential, options: Mapping[str, Any] | None = None) -> TorchSimModel:
        """Return a torch-sim model driven by ``potential``; see :meth:`mlff_core.plugins.engine.Engine.bind`."""
        self.ensure_installed()
        from mlff_plugins.torchsim.model import DEFAULT_SKIN, TorchSimModel

        model = TorchSimModel(potential, skin=self.read_options(potential, options, skin=DEFAULT_SKIN)["skin"])
        model.compute_charges = "charges" in potential.supports
        return model

    def evaluate(self, bound: TorchSimModel, batch: AtomicBatch) -> Prediction:
        """Return energy, forces, the stress of crystals, and charges, from a run of ``torch_sim.static``."""
        import torch_sim

        from mlff_plugins.torchsim.convert import prediction_from_results, state_from_batch

        # static() returns energies, forces and stresses only; this is what the model gives it.
        given: list[Mapping[str, torch.Tensor]] = []
        hook = bound.register_forward_hook(lambda _model, _state, output: given.append(output))
        try:
            results = torch_sim.static(state_from_batch(batch.to(bound.device, bound.dtype)), bound)
        finally:
            hook.remove()
        return replace(prediction_from_results(results), charges=given[0].get("charges"))


@hookimpl
def mlff_register_engines() -> Iterable[Engine]:
    """Return torch-sim's engine."""
    return [TorchSimEngine()]


__getattr__ = attributes_on_demand(__name__, {"TorchSimModel": "model"})
