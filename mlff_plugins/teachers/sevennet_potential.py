"""SevenNet's network with the common interface, in batches.

It is called directly, on graphs made here: the package's own ASE calculator takes one structure at a time and searches
neighbours in Python.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from mlff_core.card import ModelCard
from mlff_core.potentials.checks import check_distances
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch, concatenate, split
from mlff_core.structures.neighbors import EdgeList, edge_vectors, find_neighbors
from mlff_core.structures.prediction import Prediction
from mlff_core.structures.stress import stress_from_virial
from mlff_plugins.teachers.chunks import by_system, chunks, copied, joined
from mlff_plugins.teachers.pinned import pinned_content
from mlff_plugins.teachers.torch_globals import torch_globals_kept

SHA256 = "7052cb42b7b3be42b40b97fa0d21077a48c54b5548948fc4dcf346629f813c36"
"""SHA-256 of ``checkpoint_sevennet_0.pth`` of 11 July 2024 in sevenn 0.13.0, a full pickle."""

CHUNK_ATOMS = 64
"""Number of atoms evaluated at once: 16 cells of 4 atoms take 0.7 of their time one by one, and metals need 15 MB an
atom."""


def load_model(device: torch.device) -> Any:
    """Return the network, after a check of the file's hash.

    Raises
    ------
    InputError
        The file is missing, or is not the one that this version was made for; no code in it was run.
    """
    content = pinned_content("sevennet", packaged_weights(), SHA256, "sevenn==0.13.0")
    # The package warns that no accelerator is installed, and e3nn sets defaults of the compiler.
    with torch_globals_kept(), TemporaryDirectory() as folder:
        from sevenn.checkpoint import SevenNetCheckpoint

        # The package takes a path only; a copy of the bytes that were hashed, since the file may change meanwhile.
        copy = Path(folder) / "checkpoint.pth"
        copy.write_bytes(content)
        model = SevenNetCheckpoint(copy).build_model()
    model.set_is_batch_data(True)
    # The gradient with respect to the vectors of the edges is taken here.
    model.delete_module_by_key("force_output")
    model.key_grad = None
    return model.to(device).eval().requires_grad_(False)


def packaged_weights() -> Path:
    """Return the path of the checkpoint in the package."""
    from importlib import resources

    package = Path(str(resources.files("sevenn")))
    return package / "pretrained_potentials" / "SevenNet_0__11Jul2024" / "checkpoint_sevennet_0.pth"


class SevenNetPotential(Potential):
    """SevenNet with the common interface; one caller at a time, since the network's modules keep state."""

    supports = frozenset({"energy", "forces", "stress", "atom_energies"})
    dtype = torch.float32
    """The network makes tensors of torch's default type, so it has no other."""

    def __init__(self, model: Any, card: ModelCard, device: torch.device) -> None:
        self.model = model
        self.card = card
        self.device = device
        self._lock = threading.Lock()

    def predict_checked(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None = None) -> Prediction:
        """Return what is wanted; see :meth:`~mlff_core.potentials.interface.Potential.predict_checked`."""
        results: list[Prediction | None] = [None] * batch.n_systems
        # A caller's no_grad or inference mode must not disable the gradient here, and must not be changed.
        with torch.inference_mode(False), torch.enable_grad():
            systems = split(copied(batch))
            sizes = [system.n_atoms for system in systems]
            for indices in chunks(sizes, batch.pbc.any(dim=1).tolist(), CHUNK_ATOMS):
                chunk = concatenate([systems[k] for k in indices])
                with self._lock:
                    found = self._evaluate(chunk, want)
                for k, result in zip(indices, by_system(found, chunk.atoms_per_system()), strict=True):
                    results[k] = result
            return joined([result for result in results if result is not None])

    def _evaluate(self, batch: AtomicBatch, want: Collection[str]) -> Prediction:
        edges = find_neighbors(batch, float(self.model.cutoff))
        vectors = edge_vectors(batch, edges).requires_grad_()
        check_distances(batch, edges, vectors.detach())
        graph = {
            "x": batch.atomic_numbers,
            "atomic_numbers": batch.atomic_numbers,
            "edge_index": torch.stack((edges.centers, edges.neighbors)),
            "edge_vec": vectors,
            "batch": batch.system_idx,
        }
        # One column, eV.
        of_atoms = self.model(graph)["atomic_energy"].reshape(-1)
        atom_energies = of_atoms.detach().double()
        energy = torch.zeros(batch.n_systems, dtype=torch.float64, device=self.device)
        forces = stress = None
        if {"forces", "stress"} & set(want):
            pull = torch.zeros_like(vectors)
            if edges.n_edges:
                (pull,) = torch.autograd.grad(of_atoms.sum(), vectors)
            vectors = vectors.detach()
            forces = torch.zeros_like(batch.positions)
            forces.index_add_(0, edges.centers, pull).index_add_(0, edges.neighbors, -pull)
            if "stress" in want:
                virial = torch.zeros_like(batch.cell)
                virial.index_add_(0, batch.system_idx[edges.centers], -vectors[:, :, None] * pull[:, None, :])
                stress = stress_from_virial(0.5 * (virial + virial.transpose(1, 2)), batch.cell)
        return Prediction(
            energy=energy.index_add_(0, batch.system_idx, atom_energies),
            forces=forces,
            stress=stress,
            atom_energies=atom_energies if "atom_energies" in want else None,
        )
