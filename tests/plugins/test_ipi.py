import pytest

pytest.importorskip("ipi")

from mlff_core.testing import EngineContract
from mlff_plugins.ipi import IPIDirectEngine, IPISocketEngine


class TestIPISocket(EngineContract):
    engine = IPISocketEngine()


class TestIPIDirect(EngineContract):
    engine = IPIDirectEngine()
