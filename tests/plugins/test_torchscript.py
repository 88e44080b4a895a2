from mlff_core.testing import ExporterContract, RuntimeContract
from mlff_plugins.torchscript import TorchScriptExporter, TorchScriptRuntime


class TestTorchScriptExporter(ExporterContract):
    exporter = TorchScriptExporter()


class TestTorchScriptRuntime(RuntimeContract):
    runtime = TorchScriptRuntime()
    exporter = TorchScriptExporter()
