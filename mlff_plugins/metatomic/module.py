"""The student in metatomic's model interface.

No postponed annotations here, since TorchScript reads them.
"""

# metatomic compares the annotations of forward() with exactly these types, and its script classes do not support |.
from typing import Dict, Final, List, Optional, Tuple  # noqa: UP035

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
    """Energies and charges of metatomic systems; the engine differentiates the energies.

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
        self.has_charges = model.charges is not None

    def requested_neighbor_lists(self) -> list[NeighborListOptions]:
        """Return the one list this model needs: all directed edges within the cutoff."""
        return [self.options]

    def forward(
        self, systems: List[System], outputs: Dict[str, ModelOutput], selected_atoms: Optional[Labels]
    ) -> Dict[str, TensorMap]:
        """Return what is asked for of energies, eV, and charges, e, of each system or of each atom."""
        results: dict[str, TensorMap] = {}
        if "energy" not in outputs and "charge" not in outputs:
            return results
        energies: list[Tensor] = []
        charges: list[Tensor] = []
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
                atom_energies, atom_charges = self.of_atoms(system, None)
            else:
                mine = selected_atoms.column("system") == k
                chosen = selected_atoms.column("atom")[mine].to(torch.int64)
                atom_energies, atom_charges = self.of_atoms(system, chosen)
                index = index[chosen]
            energies.append(atom_energies)
            charges.append(atom_charges)
            samples.append(index)
        if "energy" in outputs:
            results["energy"] = quantity("energy", energies, samples, outputs["energy"].sample_kind == "atom")
        if "charge" in outputs:
            results["charge"] = quantity("charge", charges, samples, outputs["charge"].sample_kind == "atom")
        return results

    def of_atoms(self, system: System, chosen: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
        """Return energies, eV, and charges, e, of the atoms ``chosen``, shape (n_chosen,), or of all atoms.

        The charges are empty if the network gives none.
        """
        block = system.get_neighbor_list(self.options)
        vectors = block.values.reshape(-1, 3)
        if self.single_precision:
            vectors = vectors.to(torch.float32)
        energies, charges = self.model.energies_and_charges(
            system.types.to(torch.int64),
            vectors,
            block.samples.column("first_atom").to(torch.int64),
            block.samples.column("second_atom").to(torch.int64),
        )
        charges = charges.to(energies.dtype)
        if chosen is None:
            return energies, charges
        return energies[chosen], charges[chosen] if self.has_charges else charges


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

    def of_atoms(self, system: System, chosen: Optional[Tensor]) -> Tuple[Tensor, Tensor]:
        """Return energies, eV, of the atoms ``chosen``, shape (n_chosen,), or of all atoms, and no charges."""
        pairs = system.get_neighbor_list(self.options).samples.values
        energies: Tensor = torch.ops.mlff.system_energies(
            self.weights, system.types, system.positions, system.cell, pairs, chosen, self.needs
        )
        return energies, energies[:0]


def quantity(name: str, values: List[Tensor], samples: List[Tensor], per_atom: bool) -> TensorMap:
    """Return a quantity in metatomic's form.

    Parameters
    ----------
    name
        Name of the quantity.
    values
        For each system, shape (n_atoms,), eV or e.
    samples
        For each system, the numbers of the system and of its atoms, shape (n_atoms, 2), int32.
    per_atom
        Whether each atom has a value, else each system has the sum over its atoms.
    """
    device = values[0].device
    if per_atom:
        labels = Labels(["system", "atom"], torch.cat(samples))
        found = torch.cat(values)
    else:
        labels = Labels(["system"], torch.arange(len(values), dtype=torch.int32, device=device).reshape(-1, 1))
        found = torch.stack([of_system.sum() for of_system in values])
    block = TensorBlock(
        values=found.reshape(-1, 1),
        samples=labels,
        components=torch.jit.annotate(list[Labels], []),
        properties=Labels([name], torch.zeros(1, 1, dtype=torch.int32, device=device)),
    )
    return TensorMap(keys=Labels(["_"], torch.zeros(1, 1, dtype=torch.int32, device=device)), blocks=[block])
