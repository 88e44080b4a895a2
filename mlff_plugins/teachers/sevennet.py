"""SevenNet-0: a pretrained equivariant network for 89 elements, at the level of PBE and PBE+U of the Materials Project.

Y. Park, J. Kim, S. Hwang, S. Han, J. Chem. Theory Comput. 20, 4857 (2024), doi:10.1021/acs.jctc.4c00190. The wheel of
sevenn (MIT) holds the weights, of 11 July 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from mlff_core.card import ModelCard
from mlff_core.plugins.teacher import Teacher
from mlff_plugins.teachers.speed import ms_per_atom

if TYPE_CHECKING:
    from mlff_core.potentials.interface import Potential


class SevenNet(Teacher):
    """The teacher for crystals, alloys and surfaces."""

    name = "sevennet"
    summary = "SevenNet-0, a pretrained equivariant network for crystals of 89 elements, at the level of PBE"
    ms_per_atom = ms_per_atom("sevennet")
    requires = ("sevenn>=0.13,<0.14",)
    install_hint = "pip install 'mlff-hub[sevennet]'"
    package = "sevenn"
    method = "SevenNet-0 (PBE and PBE+U, MPtrj)"
    licence = "MIT"
    elements: ClassVar[tuple[int, ...]] = (*range(1, 84), *range(89, 95))
    gives = frozenset({"energy", "forces", "stress", "atom_energies"})
    options: ClassVar[Mapping[str, str]] = {"device": "auto (default), cpu, cuda, cuda:N"}

    def load(self, options: Mapping[str, Any] | None = None) -> Potential:
        """Return SevenNet-0 as a potential; see :meth:`Teacher.load`."""
        given = self.checked_options(options)
        self.ensure_installed()
        from mlff_core.models.devices import resolve_device
        from mlff_plugins.teachers.sevennet_potential import SHA256, SevenNetPotential, load_model

        device = resolve_device(given.get("device", "auto"))
        model = load_model(device)
        card = ModelCard(
            name=self.name,
            # The network's own table, which the list above repeats for listings.
            elements=tuple(sorted(model.type_map)),
            cutoff=0.0,
            architecture="SevenNet",
            description=self.summary,
            n_parameters=sum(parameter.numel() for parameter in model.parameters()),
            charges=self.charges,
            spin_multiplicities=self.spin_multiplicities,
            teacher=self.lineage(
                settings={"cutoff_angstrom": float(model.cutoff), "mirror_symmetric": False}, sha256=SHA256
            ),
            limits=(
                "Trained on relaxations of crystals: strongly distorted structures and surfaces are softer than PBE.",
                "Oxides and fluorides of Co, Cr, Fe, Mn, Mo, Ni, V and W are at the level of PBE+U.",
                "Its network has no parity: a mirror image differs by 0.3 meV an atom where forces are 8 eV/Å.",
                "No magnetism, charge or spin is given to the network.",
            ),
            licence=self.licence,
        )
        return SevenNetPotential(model, card, device)
