"""Writing metatomic's file, and evaluating it through metatomic's own ASE calculator."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from metatomic.torch import AtomisticModel, ModelCapabilities, ModelMetadata, ModelOutput
from metatomic_ase import MetatomicCalculator

from mlff_core.card import ModelCard
from mlff_core.export.writing import deprecation_silenced
from mlff_core.kernels.operator_library import library_path
from mlff_core.model.student import Student
from mlff_core.potentials.checks import check_distances
from mlff_core.potentials.interface import Potential
from mlff_core.structures.batch import AtomicBatch, split
from mlff_core.structures.neighbors import OVERLAP, EdgeList, edge_vectors, find_neighbors
from mlff_core.structures.prediction import Prediction
from mlff_plugins.metatomic.module import FusedMetatomicStudent, MetatomicStudent

CHARGE = ModelOutput(unit="e", sample_kind="atom")
"""metatomic's standard quantity for charges of atoms, under the name ``charge``."""


def save(network: Student, card: ModelCard, path: Path, *, fused: bool = False) -> None:
    """Write the network as an ``AtomisticModel`` with float64 inputs and outputs.

    With ``fused`` it runs the CPU kernel as one operator, and names the library, which metatomic opens with the file.
    Such a file gives no charges.
    """
    outputs = {"energy": ModelOutput(unit="eV", sample_kind="system")}
    if network.charges is not None and not fused:
        outputs["charge"] = CHARGE
    capabilities = ModelCapabilities(
        outputs=outputs,
        atomic_types=list(card.elements),
        # Each layer extends the range of interaction by one cutoff.
        interaction_range=card.cutoff * network.config.n_layers,
        length_unit="Angstrom",
        supported_devices=["cpu"] if fused else ["cpu", "cuda"],
        dtype="float64",
    )
    metadata = ModelMetadata(name=card.name, description=card.description)
    with deprecation_silenced(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = FusedMetatomicStudent(network, card) if fused else MetatomicStudent(network, card)
        model = AtomisticModel(module.eval(), metadata, capabilities)
        weights = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
        # It saves to a path only, and torch's writer aborts the process if the disk is full: first tried in Python.
        path.write_bytes(bytes(2 * weights + 2**20))
        with named_extension() if fused else contextlib.nullcontext():
            model.save(str(path))


@contextlib.contextmanager
def named_extension() -> Iterator[None]:
    """Let metatomic name the library of operators in the files that it writes meanwhile."""
    libraries, path = torch.ops.loaded_libraries, str(library_path())
    is_new = path not in libraries
    libraries.add(path)
    try:
        yield
    finally:
        if is_new:
            libraries.discard(path)


class MetatomicPotential(Potential):
    """An exported file, evaluated by metatomic's ASE calculator.

    Parameters
    ----------
    path
        The file.
    card
        The model's card.
    dtype
        Precision of the results.
    """

    def __init__(self, path: Path, card: ModelCard, dtype: torch.dtype) -> None:
        self.card = card
        self.device = torch.device("cpu")
        self.dtype = dtype
        with deprecation_silenced(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.calculator = MetatomicCalculator(str(path), device="cpu", uncertainty_threshold=None)
            offered = self.calculator.model().capabilities().outputs
        self.supports = frozenset({"energy", "forces", "stress", *(["charges"] if "charge" in offered else [])})

    def predict_checked(self, batch: AtomicBatch, want: Collection[str], edges: EdgeList | None = None) -> Prediction:
        """Return what is wanted; see :meth:`~mlff_core.potentials.interface.Potential.predict_checked`."""
        close = find_neighbors(batch, OVERLAP)
        check_distances(batch, close, edge_vectors(batch, close))
        frames = [
            Atoms(
                one.atomic_numbers.numpy(),
                one.positions.detach().double().numpy(),
                cell=_cell(one),
                pbc=one.pbc[0].numpy(),
            )
            for one in split(batch)
        ]
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            results = self.calculator.compute_energy(frames, compute_forces_and_stresses=True)
            charges = None
            if "charges" in want:
                given = self.calculator.run_model(frames, {"charge": CHARGE})["charge"].block().values
                charges = given.detach().reshape(-1).to(self.dtype)
        energy = torch.tensor([float(e) for e in results["energy"]], dtype=torch.float64)
        forces = torch.as_tensor(np.concatenate(results["forces"]), dtype=self.dtype)
        stress = None
        if "stress" in want:
            stress = torch.as_tensor(np.stack(results["stress"]).reshape(-1, 3, 3), dtype=self.dtype)
        return Prediction(energy=energy, forces=forces, stress=stress, charges=charges)


def _cell(one: AtomicBatch) -> np.ndarray:
    """Return the cell (3, 3), Å, with zeros along non-periodic directions, as metatomic requires."""
    cell: np.ndarray = one.cell[0].detach().double().numpy().copy()
    cell[~one.pbc[0].numpy()] = 0.0
    return cell
