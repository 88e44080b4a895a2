"""The Orb models of Orbital Materials, from a given weights file; nothing is downloaded.

M. Neumann et al., arXiv:2410.22570 (v2); B. Rhodes et al., arXiv:2504.06231 (v3).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mlff_core.card import ModelCard
from mlff_core.errors import InputError, first_line
from mlff_core.plugins.teacher import Teacher

if TYPE_CHECKING:
    import torch
    from ase import Atoms

    from mlff_core.potentials.interface import Potential

PRECISION = "float32-highest"
"""The package's default, "float32-high", lets matrix products round to TensorFloat-32 for the whole process."""


class Orb(Teacher):
    """Any Orb model of the package whose weights are at hand."""

    name = "orb"
    summary = "Orb v2 or v3 from a weights file (option weights_path)"
    requires = ("orb-models>=0.5.5,<0.6",)
    install_hint = "pip install 'orb-models>=0.5.5,<0.6'"
    package = "orb-models"
    method = "Orb"
    licence = "Apache-2.0"
    elements: ClassVar[tuple[int, ...]] = tuple(range(1, 119))
    gives = frozenset({"energy", "forces", "stress"})
    options: ClassVar[Mapping[str, str]] = {
        "weights_path": "the weights file (.ckpt); must be given",
        "model": "which architecture the file is of: orb-v2 (default), orb-v3-conservative-omol, …",
        "device": "auto (default), cpu, cuda, cuda:N",
    }

    def load(self, options: Mapping[str, Any] | None = None) -> Potential:
        """Return an Orb model as a potential; see :meth:`Teacher.load`."""
        given = self.checked_options(options)
        self.ensure_installed()
        from mlff_core.models.checkpoint import file_sha256
        from mlff_core.models.devices import resolve_device
        from mlff_plugins.teachers.ase_backed import AseBackedPotential

        if "weights_path" not in given:
            raise InputError("teacher orb needs the option weights_path: the file with the weights of the model")
        path, model = Path(given["weights_path"]), given.get("model", "orb-v2")
        if not path.is_file():
            raise InputError(f"the weights of orb cannot be read: there is no file {path}")
        calculator = _calculator(path, model, resolve_device(given.get("device", "auto")))
        takes_charge = bool(calculator.expects_charge_and_spin)
        conservative = bool(calculator.conservative)
        card = ModelCard(
            name=self.name,
            elements=self.elements,
            cutoff=0.0,
            architecture=model,
            description=self.summary,
            n_parameters=sum(parameter.numel() for parameter in calculator.model.parameters()),
            charges="any" if takes_charge else "neutral",
            spin_multiplicities="any" if takes_charge else "singlet",
            teacher=self.lineage(
                settings={"precision": PRECISION, "conservative": conservative}, sha256=file_sha256(path), method=model
            ),
            limits=() if conservative else ("Forces and stress are predicted directly: not the slope of the energy.",),
            licence=self.licence,
        )
        supports = frozenset(calculator.implemented_properties) & self.gives
        return AseBackedPotential(card, supports, functools.partial(_emptied, calculator), _orb_globals)


def _calculator(path: Path, model: str, device: torch.device) -> Any:
    """Return the package's own ASE calculator.

    Raises
    ------
    InputError
        The model is unknown, or the file does not hold its weights.
    """
    from mlff_plugins.teachers.torch_globals import torch_globals_kept

    with torch_globals_kept():
        from orb_models.forcefield.calculator import ORBCalculator
        from orb_models.forcefield.pretrained import ORB_PRETRAINED_MODELS

        if model not in ORB_PRETRAINED_MODELS:
            raise InputError(f"orb knows no model {model!r}; it has: {', '.join(ORB_PRETRAINED_MODELS)}")
        try:
            network = ORB_PRETRAINED_MODELS[model](
                weights_path=str(path), device=device, precision=PRECISION, compile=False
            )
        except Exception as error:
            # The package asserts, torch.load and load_state_dict raise a dozen types; each means the same.
            raise InputError(f"{path} does not hold weights of {model}: {first_line(error)}") from error
        return ORBCalculator(network, device=device)


@contextmanager
def _orb_globals() -> Iterator[None]:
    """Give Orb float32 as torch's default, in which it makes its graphs whatever the model's, and gradients."""
    import torch

    from mlff_plugins.teachers.torch_globals import torch_globals_kept

    with torch_globals_kept(torch.float32), torch.inference_mode(False), torch.enable_grad():
        yield


def _emptied(calculator: Any, atoms: Atoms) -> Any:
    """Return the one calculator without its last results; the multiplicity goes where the package reads it."""
    atoms.info["spin"] = atoms.info.pop("spin_multiplicity")
    calculator.reset()
    return calculator
