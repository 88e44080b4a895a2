"""CHGNet: a pretrained graph network with angles for 94 elements, at the level of PBE and PBE+U.

B. Deng et al., Nat. Mach. Intell. 5, 1031 (2023), doi:10.1038/s42256-023-00716-3. The wheel of chgnet (modified BSD)
holds the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from mlff_core.card import ModelCard
from mlff_core.plugins.teacher import Teacher
from mlff_plugins.teachers.speed import ms_per_atom

if TYPE_CHECKING:
    from mlff_core.potentials.interface import Potential


class CHGNet(Teacher):
    """A second opinion on crystals, trained on the same data as SevenNet-0 with another network."""

    name = "chgnet"
    summary = "CHGNet 0.3.0, a pretrained graph network for crystals of 94 elements, at the level of PBE"
    ms_per_atom = ms_per_atom("chgnet")
    requires = ("chgnet>=0.4,<0.5",)
    install_hint = "pip install 'mlff-hub[chgnet]'"
    package = "chgnet"
    method = "CHGNet 0.3.0 (PBE and PBE+U, MPtrj)"
    licence = "BSD-3-Clause-LBNL"
    elements: ClassVar[tuple[int, ...]] = tuple(range(1, 95))
    gives = frozenset({"energy", "forces", "stress"})
    options: ClassVar[Mapping[str, str]] = {"device": "auto (default), cpu, cuda, cuda:N"}

    def load(self, options: Mapping[str, Any] | None = None) -> Potential:
        """Return CHGNet as a potential; see :meth:`Teacher.load`."""
        given = self.checked_options(options)
        self.ensure_installed()
        from mlff_core.models.devices import resolve_device
        from mlff_plugins.teachers.chgnet_potential import CUTOFF, SHA256, CHGNetPotential, load_model

        device = resolve_device(given.get("device", "auto"))
        model = load_model(device)
        card = ModelCard(
            name=self.name,
            elements=self.elements,
            cutoff=0.0,
            architecture="CHGNet",
            description=self.summary,
            n_parameters=sum(parameter.numel() for parameter in model.parameters()),
            charges=self.charges,
            spin_multiplicities=self.spin_multiplicities,
            teacher=self.lineage(settings={"cutoff_angstrom": CUTOFF}, sha256=SHA256),
            limits=(
                "Trained on relaxations of crystals: strongly distorted structures and surfaces are softer than PBE.",
                "Oxides and fluorides of Co, Cr, Fe, Mn, Mo, Ni, V and W are at the level of PBE+U.",
                "An atom without a neighbour within 6 Å is refused.",
            ),
            licence=self.licence,
        )
        return CHGNetPotential(model, card, device)
