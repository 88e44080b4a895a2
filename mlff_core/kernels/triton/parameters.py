"""The numbers of a PaiNN in the form that the GPU kernels read."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from mlff_core.errors import UnsupportedError
from mlff_core.kernels.triton.launch import next_power_of_2
from mlff_core.model.architectures import computes_as_written
from mlff_core.model.painn import Message, PaiNN, PaiNNConfig, Update
from mlff_core.model.radial import BesselBasis
from mlff_core.model.serving import Serves
from mlff_core.model.student import Student

SERVES = Serves("the kernel 'triton'", "use kernel='reference'")


@dataclass(frozen=True, slots=True)
class Layer:
    """One message and one update block."""

    filters: Tensor
    """Rows for the radial basis, the bias, and zeros, shape (n_basis, n_filters)."""
    phi: tuple[Tensor, Tensor, Tensor, Tensor]
    """Weights and biases of the two layers of φ."""
    mix: Tensor
    """Weights of the mixed vectors of the update block, shape (2·hidden, hidden)."""
    gates: tuple[Tensor, Tensor, Tensor, Tensor]
    """Weights and biases of the two layers of the update block."""
    reads_vectors: bool
    writes_vectors: bool
    """False in the first and in the last layer, respectively."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """All numbers of a network, on its device."""

    config: PaiNNConfig
    """Shape of the network."""
    layers: tuple[Layer, ...]
    """Layers of the network."""
    embedding: Tensor
    first_phi: Tensor
    """Embedding and first layer's φ of each element, shape (n_elements, hidden) and (n_elements, 2·hidden); this φ
    depends only on the element."""
    readout: tuple[Tensor, Tensor, Tensor, Tensor]
    """Weights and biases of the two layers of the readout."""
    charge_readout: tuple[Tensor, Tensor, Tensor, Tensor] | None
    """The same of the readout of charges; None if there is none."""
    scale: Tensor
    """Shape (), eV."""
    saturation: tuple[Tensor, Tensor, Tensor] | None
    """Lowest and highest learned energy of each element, shape (n_elements,), and width (), eV; None for no bounds."""
    reference_energies: Tensor
    """Shape (n_elements,), eV, float64."""
    species_of_number: Tensor
    """Shape (119,)."""
    screening: Tensor
    ranges: Tensor
    prefactors: Tensor
    """Constants of the repulsion, shape (n_elements, n_elements), Å⁻¹, Å⁻¹ and eV Å."""
    storage: torch.dtype
    """The precision in which features are stored for neighbours to gather."""
    n_basis: int
    """Number of rows of the filters, a power of two."""

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the arithmetic."""
        return self.embedding.dtype


def check_size(parameters: Parameters, n_atoms: int, capacity: int) -> None:
    """Refuse sizes that 32-bit offsets cannot address.

    Raises
    ------
    UnsupportedError
        There are too many atoms or neighbours; the message states the limit.
    """
    most = 2**31 // (6 * parameters.config.hidden)
    if n_atoms >= most:
        raise UnsupportedError(f"the kernel 'triton' takes fewer than {most} atoms, got {n_atoms}; divide the batch")
    if n_atoms * capacity >= 2**31:
        raise UnsupportedError(f"{n_atoms} atoms with {capacity} neighbours are too many for the kernel 'triton'")


def read_parameters(model: Student, *, fast: bool) -> Parameters:
    """Return a copy of a network's numbers.

    Parameters
    ----------
    model
        The network, in float32 or float64.
    fast
        Store features in float16.

    Raises
    ------
    UnsupportedError
        The kernels do not support the precision, the architecture or a term, or the network does not compute what its
        class computes.
    """
    SERVES.check(model)
    if not isinstance(model, PaiNN) or not computes_as_written(model):
        raise UnsupportedError(
            f"the kernel 'triton' computes an unchanged PaiNN, but this is a {type(model).__name__} that "
            "computes something else; use kernel='reference'"
        )
    dtype = model.embedding.weight.dtype
    allowed = (torch.float32,) if fast else (torch.float32, torch.float64)
    if dtype not in allowed:
        names = " or ".join(str(kind).removeprefix("torch.") for kind in allowed)
        raise UnsupportedError(
            f"the kernel {'triton-fast' if fast else 'triton'!r} computes in {names}, not in {dtype}"
        )
    config = model.config
    n_basis = next_power_of_2(config.n_radial + 1)
    exact = copy.deepcopy(model).requires_grad_(False).double()
    first = cast("Message", exact.messages[0])
    factor = exact.basis.norm if isinstance(exact.basis, BesselBasis) else 1.0
    padded = []
    for linear in cast("list[nn.Linear]", list(exact.filters)):
        rows = torch.zeros(n_basis, linear.out_features, dtype=torch.float64, device=linear.weight.device)
        rows[: config.n_radial] = linear.weight.T * factor
        rows[config.n_radial] = linear.bias
        padded.append(rows.to(dtype))
    storage = torch.float16 if fast else dtype

    def pair(layers: nn.Module, second: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        a, b = cast("nn.Linear", layers[0]), cast("nn.Linear", layers[2])  # type: ignore[index]
        return a.weight.to(dtype), a.bias.to(dtype), b.weight.to(second), b.bias.to(second)

    layers = []
    for k, (message, update) in enumerate(zip(exact.messages, exact.updates, strict=True)):
        block, own = cast("Update", update), cast("Message", message)
        layers.append(
            Layer(
                filters=padded[0 if config.shared_filters else k],
                phi=pair(own.phi, storage),
                mix=block.mix.weight.to(dtype),
                gates=pair(block.a, dtype),
                reads_vectors=own.reads_vectors,
                writes_vectors=block.writes_vectors,
            )
        )
    return Parameters(
        config=config,
        layers=tuple(layers),
        embedding=exact.embedding.weight.to(dtype),
        first_phi=first.phi(exact.embedding.weight).to(storage),
        readout=pair(exact.readout, dtype),
        charge_readout=None if exact.charges is None else pair(exact.charges, dtype),
        scale=exact.scale.to(dtype),
        saturation=None
        if exact.saturation is None
        else (
            exact.saturation.lowest.to(dtype),
            exact.saturation.highest.to(dtype),
            exact.saturation.width.to(dtype),
        ),
        reference_energies=exact.reference_energies.clone(),
        species_of_number=exact.species_of_number.clone(),
        screening=exact.zbl.inverse_screening.to(dtype),
        ranges=exact.zbl.inverse_ranges.to(dtype),
        prefactors=exact.zbl.prefactors.to(dtype),
        storage=storage,
        n_basis=n_basis,
    )
