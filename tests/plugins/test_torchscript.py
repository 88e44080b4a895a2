"""TorchScript files, of torch's operations and of one operator."""

import json
import subprocess
import sys

import pytest
import torch

from mlff_core.errors import InputError
from mlff_core.export.writing import deprecation_silenced
from mlff_core.testing import ExporterContract, RuntimeContract, small_student, structures
from mlff_plugins.torchscript import CARD, TorchScriptExporter, TorchScriptRuntime


class TestTorchScriptExporter(ExporterContract):
    exporter = TorchScriptExporter()


class TestTorchScriptRuntime(RuntimeContract):
    runtime = TorchScriptRuntime()
    exporter = TorchScriptExporter()


class TestFusedTorchScriptRuntime(RuntimeContract):
    runtime = TorchScriptRuntime()
    exporter = TorchScriptExporter()
    options = {"operator": "fused"}  # noqa: RUF012


def test_an_unknown_operator_is_refused(tmp_path):
    with pytest.raises(InputError, match="portable or fused, got 'fast'"):
        TorchScriptExporter().export(small_student(), tmp_path / "model.ts", {"operator": "fast"})


def test_the_file_says_what_it_needs(tmp_path):
    report = TorchScriptExporter().export(small_student(), tmp_path / "model.ts", {"operator": "fused"})
    assert "mlff_core.operators" in report.details["needs"]
    extra = {CARD: ""}
    with deprecation_silenced():
        torch.jit.load(str(tmp_path / "model.ts"), _extra_files=extra)
    assert json.loads(extra[CARD])["needs"] == report.details["needs"]


def test_the_runtime_loads_the_operators(tmp_path):
    """In a new process, without an import of the operators."""
    student, batch = small_student(), structures.to_batch(structures.ethanol())
    TorchScriptExporter().export(student, tmp_path / "model.ts", {"operator": "fused"})
    script = (
        "import sys, mlff_core\n"
        "from mlff_core.testing import structures\n"
        "opened = mlff_core.load(sys.argv[1], device='cpu')\n"
        "print(float(opened.predict(structures.to_batch(structures.ethanol())).energy))\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "model.ts")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(float(student.predict(batch).energy), rel=1e-6)
