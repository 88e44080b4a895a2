"""The student in metatomic's model interface.

No postponed annotations here, since TorchScript reads them.
"""

# metatomic compares the annotations of forward() with exactly these types, and its script classes do not support |.
from typing import Dict, Final, List, Optional  # noqa: UP035

import torch
from metatensor.torch import Labels, TensorBlock, TensorMap
from metatomic.torch import ModelOutput, NeighborListOptions, System
from torch import Tensor, nn

from mlff_core.card import ModelCard
from mlff_core.kernels.fused_modules import NEEDS, model_bytes
from mlff_core.kernels.operator_library import load_operators
from mlff_core.model.serving import Serves
from mlff_core.model.student import Student
from mlff_core.potentials.checks import ODD_ADVICE

SERVES = Serves("a metatomic model", "use an engine that calls mlff-hub, such as ASE or TorchSim")
"""The number of neighbour lists requested from the engine."""


class MetatomicStudent(nn.Module):
    """Energies of metatomic systems; the engine differentiates them.

    Systems have float64, since a float32 energy of −10³ eV is exact to 0.1 meV only; the network computes in its own
    precision.

    Parameters
    ----------
    model
        The network.
    card
        Of the model.

    Raises
    ------
    UnsupportedError
        The energy has a term that this model form does not support.
    """

    def __init__(self, model: Student, card: ModelCard) -> None:
        super().__init__()
        SERVES.check(model)
        self.name = card.name
        self.closed_shell = card.is_even_without_charge
        self.advice = ODD_ADVICE
        self.options = NeighborListOptions(cutoff=model.cutoff, full_list=True, strict=True)
        self.single_precision = model.scale.dtype == torch.float32
        self.keep(model)

    def keep(self, model: Student) -> None:
        """Keep what is needed of the network."""
        self.model = model

    def requested_neighbor_lists(self) -> list[NeighborListOptions]:
        """Return the one list this model needs: all directed edges within the cutoff."""
        return [self.options]

    def forward(
        self, systems: List[System], outputs: Dict[str, ModelOutput], selected_atoms: Optional[Labels]
    ) -> Dict[str, TensorMap]:
        """Return the energy of each system, or of each atom, eV."""
        results: dict[str, TensorMap] = {}
        if "energy" not in outputs:
            return results
        per_atom = outputs["energy"].sample_kind == "atom"
        energies: list[Tensor] = []
        samples: list[Tensor] = []
        for k, system in enumerate(systems):
            if self.closed_shell:
                n_electrons = int(system.types.sum())
                if n_electrons % 2 != 0:
                    raise RuntimeError(
                        f"{self.name} was made for closed shells, but at a total charge of +0 e the structure has "
                        f"{n_electrons} electrons, an odd number; {self.advice}"
                    )
            index = torch.stack(
                [
                    torch.full((len(system),), k, dtype=torch.int32, device=system.positions.device),
                    torch.arange(len(system), dtype=torch.int32, device=system.positions.device),
                ],
                dim=1,
            )
            if selected_atoms is None:
                atom_energies = self.atom_energies(system, None)
            else:
                mine = selected_atoms.column("system") == k
                chosen = selected_atoms.column("atom")[mine].to(torch.int64)
                atom_energies, index = self.atom_energies(system, chosen), index[chosen]
            if per_atom:
                energies.append(atom_energies)
                samples.append(index)
            else:
                energies.append(atom_energies.sum().reshape(1))
                samples.append(torch.tensor([[k]], dtype=torch.int32, device=system.positions.device))
        names = ["system", "atom"] if per_atom else ["system"]
        values = torch.cat(energies).reshape(-1, 1)
        result = TensorBlock(
            values=values,
            samples=Labels(names, torch.cat(samples)),
            components=torch.jit.annotate(list[Labels], []),
            properties=Labels(["energy"], torch.zeros(1, 1, dtype=torch.int32, device=values.device)),
        )
        key = Labels(["_"], torch.zeros(1, 1, dtype=torch.int32, device=values.device))
        results["energy"] = TensorMap(keys=key, blocks=[result])
        return results

    def atom_energies(self, system: System, chosen: Optional[Tensor]) -> Tensor:
        """Return the energies, eV, of the atoms with the indices ``chosen``, shape (n_chosen,), or of all atoms."""
        block = system.get_neighbor_list(self.options)
        vectors = block.values.reshape(-1, 3)
        if self.single_precision:
            vectors = vectors.to(torch.float32)
        energies: Tensor = self.model(
            system.types.to(torch.int64),
            vectors,
            block.samples.column("first_atom").to(torch.int64),
            block.samples.column("second_atom").to(torch.int64),
        )
        return energies if chosen is None else energies[chosen]


class FusedMetatomicStudent(MetatomicStudent):
    """A :class:`MetatomicStudent` that runs the CPU kernel as one operator.

    The engine can differentiate the sum of the energies, in positions and cell, once.
    """

    weights: Tensor
    needs: Final[str]

    def __init__(self, model: Student, card: ModelCard) -> None:
        super().__init__(model, card)
        self.needs = NEEDS

    def keep(self, model: Student) -> None:
        """Keep the network's bytes for the operator."""
        load_operators()
        self.register_buffer("weights", model_bytes(model))

    def atom_energies(self, system: System, chosen: Optional[Tensor]) -> Tensor:
        """Return the energies, eV, of the atoms with the indices ``chosen``, shape (n_chosen,), or of all atoms."""
        pairs = system.get_neighbor_list(self.options).samples.values
        energies: Tensor = torch.ops.mlff.system_energies(
            self.weights, system.types, system.positions, system.cell, pairs, chosen, self.needs
        )
        return energies
