"""The energy of a student: that of a network, a list of terms, and a reference energy for each element.

This module has no postponed annotations, because TorchScript reads the annotations.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

import torch
from torch import Tensor, nn

from mlff_core.errors import InputError
from mlff_core.model.charges import ChargeReadout, bounded
from mlff_core.model.saturation import Saturation
from mlff_core.model.term import Term

if TYPE_CHECKING:
    from typing_extensions import Self

PARTS = ("saturation", "charges")
"""Names of the optional parts of a student in its state dict."""


class Student(nn.Module):
    """Base class of all networks: E_i = E⁰(Z_i) + scale · readout(features_i) + Σ over terms and edges from i.

    With a :attr:`saturation`, the learned energy scale · readout(features_i) is bounded by it.

    A subclass is an architecture: it sets :attr:`architecture`, implements :meth:`features`, and has a ``readout``. It
    is local: the energy of an atom depends only on atoms that are a few edges away.

    Parameters
    ----------
    config
        The shape of the network.
    terms
        Terms added to its energy, each name once.
    """

    architecture: ClassVar[str]
    """Its key in :data:`mlff_core.model.architectures.ARCHITECTURES` and in model files."""

    has_one_cutoff: Final[bool]  # a constant for TorchScript, which then leaves the other branch out of the graph
    n_features: int
    """Number of features of an atom."""
    species_of_number: Tensor
    scale: Tensor
    reference_energies: Tensor
    if TYPE_CHECKING:  # TorchScript takes no annotation of a submodule
        config: Any
        readout: nn.Sequential
        saturation: Saturation | None
        """Bounds of the learned energy of an atom; set it before a kernel reads the student. None for no bounds."""
        charges: ChargeReadout | None
        """Readout of the charge of each atom from the same features; None if the student gives no charges."""

    def __init__(self, config: Any, terms: Sequence[Term]) -> None:
        super().__init__()
        names = [term.name for term in terms]
        if len(set(names)) < len(names):
            raise InputError(f"the terms of an energy must differ, got {', '.join(names)}")
        self.config = config
        self.network_cutoff = config.cutoff
        self.cutoff = max([config.cutoff, *(term.cutoff for term in terms)])
        self.has_one_cutoff = all(term.cutoff == config.cutoff for term in terms)
        species = torch.full((119,), -1, dtype=torch.int64)
        species[list(config.elements)] = torch.arange(len(config.elements))
        self.register_buffer("species_of_number", species, persistent=False)
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("reference_energies", torch.zeros(len(config.elements), dtype=torch.float64))
        self.terms = nn.ModuleDict(dict(zip(names, terms, strict=True)))
        self.saturation = None
        self.charges = None

    @classmethod
    def read_config(cls, values: Mapping[str, Any]) -> Any:
        """Return the configuration that a model file holds as a mapping; older files may lack keys."""
        raise NotImplementedError

    @classmethod
    def check_weights(cls, config: Any, state: Mapping[str, Tensor]) -> torch.dtype:
        """Return the precision of weights, after a check of their shapes; called before a network of that size is made.

        Parameters
        ----------
        config
            From :meth:`read_config`.
        state
            The state dict; tensors of any shape and any unit.

        Raises
        ------
        InputError
            The shapes do not match the configuration.
        """
        raise NotImplementedError

    @classmethod
    def default_terms(cls, config: Any) -> tuple[Term, ...]:
        """Return the terms of a model file that lists none."""
        raise NotImplementedError

    def with_config(self, config: Any) -> "Self":
        """Return a student with another configuration, the same terms, and new weights."""
        raise NotImplementedError

    def add_parts(self, state: Mapping[str, Tensor]) -> "Self":
        """Add the optional parts whose numbers a state dict holds, before it is loaded; return the student itself.

        Parameters
        ----------
        state
            The state dict; tensors of any shape and any unit.

        Raises
        ------
        InputError
            A part does not fit the student.
        """
        if any(name.startswith("saturation.") for name in state):
            self.saturation = Saturation.for_state(state, len(self.config.elements)).to(self.scale)
        if any(name.startswith("charges.") for name in state):
            self.charges = ChargeReadout.for_state(state, self.n_features).to(self.scale)
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Self":
        # A cast to float32 would round energies of −10³ eV by 0.1 meV per atom, so they stay in float64.
        exact = self.reference_energies
        super()._apply(fn, recurse)
        self.reference_energies = exact.to(self.reference_energies.device)
        return self

    def features(
        self, species: Tensor, edge_vectors: Tensor, distances: Tensor, centers: Tensor, neighbors: Tensor
    ) -> Tensor:
        """Return the scalar features of each atom, shape (n_atoms, F).

        Parameters
        ----------
        species
            Species index of each atom, shape (n_atoms,).
        edge_vectors, distances
            Shape (n_edges, 3) and (n_edges,), Å; edges beyond the network's cutoff contribute nothing.
        centers, neighbors
            Shape (n_edges,), int64.
        """
        raise NotImplementedError

    def forward(self, atomic_numbers: Tensor, edge_vectors: Tensor, centers: Tensor, neighbors: Tensor) -> Tensor:
        """Return the energy of each atom, shape (n_atoms,), eV, float64.

        Parameters
        ----------
        atomic_numbers
            Shape (n_atoms,), int64; only elements of the model.
        edge_vectors
            From centre to neighbour, shape (n_edges, 3), Å: all edges shorter than ``cutoff``, the longest reach of
            network and terms; longer edges contribute nothing.
        centers, neighbors
            Shape (n_edges,), int64.
        """
        species, distances, features = self.seen(atomic_numbers, edge_vectors, centers, neighbors)
        return self.energies(species, distances, features, centers, neighbors)

    def energies_and_charges(
        self, atomic_numbers: Tensor, edge_vectors: Tensor, centers: Tensor, neighbors: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the energy, eV, float64, and the charge, e, of each atom, shape (n_atoms,) each.

        The charges are empty if the student has no readout of charges. The arguments are those of :meth:`forward`:
        ``atomic_numbers`` (n_atoms,), ``edge_vectors`` (n_edges, 3) in Å, ``centers`` and ``neighbors`` (n_edges,).
        """
        species, distances, features = self.seen(atomic_numbers, edge_vectors, centers, neighbors)
        charges = features.new_zeros(0)
        if self.charges is not None:
            charges = bounded(self.charges(features).squeeze(-1))
        return self.energies(species, distances, features, centers, neighbors), charges

    def seen(
        self, atomic_numbers: Tensor, edge_vectors: Tensor, centers: Tensor, neighbors: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return species (n_atoms,), distances (n_edges,), Å, and features (n_atoms, F), for :meth:`energies`.

        The arguments are those of :meth:`forward`: ``atomic_numbers`` (n_atoms,), ``edge_vectors`` (n_edges, 3) in Å,
        ``centers`` and ``neighbors`` (n_edges,).
        """
        species = self.species_of_number[atomic_numbers]
        distances = torch.sqrt((edge_vectors * edge_vectors).sum(dim=-1))
        if self.has_one_cutoff:
            features = self.features(species, edge_vectors, distances, centers, neighbors)
        else:
            near = (distances < self.network_cutoff).nonzero().squeeze(1)
            features = self.features(species, edge_vectors[near], distances[near], centers[near], neighbors[near])
        return species, distances, features

    def energies(
        self, species: Tensor, distances: Tensor, features: Tensor, centers: Tensor, neighbors: Tensor
    ) -> Tensor:
        """Return the energy of each atom, shape (n_atoms,), eV, float64.

        Parameters
        ----------
        species, distances, features
            From :meth:`seen`: (n_atoms,), (n_edges,) in Å, and (n_atoms, F).
        centers, neighbors
            Shape (n_edges,), int64.
        """
        energies = self.readout(features).squeeze(-1) * self.scale
        if self.saturation is not None:
            energies = self.saturation(energies, species)
        for term in self.terms.values():
            if self.has_one_cutoff:
                starts = centers
                added = term(distances, species, centers, neighbors, features)
            else:
                near = (distances < term.cutoff).nonzero().squeeze(1)  # type: ignore[operator]
                starts = centers[near]
                added = term(distances[near], species, starts, neighbors[near], features)
            energies = energies.to(added.dtype)  # under bf16 autocast the readout is rounded, a term is not
            energies = energies + torch.zeros_like(energies).index_add(0, starts, added)
        total: Tensor = energies.double() + self.reference_energies[species]
        return total
