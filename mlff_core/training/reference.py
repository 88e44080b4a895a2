"""Reference energies of the elements, and the scale of the network's outputs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from mlff_core.data.memory import Indices, pieces
from mlff_core.data.reader import Dataset
from mlff_core.errors import InputError

Array = npt.NDArray[np.float64]


def composition(dataset: Dataset, indices: Indices, elements: tuple[int, ...]) -> Array:
    """Return the number of atoms of each element in each structure, shape (n_structures, n_elements).

    Parameters
    ----------
    dataset, indices
        The data set, and the indices of its structures, shape (n_structures,).
    elements
        Atomic numbers, ascending.

    Raises
    ------
    InputError
        A structure has an element outside ``elements``.
    """
    column = np.full(256, -1)
    column[list(elements)] = np.arange(len(elements))
    counts = []
    for piece in pieces(dataset, indices):
        batch = dataset.read(piece).batch
        species = column[batch.atomic_numbers.numpy()]
        if (species < 0).any():
            number = int(batch.atomic_numbers[int(np.argmax(species < 0))])
            raise InputError(
                f"{dataset.path} holds atomic number {number}, but the model supports {elements}; add it to elements"
            )
        flat = batch.system_idx.numpy() * len(elements) + species
        counts.append(np.bincount(flat, minlength=len(piece) * len(elements)).reshape(len(piece), -1))
    return np.concatenate(counts).astype(np.float64)


def fit_reference_energies(counts: Array, energies: Array) -> Array:
    """Return the energies of the elements that best fit the energies of structures, shape (n_elements,), eV.

    Least squares of Σ_z n_sz E_z − E_s, each row divided by the structure's number of atoms. If the compositions do
    not determine it, as for a single molecule, the solution nearest to one energy for all elements.

    Parameters
    ----------
    counts
        Number of atoms of each element, shape (n_structures, n_elements).
    energies
        Shape (n_structures,), eV.
    """
    n_atoms = counts.sum(axis=1)
    mean = energies.sum() / n_atoms.sum()
    solution = np.linalg.lstsq(counts / n_atoms[:, None], energies / n_atoms - mean, rcond=1e-8)[0]
    return np.asarray(solution + mean)


def fit_scale(dataset: Dataset, indices: Indices) -> float:
    """Return the typical size of a force component, eV/Å, which is used as the scale of energies too.

    The median over structures of the root mean square: a single wrong label does not change it.

    Parameters
    ----------
    dataset
        The data set.
    indices
        Indices of the structures, shape (n_structures,); at most 10,000 of them, evenly spaced, are used.
    """
    chosen = indices[:: max(1, len(indices) // 10_000)]
    squares = []
    for piece in pieces(dataset, chosen):
        labels = dataset.read(piece)
        by_atom = labels.forces.double().square().mean(dim=1)
        counts = torch.bincount(labels.batch.system_idx)
        squares.append(
            torch.zeros(len(piece), dtype=torch.float64).index_add(0, labels.batch.system_idx, by_atom) / counts
        )
    scale = float(torch.cat(squares).median()) ** 0.5
    return scale if scale > 1e-6 else 1.0


def reference_tensor(values: Array) -> torch.Tensor:
    """Return reference energies as stored in the model, shape (n_elements,), eV, float64."""
    return torch.from_numpy(np.ascontiguousarray(values))
