"""CHGNet's network with the common interface, in batches.

The package's own ASE calculator is not used: it prints, takes one structure at a time, and knows no molecules.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Collection
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlff_core.card import ModelCard
from mlff_core.errors import UnsupportedError
from mlff_core.potentials.checks import check_distances
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch, concatenate, split
from mlff_core.structures.neighbors import EdgeList, edge_vectors, find_neighbors
from mlff_core.structures.prediction import Prediction
from mlff_core.structures.stress import stress_from_virial
from mlff_plugins.teachers.chunks import by_system, chunks, copied, joined
from mlff_plugins.teachers.pinned import pinned_content
from mlff_plugins.teachers.torch_globals import torch_globals_kept

SHA256 = "d14ab7c0f093efe64b60a7bcd540bca10e74fb7f46c86108a079af60524659d1"
"""SHA-256 of ``chgnet_0.3.0_e29f68s314m37.pth.tar`` in chgnet 0.4.2, a full pickle."""

CUTOFF = 6.0
"""Å, of the graph of atoms; angles are between bonds below 3 Å."""

CHUNK_ATOMS = 64
"""Number of atoms evaluated at once."""

GPA = 160.21766208
"""GPa in 1 eV/Å³, as the package has it, to undo its conversion exactly."""


def load_model(device: torch.device) -> Any:
    """Return the network, after a check of the file's hash.

    Raises
    ------
    InputError
        The file is missing, or is not the one that this version was made for; no code in it was run.
    """
    content = pinned_content("chgnet", packaged_weights(), SHA256, "chgnet==0.4.2")
    # It announces itself on standard output, even if told not to.
    with torch_globals_kept(), redirect_stdout(io.StringIO()):
        from chgnet.model.model import CHGNet

        # From the bytes that were hashed, since the file may change meanwhile.
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)
        model = CHGNet.from_dict(state["model"], mlp_out_bias=False, version="0.3.0")
    return model.to(device).eval().requires_grad_(False)


def packaged_weights() -> Path:
    """Return the path of the checkpoint in the package."""
    from importlib import resources

    package = Path(str(resources.files("chgnet")))
    return package / "pretrained" / "0.3.0" / "chgnet_0.3.0_e29f68s314m37.pth.tar"


class CHGNetPotential(Potential):
    """CHGNet with the common interface; one caller at a time."""

    supports = frozenset({"energy", "forces", "stress"})
    dtype = torch.float32
    """The package makes its graphs in float32 only."""

    def __init__(self, model: Any, card: ModelCard, device: torch.device) -> None:
        self.model = model
        self.card = card
        self.device = device
        self._lock = threading.Lock()

    def predict_checked(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None = None) -> Prediction:
        """Return what is wanted; see :meth:`~mlff_core.potentials.interface.Potential.predict_checked`."""
        neighbors = find_neighbors(batch, CUTOFF)
        check_distances(batch, neighbors, edge_vectors(batch, neighbors))
        _check_not_isolated(batch, neighbors)
        results: list[Prediction | None] = [None] * batch.n_systems
        # A caller's no_grad or inference mode must not disable the gradient here, and must not be changed.
        with torch.inference_mode(False), torch.enable_grad():
            systems = split(copied(batch))
            sizes = [system.n_atoms for system in systems]
            for indices in chunks(sizes, batch.pbc.any(dim=1).tolist(), CHUNK_ATOMS):
                chunk = [systems[k] for k in indices]
                with self._lock, torch_globals_kept():
                    found = self._evaluate(chunk, "stress" in want)
                for k, result in zip(indices, by_system(found, [s.n_atoms for s in chunk]), strict=True):
                    results[k] = result
            return joined([result for result in results if result is not None])

    def _evaluate(self, systems: list[AtomicBatch], with_stress: bool) -> Prediction:
        from pymatgen.core import Lattice, Structure

        boxes = [full_cell(system) for system in systems]
        structures = [
            Structure(Lattice(box), system.atomic_numbers.tolist(), system.positions.numpy(), coords_are_cartesian=True)
            for system, box in zip((s.to("cpu") for s in systems), boxes, strict=True)
        ]
        task = "efs" if with_stress else "ef"
        found = self.model.predict_structure(structures, task=task, batch_size=len(structures))
        found = [found] if len(structures) == 1 else found
        energies = [float(one["e"]) * system.n_atoms for one, system in zip(found, systems, strict=True)]
        stress = None
        if with_stress:
            # The package divides by the signed volume of the cell given to it.
            strain = [one["s"] / GPA * np.linalg.det(box) for one, box in zip(found, boxes, strict=True)]
            virial = -torch.tensor(np.stack(strain), dtype=torch.float32, device=self.device)
            cells = concatenate(systems).cell
            stress = stress_from_virial(0.5 * (virial + virial.transpose(1, 2)), cells)
        return Prediction(
            energy=torch.tensor(energies, dtype=torch.float64, device=self.device),
            forces=torch.tensor(np.concatenate([one["f"] for one in found]), device=self.device),
            stress=stress,
        )


def full_cell(system: AtomicBatch) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a cell that is periodic in all directions, shape (3, 3), Å.

    Where the structure is not periodic, the images are further away than the cutoff, so they have no effect.
    """
    pbc = system.pbc[0].cpu().numpy()
    cell = np.where(pbc[:, None], system.cell[0].cpu().double().numpy(), 0.0)
    # The directions across the periodic ones: the last rows of the right singular vectors.
    across = np.linalg.svd(cell)[2][int(pbc.sum()) :]
    positions = system.positions.cpu().double().numpy()
    extents = np.ptp(positions @ across.T, axis=0) + CUTOFF + 0.5
    cell[~pbc] = across * extents[:, None]
    return cell


def _check_not_isolated(batch: AtomicBatch, edges: EdgeList) -> None:
    """Refuse an atom without neighbours, for which the network was not trained.

    Raises
    ------
    UnsupportedError
        The message names the atom.
    """
    counts = torch.bincount(edges.centers, minlength=batch.n_atoms)
    if bool((counts == 0).any()):
        raise UnsupportedError(
            f"atom {int(counts.argmin())} has no neighbour within {CUTOFF:g} Å, and chgnet was trained on none such; "
            "use another teacher, or leave the structure out"
        )
