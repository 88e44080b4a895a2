"""PaiNN, the polarizable atom interaction network.

K. Schütt, O. Unke, M. Gastegger, *Equivariant message passing for the prediction of tensorial properties and
molecular spectra*, ICML 2021, arXiv:2102.03150. Equation numbers below are that paper's.

Two parts are left out without changing the result: the first layer's messages from vector features (all vectors start
at zero), and the last layer's vector update (only scalars are read out). Every filter is multiplied by the cutoff
envelope *after* its linear layer, bias included, so each message goes to zero smoothly at the cutoff.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from mlff_core.errors import InputError
from mlff_core.model.distance_floor import CORE_WIDTH, held_distances
from mlff_core.model.painn_shapes import check_shapes, check_sizes
from mlff_core.model.radial import BesselBasis, GaussianBasis, polynomial_envelope
from mlff_core.model.student import Student
from mlff_core.model.term import Term
from mlff_core.model.zbl import ZBLRepulsion

SMOOTHING = 1e-2
"""Added to squared norms of vector features, so that the square root has a bounded second derivative where a vector
vanishes, as it does by symmetry in a flat molecule; with a tiny constant forces have a kink there and Hessians jump."""


@dataclass(frozen=True)
class PaiNNConfig:
    """The settings that determine the shape of a PaiNN.

    Parameters
    ----------
    elements
        Atomic numbers the model knows, in rising order.
    hidden
        Number of feature channels F, for scalars and for vectors.
    n_layers
        Number of layers, each a message and an update block.
    n_radial
        Number of radial basis functions.
    cutoff
        Longest edge, Å.
    radial_basis
        ``"bessel"`` (as in the paper) or ``"gaussian"``.
    shared_filters
        Use one radial filter for all layers, an option of SchNetPack, instead of one for each layer.
    core
        The inner region of a pair, in units of its covalent length; 0 for none. At shorter distances the filters are
        constant, and only the repulsion acts between the two atoms. See
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
        check_sizes(self)
        if type(self.shared_filters) is not bool:
            raise InputError(f"shared_filters must be true or false, got {self.shared_filters!r}")
        if self.core != 0 and not CORE_WIDTH < self.core <= 0.9:
            raise InputError(f"core must be 0 (none) or lie in {CORE_WIDTH}–0.9 covalent lengths, got {self.core}")
        if self.radial_basis not in ("bessel", "gaussian"):
            raise InputError(f"radial_basis must be 'bessel' or 'gaussian', got {self.radial_basis!r}")


class Message(nn.Module):
    """Message block, eqs. 7 and 8: the neighbours' scalars and vectors, filtered by distance and summed.

    Parameters
    ----------
    hidden
        Number of feature channels F.
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
            Scalar (n_atoms, F) and vector (n_atoms, 3, F) features.
        filters
            W(r) · u(r), shape (n_edges, n_filters).
        directions
            Unit vectors from centre to neighbour, shape (n_edges, 3).
        centers, neighbors
            Shape (n_edges,).
        """
        # index_select, not []: the backward of index_select is a plain sum, that of [] sorts the indices first.
        x = self.phi(s).index_select(0, neighbors) * filters
        delta_s = torch.zeros_like(s).index_add(0, centers, x[:, : self.hidden])
        messages = directions.unsqueeze(-1) * x[:, self.hidden : 2 * self.hidden].unsqueeze(1)
        if self.reads_vectors:
            messages = messages + v.index_select(0, neighbors) * x[:, 2 * self.hidden :].unsqueeze(1)
        return delta_s, torch.zeros_like(v).index_add(0, centers, messages)


class Update(nn.Module):
    """Update block, eqs. 9 and 10: mixes the scalars and vectors of one atom.

    Parameters
    ----------
    hidden
        Number of feature channels F.
    writes_vectors
        False in the last layer, whose outgoing vectors are not used.
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
        """Return the changes (Δs, Δv) of s (n_atoms, F) and v (n_atoms, 3, F)."""
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
    """The PaiNN network, which computes the energy of each atom from the vectors to its neighbours.

    E_i = E0(Z_i) + scale · readout(s_i) + ½ Σ_j ZBL(r_ij), or with other terms than ZBL.

    Buffers beside the weights: ``reference_energies`` (n_elements,), eV, float64 in every precision of the model;
    ``scale``, eV; ``species_of_number`` (119,), the species index of an atomic number or −1.

    Parameters
    ----------
    config
        The shape of the network.
    terms
        Terms added to its energy; None uses :meth:`default_terms`.

    Raises
    ------
    InputError
        The configuration has a core, but no term acts inside it.
    """

    architecture = "PaiNN"
    if TYPE_CHECKING:
        config: PaiNNConfig
    __jit_unused_properties__ = ("zbl",)

    def __init__(self, config: PaiNNConfig, terms: Sequence[Term] | None = None) -> None:
        super().__init__(config, self.default_terms(config) if terms is None else terms)
        if config.core > 0 and ZBLRepulsion.name not in self.terms:
            raise InputError(
                f"core = {config.core} needs the term 'zbl', which alone acts inside the core, but this energy does "
                "not have it; add the term, or set core = 0"
            )
        hidden, n_layers = config.hidden, config.n_layers
        self.shared_filters = config.shared_filters
        self.core = config.core
        self.n_features = hidden

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
        """Return the precision of weights whose shapes match the configuration; see :meth:`.Student.check_weights`.

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
        check_shapes(config, state)
        return weight.dtype

    @classmethod
    def default_terms(cls, config: PaiNNConfig) -> tuple[Term, ...]:
        """Return the repulsion at short distances."""
        return (ZBLRepulsion.make(config),)

    def with_config(self, config: PaiNNConfig) -> "PaiNN":
        """Return a student with another configuration, the same terms and optional parts, and new weights."""
        made = type(self)(config, [copy.deepcopy(cast("Term", term)) for term in self.terms.values()])
        return made.add_parts(self.state_dict())

    @property
    def zbl(self) -> ZBLRepulsion:
        """The repulsion, one of the terms."""
        return cast("ZBLRepulsion", self.terms[ZBLRepulsion.name])

    def features(
        self, species: Tensor, edge_vectors: Tensor, distances: Tensor, centers: Tensor, neighbors: Tensor
    ) -> Tensor:
        """Return the scalar features of each atom after the last layer, shape (n_atoms, F).

        The arguments are those of :meth:`.Student.features`: ``species`` (n_atoms,), ``edge_vectors`` (n_edges, 3) and
        ``distances`` (n_edges,) in Å, ``centers`` and ``neighbors`` (n_edges,).
        """
        directions = edge_vectors / distances.unsqueeze(-1)
        seen = distances
        if self.core > 0:
            lengths = self.terms["zbl"].inverse_ranges  # a literal name: TorchScript unrolls the table
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
