"""SO3LR: a pretrained equivariant transformer with long-range terms, at the level of PBE0+MBD.

A. Kabylda et al., J. Am. Chem. Soc. (2025), doi:10.1021/jacs.5c09558. The torch port is so3krates-torch (MIT), whose
wheel holds the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from mlff_core.card import ModelCard
from mlff_core.plugins.teacher import Teacher
from mlff_plugins.teachers.so3lr_settings import (
    DISPERSION_DAMPING,
    GIVES,
    LONG_RANGE_CUTOFF,
    LONG_RANGE_CUTOFF_PERIODIC,
    SHA256,
)
from mlff_plugins.teachers.speed import ms_per_atom

if TYPE_CHECKING:
    from mlff_core.potentials.interface import Potential


class SO3LR(Teacher):
    """The default teacher for organic molecules."""

    name = "so3lr"
    summary = "SO3LR, a pretrained transformer at the level of PBE0+MBD with long-range Coulomb and dispersion"
    ms_per_atom = ms_per_atom("so3lr")
    requires = ("so3krates-torch>=0.2.1,<0.3",)
    install_hint = "pip install 'mlff-hub[teachers]'"
    package = "so3krates-torch"
    method = "SO3LR (PBE0+MBD)"
    licence = "MIT"
    elements = (1, 6, 7, 8, 9, 15, 16, 17)
    charges = "any"
    spin_multiplicities = "closed shell"
    gives = GIVES
    options: ClassVar[Mapping[str, str]] = {
        "device": "auto (default), cpu, cuda, cuda:N",
        "dtype": "float32 (default) or float64",
        "weights_path": "so3lr.model, if not the one in the package; must be the same file",
    }

    def load(self, options: Mapping[str, Any] | None = None) -> Potential:
        """Return SO3LR as a potential; see :meth:`Teacher.load`."""
        given = self.checked_options(options)
        self.ensure_installed()
        from mlff_core.models.devices import resolve_device, resolve_dtype
        from mlff_plugins.teachers.so3lr_potential import SO3LRPotential, load_model

        device = resolve_device(given.get("device", "auto"))
        dtype = given.get("dtype", "float32")
        model = load_model(given.get("weights_path"), device, resolve_dtype(dtype))
        settings = {
            "r_max_lr": LONG_RANGE_CUTOFF,
            "r_max_lr_periodic": LONG_RANGE_CUTOFF_PERIODIC,
            "dispersion_energy_cutoff_lr_damping": DISPERSION_DAMPING,
            "energy_shifts": 0.0,
            "total_spin": 0.0,
            "dtype": dtype,
        }
        card = ModelCard(
            name=self.name,
            elements=self.elements,
            cutoff=0.0,
            architecture="SO3LR",
            description=self.summary,
            n_parameters=sum(parameter.numel() for parameter in model.parameters()),
            charges=self.charges,
            spin_multiplicities=self.spin_multiplicities,
            teacher=self.lineage(settings=settings, sha256=SHA256),
            limits=(
                "Forces are its most accurate labels; energy differences between molecules are less accurate.",
                "The zero of energy is one constant per atom, the same for all elements.",
                "The long-range Coulomb part reaches beyond the cutoff of any student.",
                "In a periodic cell the long-range terms end smoothly at 12 Å.",
                "Closed shells only.",
            ),
            licence=self.licence,
        )
        return SO3LRPotential(model, card, device, resolve_dtype(dtype))
