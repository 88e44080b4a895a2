"""PaiNN, the polarizable atom interaction network.

K. Schütt, O. Unke, M. Gastegger, *Equivariant message passing for the prediction of tensorial properties and
molecular spectra*, ICML 2021, arXiv:2102.03150. Equation numbers below are that paper's.

Two things are left out because they are multiplied by zero or never read, not because the model differs: the first
layer's messages from vector features (all vectors start at zero), and the last layer's vector update (only scalars are
read out). Every filter is multiplied by the cutoff envelope *after* its linear layer, bias included, so each message
goes to zero smoothly at the cutoff.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from mlff_core.errors import InputError
from mlff_core.model.distance_floor import CORE_WIDTH, held_distances
from mlff_core.model.radial import BesselBasis, GaussianBasis, polynomial_envelope
from mlff_core.model.student import Student
from mlff_core.model.term import Term
from mlff_core.model.zbl import ZBLRepulsion

SMOOTHING = 1e-2
"""Added to squared norms of vector features, whose root then has a bounded curvature where a vector vanishes, as it
does by symmetry in a flat molecule; with a tiny constant forces have a kink there and Hessians jump."""


@dataclass(frozen=True)
class PaiNNConfig:
    """Everything that fixes the shape of a PaiNN.

    Parameters
    ----------
    elements
        Atomic numbers the model knows, rising.
    hidden
        Feature channels F, scalars and vectors alike.
    n_layers
        Message and update blocks.
    n_radial
        Radial basis functions.
    cutoff
        Å.
    radial_basis
        ``"bessel"`` (the paper's) or ``"gaussian"``.
    shared_filters
        One radial filter for all layers, as SchNetPack offers it, instead of one each.
    core
        The inner region of a pair, in units of its covalent length, no unit; 0 for none. Atoms nearer to each other
        than this see filters that no longer change, and the repulsion alone acts between them. See
        :func:`~mlff_core.model.distance_floor.held_distances`.
    """

    elements: tuple[int, ...] = (1, 6, 7, 8, 9, 15, 16, 17)
    hidden: int = 112
    n_layers: int = 3
    n_radial: int = 20
    cutoff: float = 5.0
    radial_basis: str = "bessel"
    shared_filters: bool = False
    core: float = 0.7

    def __post_init__(self) -> None:
        object.__setattr__(self, "elements", tuple(int(z) for z in self.elements))
        if not self.elements or list(self.elements) != sorted(set(self.elements)):
            raise InputError(f"elements must be rising atomic numbers, each once, got {self.elements}")
        if self.elements[0] < 1 or self.elements[-1] > 118:
            raise InputError(f"elements must lie in 1–118, got {self.elements}")
        for name, least in (("hidden", 2), ("n_layers", 1), ("n_radial", 2)):
            if type(getattr(self, name)) is not int or getattr(self, name) < least:
                raise InputError(f"{name} must be a whole number, at least {least}, got {getattr(self, name)!r}")
        if type(self.shared_filters) is not bool:
            raise InputError(f"shared_filters must be true or false, got {self.shared_filters!r}")
        if not self.cutoff > 0:
            raise InputError(f"cutoff must be positive, in Å, got {self.cutoff}")
        if self.core != 0 and not CORE_WIDTH < self.core <= 0.9:
            raise InputError(f"core must be 0 (none) or lie in {CORE_WIDTH}–0.9 covalent lengths, got {self.core}")
        if self.radial_basis not in ("bessel", "gaussian"):
            raise InputError(f"radial_basis must be 'bessel' or 'gaussian', got {self.radial_basis!r}")


class Message(nn.Module):
    """Message block, eqs. 7 and 8: neighbours' scalars and vectors, filtered by distance, summed over neighbours.

    Parameters
    ----------
    hidden
        Feature channels F.
    reads_vectors
        False in the first layer, whose incoming vectors are zero.
    """

    def __init__(self, hidden: int, reads_vectors: bool) -> None:
        super().__init__()
        self.hidden = hidden
        self.reads_vectors = reads_vectors
        self.n_filters = (3 if reads_vectors else 2) * hidden
        self.phi = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, self.n_filters))

    def forward(
        self, s: Tensor, v: Tensor, filters: Tensor, directions: Tensor, centers: Tensor, neighbors: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the changes (Δs, Δv) of the features.

        Parameters
        ----------
        s, v
            Scalar (n_atoms, F) and vector (n_atoms, 3, F) features, no unit.
        filters
            W(r) · u(r), shape (n_edges, n_filters), no unit.
        directions
            Unit vectors from centre to neighbour, shape (n_edges, 3), no unit.
        centers, neighbors
            Shape (n_edges,), no unit.
        """
        # index_select, not []: its backward is a plain sum, that of [] sorts its indices first.
        x = self.phi(s).index_select(0, neighbors) * filters
        delta_s = torch.zeros_like(s).index_add(0, centers, x[:, : self.hidden])
        messages = directions.unsqueeze(-1) * x[:, self.hidden : 2 * self.hidden].unsqueeze(1)
        if self.reads_vectors:
            messages = messages + v.index_select(0, neighbors) * x[:, 2 * self.hidden :].unsqueeze(1)
        return delta_s, torch.zeros_like(v).index_add(0, centers, messages)


class Update(nn.Module):
    """Update block, eqs. 9 and 10: scalars and vectors of one atom mixed with each other.

    Parameters
    ----------
    hidden
        Feature channels F.
    writes_vectors
        False in the last layer, whose outgoing vectors nobody reads.
    """

    def __init__(self, hidden: int, writes_vectors: bool) -> None:
        super().__init__()
        self.hidden = hidden
        self.writes_vectors = writes_vectors
        self.smoothing = SMOOTHING  # TorchScript sees attributes, not globals
        n_out = (3 if writes_vectors else 2) * hidden
        self.mix = nn.Linear(hidden, 2 * hidden, bias=False)
        self.a = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.SiLU(), nn.Linear(hidden, n_out))

    def forward(self, s: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the changes (Δs, Δv) of s (n_atoms, F) and v (n_atoms, 3, F), no unit."""
        mixed = self.mix(v)
        u, w = mixed[:, :, : self.hidden], mixed[:, :, self.hidden :]
        norm = torch.sqrt((w * w).sum(dim=1) + self.smoothing)
        a = self.a(torch.cat([s, norm], dim=-1))
        a_ss, a_sv = a[:, : self.hidden], a[:, self.hidden : 2 * self.hidden]
        delta_s = a_ss + a_sv * (u * w).sum(dim=1)
        if self.writes_vectors:
            return delta_s, a[:, 2 * self.hidden :].unsqueeze(1) * u
        return delta_s, torch.zeros_like(v)


class PaiNN(Student):
    """Energy of each atom from the vectors to its neighbours.

    E_i = E0(Z_i) + scale · readout(s_i) + ½ Σ_j ZBL(r_ij), or other terms than ZBL.

    Buffers beside the weights: ``reference_energies`` (n_elements,), eV, float64 whatever the model's precision;
    ``scale``, eV; ``species_of_number`` (119,), the species index of an atomic number or −1.

    Parameters
    ----------
    config
        The shape of the network.
    terms
        What is added to its energy; None takes :meth:`default_terms`.

    Raises
    ------
    InputError
        The configuration has a core, and no term acts inside it.
    """

    architecture = "PaiNN"
    if TYPE_CHECKING:
        config: PaiNNConfig
    __jit_unused_properties__ = ("zbl",)

    def __init__(self, config: PaiNNConfig, terms: Sequence[Term] | None = None) -> None:
        super().__init__(config, self.default_terms(config) if terms is None else terms)
        if config.core > 0 and ZBLRepulsion.name not in self.terms:
            raise InputError(
                f"core = {config.core} takes the filters away from where the term 'zbl' alone acts, and this energy "
                "has none; add the term, or set core = 0"
            )
        hidden, n_layers = config.hidden, config.n_layers
        self.shared_filters = config.shared_filters
        self.core = config.core

        self.embedding = nn.Embedding(len(config.elements), hidden)
        self.messages = nn.ModuleList(Message(hidden, reads_vectors=k > 0) for k in range(n_layers))
        self.updates = nn.ModuleList(Update(hidden, writes_vectors=k < n_layers - 1) for k in range(n_layers))
        basis = BesselBasis if config.radial_basis == "bessel" else GaussianBasis
        self.basis = basis(config.n_radial, config.cutoff)
        widths = [hidden * (2 if k == 0 else 3) for k in range(n_layers)]
        if config.shared_filters:
            widths = [max(widths)]
        self.filters = nn.ModuleList(nn.Linear(config.n_radial, width) for width in widths)
        self.readout = nn.Sequential(nn.Linear(hidden, hidden // 2), nn.SiLU(), nn.Linear(hidden // 2, 1))
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    @classmethod
    def read_config(cls, values: Mapping[str, Any]) -> PaiNNConfig:
        """Return the configuration that a model file holds; networks of file version 1 had no core."""
        return PaiNNConfig(**{"core": 0.0, **values})

    @classmethod
    def check_weights(cls, config: PaiNNConfig, state: Mapping[str, Tensor]) -> torch.dtype:
        """Return the precision of weights whose shapes are the configuration's; see :meth:`.Student.check_weights`.

        Parameters
        ----------
        config
            The shape of the network.
        state
            The state dict; tensors of any shape and any unit.
        """
        weight = state["embedding.weight"]
        n_layers = len({name.split(".")[1] for name in state if name.startswith("messages.")})
        shape = (*weight.shape, n_layers, state["filters.0.weight"].shape[1])
        if shape != (len(config.elements), config.hidden, config.n_layers, config.n_radial):
            raise InputError(f"config and weights disagree: {config} and (elements, hidden, layers, radial) {shape}")
        return weight.dtype

    @classmethod
    def default_terms(cls, config: PaiNNConfig) -> tuple[Term, ...]:
        """Return the repulsion at short distances, which every PaiNN has had so far."""
        return (ZBLRepulsion.make(config),)

    def with_config(self, config: PaiNNConfig) -> "PaiNN":
        """Return a student of another configuration with the same terms and fresh weights."""
        return type(self)(config, [copy.deepcopy(cast("Term", term)) for term in self.terms.values()])

    @property
    def zbl(self) -> ZBLRepulsion:
        """The repulsion among the terms."""
        return cast("ZBLRepulsion", self.terms[ZBLRepulsion.name])

    def features(
        self, species: Tensor, edge_vectors: Tensor, distances: Tensor, centers: Tensor, neighbors: Tensor
    ) -> Tensor:
        """Return the scalar features of each atom after the last layer, shape (n_atoms, F), no unit.

        Parameters
        ----------
        species
            Species index of each atom, shape (n_atoms,), no unit.
        edge_vectors, distances
            Shape (n_edges, 3) and (n_edges,), Å; edges beyond the cutoff contribute nothing.
        centers, neighbors
            Shape (n_edges,), int64, no unit.
        """
        directions = edge_vectors / distances.unsqueeze(-1)
        seen = distances
        if self.core > 0:
            lengths = self.terms["zbl"].inverse_ranges  # the name of a term literally: TorchScript unrolls the table
            seen = held_distances(distances, lengths[species[centers], species[neighbors]], self.core)  # type: ignore[index]
        envelope = polynomial_envelope(seen / self.network_cutoff).unsqueeze(-1)
        basis = self.basis(seen)

        s = self.embedding(species)
        v = torch.zeros(s.shape[0], 3, s.shape[1], dtype=s.dtype, device=s.device)
        layer_filters: list[Tensor] = []
        for linear in self.filters:
            layer_filters.append(linear(basis) * envelope)  # noqa: PERF401 - TorchScript unrolls no comprehension
        for k, (message, update) in enumerate(zip(self.messages, self.updates)):  # noqa: B905 - TorchScript knows no strict=
            filters = layer_filters[0][:, : message.n_filters] if self.shared_filters else layer_filters[k]
            delta_s, delta_v = message(s, v, filters, directions, centers, neighbors)
            s, v = s + delta_s, v + delta_v
            delta_s, delta_v = update(s, v)
            s, v = s + delta_s, v + delta_v
        scalars: Tensor = s
        return scalars


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters())
