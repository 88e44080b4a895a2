"""A term of a student's energy, which is added to that of the network and has its own cutoff and parameters.

This module has no postponed annotations, because TorchScript reads the annotations.
"""

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from torch import Tensor

from mlff_core.model.constants import ModuleWithConstants

if TYPE_CHECKING:
    from typing_extensions import Self


class StudentConfig(Protocol):
    """The common part of every architecture's configuration, a frozen dataclass of numbers and text."""

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers the network knows, in rising order."""

    @property
    def cutoff(self) -> float:
        """Longest edge of the network, Å."""


class Term(ModuleWithConstants):
    """A sum over edges that a student adds to the energies of their centres.

    A term is written in torch as a function of distances; torch differentiates it for forces, stress and Hessian. It
    sees the edges shorter than its own cutoff, which may be longer or shorter than the network's. Its trainable
    parameters are in the student's state dict under ``terms.<name>.``.

    Parameters
    ----------
    cutoff
        The longest edge it needs, Å; its energy and the first two derivatives vanish there.
    """

    name: ClassVar[str]
    """Its key in :data:`mlff_core.model.architectures.TERMS`, in model files and in error messages."""

    def __init__(self, cutoff: float) -> None:
        super().__init__()
        self.cutoff = cutoff

    @classmethod
    def make(cls, config: "StudentConfig", **options: Any) -> "Self":
        """Return the term of a student with this configuration, as :meth:`options` describes it."""
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        """Return the options of :meth:`make`, stored in the model file: numbers and text."""
        return {}

    def constants(self) -> dict[str, Tensor]:
        """Return fixed numbers by name, float64, on the CPU; none unless a subclass has some."""
        return {}

    def forward(
        self, distances: Tensor, species: Tensor, centers: Tensor, neighbors: Tensor, features: Tensor
    ) -> Tensor:
        """Return what each directed edge adds to the energy of its centre, shape (n_edges,), eV.

        Parameters
        ----------
        distances
            Shape (n_edges,), Å; none longer than the term's cutoff where that is shorter than another's.
        species
            Species index of each atom, shape (n_atoms,).
        centers, neighbors
            Shape (n_edges,), int64.
        features
            The network's scalar features of each atom after the last layer, shape (n_atoms, F).
        """
        raise NotImplementedError
