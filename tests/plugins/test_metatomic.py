import pytest

pytest.importorskip("metatomic.torch")
pytest.importorskip("metatomic_ase")

from mlff_core.testing import EngineContract, ExporterContract
from mlff_plugins.metatomic import MetatomicEngine, MetatomicExporter


@pytest.fixture(autouse=True)
def _by_the_network_itself(monkeypatch):
    """The file holds the network; the fused kernel's own deviation is larger than what an engine may add in float64."""
    monkeypatch.setenv("MLFF_KERNEL", "reference")


class TestMetatomic(EngineContract):
    engine = MetatomicEngine()
    potentials = ("student",)


class TestMetatomicExporter(ExporterContract):
    exporter = MetatomicExporter()
