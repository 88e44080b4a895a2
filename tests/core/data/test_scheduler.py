"""Work on a Dask cluster: the same task, the same bytes, and a worker that dies loses nothing."""

import pytest

from mlff_core.data.hdf5 import Dataset
from mlff_core.data.label import LabelConfig, label
from mlff_core.errors import InputError
from mlff_core.testing.reference_potential import PairPotential

CONFIG = LabelConfig(batch_structures=10, batch_atoms=20, max_force=0.0)
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def test_a_cluster_that_loses_a_worker_loses_and_doubles_nothing(chains, tmp_path, deadly_teacher):
    distributed = pytest.importorskip("distributed")
    factory, flag = deadly_teacher
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as cluster:
        report = label(chains, tmp_path / "out.h5", factory, CONFIG, scheduler=cluster.scheduler_address)
    assert flag.exists()
    assert (report.n_structures, report.n_failed_inputs) == (120, 0)
    assert sorted(Dataset(tmp_path / "out.h5").molecule_id) == sorted(Dataset(chains).molecule_id)
    label(chains, tmp_path / "one.h5", PairPotential(), CONFIG)
    assert (tmp_path / "out.h5").read_bytes() == (tmp_path / "one.h5").read_bytes()


@pytest.mark.slow  # waits for twenty seconds
def test_a_scheduler_that_does_not_respond_is_named(chains, tmp_path):
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match=r"no Dask scheduler responds at tcp://127.0.0.1:1"):
        label(chains, tmp_path / "out.h5", PairPotential, CONFIG, scheduler="tcp://127.0.0.1:1")
