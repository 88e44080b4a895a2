"""Two processes with the same output: no result is lost."""

import json
import multiprocessing

import pytest

from mlff_core.data.hdf5 import Dataset
from mlff_core.data.label import LabelConfig, label
from mlff_core.data.shards import Shards
from mlff_core.errors import InputError
from mlff_core.testing.reference_potential import PairPotential

CONFIG = LabelConfig(batch_structures=10, batch_atoms=20, max_force=0.0)
FORK = multiprocessing.get_context("fork")


def _label(chains, output, results) -> None:
    import torch

    torch.set_num_threads(1)
    try:
        results.put(label(chains, output, PairPotential(), CONFIG).n_structures)
    except InputError as error:
        results.put(str(error))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_labelling_one_output_twice_at_once_keeps_every_structure(chains, tmp_path):
    results = FORK.Queue()
    processes = [FORK.Process(target=_label, args=(chains, tmp_path / "out.h5", results)) for _ in range(4)]
    for process in processes:
        process.start()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    # One does the work; the other gets an error, or begins when all is done.
    assert 120 in found
    assert all(result == 120 or "out.h5 is being written by process" in result for result in found), found
    with Dataset(tmp_path / "out.h5") as dataset:
        dataset.validate()
        assert len(dataset) == 120
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chains.h5", "out.h5"]


def test_a_missing_or_changed_batch_is_an_error_and_not_a_smaller_set(chains, tmp_path):
    class EndedError(Exception):
        pass

    def stop(progress):
        if progress.n_done == 4:
            raise EndedError

    with pytest.raises(EndedError):
        label(chains, tmp_path / "out.h5", PairPotential(), CONFIG, on_progress=stop)
    folder = tmp_path / "out.h5.parts"
    (folder / f".abc.part.batch-{7:06d}.h5").write_bytes(b"left by a killed process")
    (folder / "batch-000001.h5").unlink()
    with pytest.raises(InputError, match=r"batch 1 of 12 is missing in .*out.h5.parts"):
        label(chains, tmp_path / "out.h5", PairPotential(), CONFIG)
    assert not list(folder.glob(".*"))
    assert not (tmp_path / "out.h5").exists()
    (folder / "batch-000002.h5").replace(folder / "batch-000001.h5")
    record = json.loads((folder / "batch-000001.json").read_text())
    (folder / "batch-000001.json").write_text(json.dumps({**record, "n_structures": 7}))
    with pytest.raises(InputError, match=r"batch-000001.h5 must hold 7 structures, holds 10"):
        list(Shards(folder, json.loads((folder / "job.json").read_text())).structures(2))
