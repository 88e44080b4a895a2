"""Memory and time of training from a file much larger than memory: ``python -m benchmarks training_memory SET.h5``.

A file of --gigabytes is made by repeating the structures of SET.h5, trained from for --steps steps by the kernel,
and deleted. Each copy is shifted by another 1e-3 Å; nothing is compressed. The peak of resident memory is that of
the training alone, in a new process.
"""

from __future__ import annotations

import json
import multiprocessing
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np

from benchmarks.command import parser, use_threads, write
from mlff_core.config import from_dict
from mlff_core.data.hdf5 import Dataset
from mlff_core.data.layout import COLUMNS
from mlff_core.data.writer import CHUNK_ATOMS, CHUNK_STRUCTURES
from mlff_core.training.trainer import TrainConfig, Trainer
from mlff_plugins.benchmark.peers.worker import peak_memory


def repeat(source: Path, target: Path, size: int) -> int:
    """Write the structures of ``source`` repeatedly until the file has ``size`` bytes; return their number."""
    with Dataset(source) as data:
        columns = {name: data.column(name, 0, len(data)) for name in COLUMNS if data.has(name) and name != "split"}
        offsets, n_molecules = data.offsets, int(data.molecule_id.max()) + 1
        attributes = {"teacher": json.dumps(data.teacher), "kinds": json.dumps(data.kinds), "license": data.license}
    bounds, copies = [np.zeros(1, np.int64)], 0
    with h5py.File(target, "w") as file:
        attributes |= {"format": "mlff-dataset", "length_unit": "Angstrom", "energy_unit": "eV", "created": "{}"}
        file.attrs.update(attributes)
        file.attrs["version"] = 1
        for name, rows in columns.items():
            chunk = CHUNK_ATOMS if COLUMNS[name].per == "atom" else CHUNK_STRUCTURES
            shape = rows.shape[1:]
            file.create_dataset(name, (0, *shape), rows.dtype, maxshape=(None, *shape), chunks=(chunk, *shape))
        while target.stat().st_size < size:
            for name, rows in columns.items():
                new = rows
                if name == "positions":
                    new = rows + np.float32(1e-3 * copies)
                elif name == "molecule_id":
                    new = rows + copies * n_molecules
                done = len(file[name])
                file[name].resize(done + len(new), axis=0)
                file[name][done:] = new
            bounds.append(offsets[1:] + copies * offsets[-1])
            copies += 1
            file.flush()
        file["offsets"] = np.concatenate(bounds)
    return copies * (len(offsets) - 1)


def train(path: Path, out: Path, steps: int, cache_mib: int, connection: Any) -> None:
    """Train, and send time and memory."""
    use_threads(1)
    before = peak_memory()
    start, cpu = time.perf_counter(), time.process_time()
    config = from_dict(
        TrainConfig,
        {
            "name": "memory",
            "out": str(out),
            "device": "cpu",
            "step": "kernel",
            "model": {"preset": "ultra-tiny"},
            "data": {"path": str(path), "max_validation": 500},
            "batch": {"atoms": 320, "edges": 8192, "cache_mib": cache_mib},
            "stop": {"max_steps": steps},
        },
    )
    result = Trainer(config).fit()
    connection.send(
        {
            "peak_mib_before": before >> 20,
            "peak_mib": peak_memory() >> 20,
            "seconds": round(time.perf_counter() - start, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
            "structures_seen": result.history[-1]["structures"],
            "steps": result.steps,
        }
    )


def main() -> None:
    options = parser(__doc__, "training_memory.json")
    options.add_argument("source", type=Path)
    options.add_argument("--gigabytes", type=float, default=10.0)
    options.add_argument("--steps", type=int, default=300)
    options.add_argument("--cache-mib", type=int, default=512)
    arguments = options.parse_args()
    with TemporaryDirectory() as name:
        path = Path(name) / "large.h5"
        start = time.perf_counter()
        n_structures = repeat(arguments.source, path, int(arguments.gigabytes * 1e9))
        found: dict[str, Any] = {
            "source": arguments.source.name,
            "file_gigabytes": round(path.stat().st_size / 1e9, 2),
            "n_structures": n_structures,
            "seconds_to_make": round(time.perf_counter() - start, 1),
            "cache_mib": arguments.cache_mib,
        }
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe(duplex=False)
        process = context.Process(
            target=train, args=(path, Path(name) / "run", arguments.steps, arguments.cache_mib, there)
        )
        process.start()
        there.close()
        found |= here.recv()
        process.join()
    print(json.dumps(found, indent=1))
    write(arguments.out, found)


if __name__ == "__main__":
    main()
