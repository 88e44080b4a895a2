"""Steps through ONNX Runtime."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from ase import Atoms

from benchmarks.engines.trio import Trio, cycle, frames_of_a_run, predict_steps, wants
from mlff_core import load
from mlff_core.structures.reading import batch_from_atoms


@contextlib.contextmanager
def onnx(frame: Atoms, model: str) -> Iterator[Trio]:
    import onnxruntime

    from mlff_core.model.traced_program import INPUTS, OUTPUTS
    from mlff_core.potentials.exported_graph import GraphPotential
    from mlff_core.structures.neighbors import edge_vectors, find_neighbors
    from mlff_plugins.onnx import ONNXExporter, open_onnx

    student = load(model, device="cpu")
    frames = frames_of_a_run(frame, student)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        ONNXExporter().export(student, path)
        potential = open_onnx(path, "cpu")
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    batch = batch_from_atoms(frame)
    feeds = {}
    for positions in frames:
        edges = find_neighbors(batch.with_positions(positions), student.card.cutoff)
        given = (
            batch.atomic_numbers,
            edge_vectors(batch.with_positions(positions), edges),
            edges.centers,
            edges.neighbors,
        )
        values = zip(INPUTS, (*given, batch.system_idx), strict=True)
        feeds[id(positions)] = {name: value.contiguous().numpy() for name, value in values}
    none = [torch.zeros(1).double(), torch.zeros(len(frame)).double(), torch.zeros(len(frame), 3), torch.zeros(1, 3, 3)]
    empty = GraphPotential(lambda *given: tuple(none), potential.card)
    yield Trio(
        predict_steps(frame, potential, frames, wants(frame)),
        predict_steps(frame, empty, frames, wants(frame)),
        cycle(frames, lambda positions: session.run(OUTPUTS, feeds[id(positions)])),
    )
